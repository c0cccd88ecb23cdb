"""examples/train_digits.py: the same result under every launcher and with any number of ranks."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

EXAMPLE = "train_digits.py"
# Longer than the deadline inside run_example, which has more to say.
pytestmark = pytest.mark.timeout(200)

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
RUEDARUN = [sys.executable, "-m", "rueda.launch", "-np"]
MPIRUN = ["mpirun", "--oversubscribe", "-np"]


Run = Callable[..., Any]


@pytest.fixture(scope="module")
def plain(run_example: Run) -> Any:
    """The example in one process without a launcher: what the others are compared with."""
    return run_example(EXAMPLE)


def number_after(label: str, result: Any) -> float:
    found = re.search(rf"{re.escape(label)}: ([0-9.e+,-]+)", result.text)
    assert found, f"no '{label}' in:\n{result.text}"
    return float(found[1].replace(",", ""))


def check(result: Any, size: int, plain: Any) -> None:
    """What the example promises, whatever launched it."""
    assert result.code == 0, result.text
    assert "parameters identical on all ranks: yes" in result.text
    accuracy = number_after("test accuracy", result)
    assert accuracy >= 0.96
    assert abs(accuracy - number_after("test accuracy", plain)) <= 0.01
    # Only the order of additions differs. The net is smooth, so this stays near rounding.
    assert number_after("largest difference to 1 process", result) < 1e-4
    assert number_after("samples per second on 1 process, without rueda", result) > 0
    assert number_after(f"samples per second on {size}, with rueda", result) > 0


def test_plain_python_trains_exactly_like_a_script_without_rueda(plain: Any) -> None:
    check(plain, 1, plain)
    assert number_after("largest difference to 1 process", plain) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ruedarun_gives_the_same_result(size: int, run_example: Run, plain: Any) -> None:
    check(run_example(EXAMPLE, launcher=[*RUEDARUN, str(size)]), size, plain)


def test_ruedarun_takes_the_word_python_before_the_script(run_example: Run) -> None:
    result = run_example(EXAMPLE, ["--epochs", "1"], [*RUEDARUN, "2", "python"])
    assert result.code == 0, result.text
    assert "parameters identical on all ranks: yes" in result.text


@pytest.mark.parametrize("size", [2])
def test_torchrun_gives_the_same_result(size: int, run_example: Run, plain: Any) -> None:
    check(run_example(EXAMPLE, launcher=[*TORCHRUN, str(size)]), size, plain)


@pytest.mark.skipif(not shutil.which("mpirun"), reason="no mpirun (Debian: openmpi-bin)")
@pytest.mark.parametrize("size", [2, 3])
def test_mpirun_gives_the_same_result(size: int, run_example: Run, plain: Any) -> None:
    check(run_example(EXAMPLE, launcher=[*MPIRUN, str(size), sys.executable]), size, plain)


def test_each_epoch_is_one_line_where_there_is_no_terminal(plain: Any) -> None:
    lines = plain.text.splitlines()
    assert [line.split(":")[0] for line in lines[:16]] == [f"epoch {n:2}" for n in range(1, 17)]
    assert "\x1b" not in plain.text


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--epochs", "0", "--epochs must be above 0"),
        ("--epochs", "many", "invalid int value"),
        ("--lr", "nan", "--lr must be above 0"),
        ("--batch-size", "-96", "--batch-size must be above 0"),
        ("--batch-size", "2000", "--batch-size must be at most 1440"),
    ],
)
def test_a_wrong_value_is_refused_in_words(
    option: str, value: str, words: str, run_example_on: Run
) -> None:
    result = run_example_on(1, EXAMPLE, [f"{option}={value}"])
    assert result.code != 0
    assert words in result.text
    assert "Traceback" not in result.text
    assert "epoch  1" not in result.text


def test_ranks_that_cannot_share_a_batch_evenly_are_refused(run_example_on: Run) -> None:
    result = run_example_on(2, EXAMPLE, ["--batch-size=95"])
    assert result.code != 0
    assert "--batch-size 95 does not divide evenly among 2 processes" in result.text
    assert "Traceback" not in result.text
