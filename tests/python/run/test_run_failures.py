"""``rueda.run`` when ranks raise, die, or end without a result."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from typing import Any

import cloudpickle
import pytest

import rueda
from rueda import HorovodInternalError

# The tests' modules cannot be imported by name, so what they define travels whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OwnError(Exception):
    """An exception that survives pickling, with an attribute."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text, number)
        self.number = number


class StubbornError(Exception):
    """An exception that can be pickled but not be read again."""

    def __init__(self, text: str, needed: int) -> None:
        super().__init__(text)
        self.needed = needed


def full_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def test_the_failing_ranks_exception_is_raised_with_its_traceback() -> None:
    def deep(rank: int) -> None:
        if rank == 1:
            raise OwnError("no data", 7)

    def work() -> None:
        deep(int(os.environ["RANK"]))

    with pytest.raises(OwnError) as caught:
        rueda.run(work, num_proc=2)
    assert caught.value.number == 7
    cause = str(caught.value.__cause__)
    assert "rank 1 of 2 (pid " in cause
    assert "in deep" in cause
    assert "boot.py" not in cause
    assert "_run/rank.py" not in cause
    assert cause in full_text(caught.value)


def test_the_rank_that_failed_first_is_blamed_and_not_its_victims() -> None:
    def work() -> None:
        import torch

        import rueda as hvd

        hvd.init()
        hvd.barrier()
        if hvd.rank() == 2:
            raise KeyError("the culprit")
        hvd.allreduce(torch.ones(3))

    with pytest.raises(KeyError, match="the culprit") as caught:
        rueda.run(work, num_proc=3)
    cause = str(caught.value.__cause__)
    assert "rank 2 of 3" in cause
    # How the others ended depends on the time they had.
    assert re.findall(r"^rank (\d): ", cause, re.MULTILINE) == ["0", "1"]


def test_nothing_is_printed_of_an_exception_that_is_raised_here(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise OwnError("quiet", 1)

    with pytest.raises(OwnError):
        rueda.run(work, num_proc=2)
    assert capfd.readouterr() == ("", "")


def test_a_killed_rank_is_named() -> None:
    def work() -> None:
        import torch

        import rueda as hvd

        hvd.init()
        if hvd.rank() == 1:
            print("its last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        hvd.allreduce(torch.ones(3))

    with pytest.raises(HorovodInternalError) as caught:
        rueda.run(work, num_proc=2)
    assert (caught.value.rank, caught.value.code) == (1, "R301")
    text = str(caught.value)
    assert text.startswith("[R301] rank 1 of 2 (pid ")
    assert "SIGKILL" in text
    assert "| its last words" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("end", "hints"),
    [
        (lambda: os._exit(0), ("exit code 0", "without a result", "os._exit")),
        (lambda: os._exit(7), ("died without a result", "exit code 7")),
        (lambda: sys.exit(3), ("called sys.exit(3)",)),
        (sys.exit, ("called sys.exit()",)),
        (lambda: sys.exit("no more"), ("called sys.exit('no more')",)),
        (os.abort, ("SIGABRT",)),
    ],
)
def test_a_rank_that_ends_without_a_result_is_named(end: Any, hints: tuple[str, ...]) -> None:
    def work() -> int:
        if os.environ["RANK"] == "1":
            end()
        return 1

    with pytest.raises(HorovodInternalError) as caught:
        rueda.run(work, num_proc=2)
    text = str(caught.value)
    assert caught.value.rank == 1
    assert "rank 1 of 2" in text
    assert all(hint in text for hint in hints), text


def test_results_that_cannot_be_pickled_are_reported() -> None:
    def work() -> object:
        return threading.Lock() if os.environ["RANK"] == "1" else None

    with pytest.raises(TypeError) as caught:
        rueda.run(work, num_proc=2)
    assert "the result, a _thread.lock, cannot be pickled" in str(caught.value)
    assert "rank 1 of 2" in str(caught.value.__cause__)


class Treacherous:
    """An object that can be sent but not be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _fail, ()


def _fail() -> None:
    raise RuntimeError("not to be read")


def test_results_that_cannot_be_read_are_reported() -> None:
    with pytest.raises(HorovodInternalError) as caught:
        rueda.run(Treacherous, num_proc=2)
    assert "the result of rank 0 of 2 cannot be unpickled here" in str(caught.value)
    assert "not to be read" in str(caught.value)


def test_arguments_that_cannot_be_read_are_reported() -> None:
    with pytest.raises(Exception, match="cannot be unpickled on a rank") as caught:
        rueda.run(lambda given: given, (Treacherous(),), num_proc=2)
    assert "not to be read" in str(caught.value)


@pytest.mark.parametrize("holds", ["lock", "arguments"])
def test_exceptions_that_cannot_be_handed_over_are_described(holds: str) -> None:
    def work() -> None:
        if holds == "arguments":
            raise StubbornError("no disk", 3)
        raise OwnError("no disk", threading.Lock())  # type: ignore[arg-type]

    with pytest.raises(HorovodInternalError) as caught:
        rueda.run(work, num_proc=2)
    text = str(caught.value)
    assert "no disk" in text
    assert "cannot be handed over" in text
    assert "in work" in str(caught.value.__cause__)


def test_a_result_of_a_rank_that_fails_at_its_exit_is_no_success() -> None:
    def work() -> int:
        import atexit

        atexit.register(os._exit, 9)
        return 1

    with pytest.raises(HorovodInternalError, match="after its function had returned: exit code 9"):
        rueda.run(work, num_proc=2)


def test_a_half_written_result_is_none() -> None:
    class Suicidal:
        def __reduce__(self) -> tuple[Any, ...]:
            os.kill(os.getpid(), signal.SIGKILL)
            return int, ()

    def work() -> object:
        return [bytes(1 << 20), Suicidal()]

    with pytest.raises(HorovodInternalError, match="SIGKILL"):
        rueda.run(work)
