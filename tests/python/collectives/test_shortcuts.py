"""The usual calls of small operations pass no Python of rueda's, and mean what they always did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rueda as hvd
from rueda._context import job


def _frames_of_rueda(work: Callable[[], Any]) -> int:
    """Return how many functions of rueda's own Python ``work`` enters."""
    folder = str(Path(hvd.__file__).parent)
    frames = 0

    def watch(frame: Any, event: str, _: Any) -> None:
        nonlocal frames
        frames += event == "call" and frame.f_code.co_filename.startswith(folder)

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return frames


def _calls(tensor: torch.Tensor) -> dict[str, Callable[[], Any]]:
    return {
        "allreduce": lambda: hvd.allreduce(tensor, name="a", op=hvd.Sum),
        "allreduce_": lambda: hvd.allreduce_(tensor, op=hvd.Max),
        "allreduce_async": lambda: hvd.synchronize(hvd.allreduce_async(tensor, None, "b")),
        "allreduce_async_": lambda: hvd.synchronize(hvd.allreduce_async_(tensor, name="c")),
    }


@pytest.mark.parametrize("size", [1, 2, 3])
def test_usual_calls_enter_no_function_of_ruedas(run_ranks, size):
    def main():
        for name, call in _calls(torch.ones(5)).items():
            call()  # imports what it needs
            assert _frames_of_rueda(call) == 0, name
        unusual = lambda: hvd.allreduce(torch.ones(5), name="d", op=int(hvd.Sum))  # noqa: E731
        assert _frames_of_rueda(unusual) > 0

    run_ranks(size, main)


def test_what_is_usual_on_one_rank_matches_what_is_not_on_another(run_ranks):
    def main():
        own = torch.full((7,), float(hvd.rank() + 1))
        for op, expected in [(hvd.Sum, 3.0), (hvd.Average, 1.5), (hvd.Max, 2.0)]:
            chosen = op if hvd.rank() else int(op)
            sent = own.clone()
            assert torch.equal(hvd.allreduce_(sent, op=chosen), torch.full((7,), expected))
            assert torch.equal(hvd.allreduce(own, None, "x", op=chosen), sent)
            handle = hvd.allreduce_async(own, op=chosen, priority=0)
            assert torch.equal(hvd.synchronize(handle=handle), sent)

    run_ranks(2, main)


def test_shortcuts_lead_into_the_job_and_nowhere_without_one(run_ranks):
    def main():
        shortcuts = [hvd.allreduce, hvd.allreduce_, hvd.allreduce_async_, hvd.synchronize]
        for _ in range(2):
            operations = job().operations
            assert all(shortcut.direct is not None for shortcut in shortcuts)
            assert hvd.allreduce(torch.ones(1), name="x", op=hvd.Sum).item() == hvd.size()
            hvd.shutdown()
            assert all(shortcut.direct is None for shortcut in shortcuts)
            for call in _calls(torch.ones(2)).values():
                with pytest.raises(hvd.HorovodInternalError, match="R102"):
                    call()
            hvd.init()
            assert job().operations is not operations

    run_ranks(2, main)


def test_a_function_imported_after_init_finds_the_way():
    code = (
        "import sys, rueda\n"
        "rueda.init()\n"
        "assert 'rueda._allreduce' not in sys.modules\n"
        "import torch\n"
        "assert rueda.allreduce_.direct is not None\n"
        "assert rueda.allreduce_(torch.ones(2)).tolist() == [1.0, 1.0]\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_caller_of_a_name_that_is_in_flight_is_told(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
            hvd.allreduce_(torch.ones(2), name="twice")
            return
        handle = hvd.allreduce_async_(torch.ones(2), name="twice")
        line = sys._getframe().f_lineno - 1
        with pytest.raises(ValueError, match=rf"main\(\), .*test_shortcuts\.py:{line}"):
            hvd.allreduce_async_(torch.ones(2), name="twice")
        link.tell("told")
        hvd.synchronize(handle)

    ranks = start_ranks(2, main)
    ranks.hear(0)
    ranks.tell(1, "go")
    ranks.results()
