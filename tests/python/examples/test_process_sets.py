"""examples/process_sets.py: two models, each right, on ranks that do not wait for each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(200)
RUEDARUN = [sys.executable, "-m", "rueda.launch", "-np"]

Run = Callable[..., Any]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_each_set_trains_its_own_model(size: int, run_example_on: Run) -> None:
    check(run_example_on(size, "process_sets.py"), size)


def test_it_runs_under_ruedarun(run_example: Run) -> None:
    check(run_example("process_sets.py", launcher=[*RUEDARUN, "3"]), 3)


def check(result: Any, size: int) -> None:
    assert result.code == 0, result.text
    ranks = list(range(size))
    for name, own, target in (("even", ranks[::2], [3, -2]), ("odd", ranks[1::2], [-1, 4])):
        found = re.search(
            rf"{name} ranks {re.escape(str(own))}: \d+ steps, weights (.*)", result.text
        )
        assert found, result.text
        weights = [float(weight) for weight in found[1].split(", ")]
        assert weights == pytest.approx(target, abs=0.01)
        assert f"{name} ranks have identical parameters: yes" in result.text
    distance = re.search(r"distance between the two models: ([\d.]+)", result.text)
    assert distance
    assert float(distance[1]) == pytest.approx(52**0.5, abs=0.05)


def test_one_process_is_told_how_to_start_it(run_example_on: Run) -> None:
    result = run_example_on(1, "process_sets.py")
    assert result.code != 0
    assert "needs at least 2 processes: ruedarun -np 4" in result.text
    assert "Traceback" not in result.text
