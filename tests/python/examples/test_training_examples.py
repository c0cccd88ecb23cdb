"""examples/custom_loop.py, grad_accumulation_amp.py and sync_batch_norm.py on 1 to 4 ranks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

# Longer than the deadline inside run_example, which has more to say.
pytestmark = pytest.mark.timeout(200)

RUEDARUN = [sys.executable, "-m", "rueda.launch", "-np"]
Run = Callable[..., Any]


def number_after(label: str, result: Any) -> float:
    # ruedarun puts the rank in front of each line.
    found = re.search(rf"^(?:\[0\] )?{re.escape(label)}:? ([0-9.e+-]+)", result.text, re.MULTILINE)
    assert found, f"no '{label}' in:\n{result.text}"
    return float(found[1])


@pytest.fixture(scope="module")
def loop_alone(run_example: Run) -> Any:
    return run_example("custom_loop.py")


@pytest.mark.parametrize("size", [2, 4])
def test_the_loop_of_ones_own_arrives_at_the_same_loss(
    size: int, run_example: Run, run_example_on: Run, loop_alone: Any
) -> None:
    if size == 2:
        result = run_example("custom_loop.py", launcher=[*RUEDARUN, "2"])
    else:
        result = run_example_on(size, "custom_loop.py")
    assert result.code == 0, result.text
    assert f"weights identical on all {size} ranks: yes" in result.text
    assert number_after("test accuracy", result) > 0.85
    for label in ("step  50: loss", "step 200: loss", "final loss", "test accuracy"):
        difference = number_after(label, result) - number_after(label, loop_alone)
        assert abs(difference) < 1e-3, label


@pytest.mark.parametrize(("size", "passes"), [(1, 2), (2, 3), (4, 1)])
def test_accumulation_with_scaling_and_clipping_learns(
    size: int, passes: int, run_example_on: Run
) -> None:
    result = run_example_on(size, "grad_accumulation_amp.py", [f"--passes={passes}"])
    assert result.code == 0, result.text
    assert f"scale and weights identical on all {size} ranks: yes" in result.text
    assert number_after("test accuracy", result) > 0.85
    assert "skipped 0, scale 1024" in result.text


def test_an_overflow_on_one_rank_skips_one_step_on_all(run_example: Run) -> None:
    options = ["--epochs=2", "--overflow-at=3"]
    result = run_example("grad_accumulation_amp.py", options, [*RUEDARUN, "3"])
    assert result.code == 0, result.text
    lines = [line for line in result.text.splitlines() if "skipped" in line]
    assert [line.partition("skipped")[2] for line in lines] == [" 1, scale 512", " 0, scale 512"]
    assert "scale and weights identical on all 3 ranks: yes" in result.text


@pytest.mark.parametrize("size", [1, 3])
def test_synchronized_batch_norm_equals_one_process_and_separate_ones_do_not(
    size: int, run_example_on: Run
) -> None:
    result = run_example_on(size, "sync_batch_norm.py")
    assert result.code == 0, result.text
    assert f"identical on all {size} ranks: yes" in result.text
    synchronized = number_after("SyncBatchNorm, difference to 1 process", result)
    separate = number_after("BatchNorm, difference to 1 process", result)
    assert synchronized < 1e-3
    if size > 1:
        assert separate > 100 * synchronized


def test_ranks_without_an_image_take_part(run_example_on: Run) -> None:
    result = run_example_on(4, "sync_batch_norm.py", ["--batch-size=3", "--steps=5"])
    assert result.code == 0, result.text
    assert "images of each rank in a step: 1, 1, 1, 0" in result.text
    assert "identical on all 4 ranks: yes" in result.text
