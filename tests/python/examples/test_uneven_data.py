"""examples/uneven_data.py: ranks with different amounts of data end with one good model."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(200)
RUEDARUN = [sys.executable, "-m", "rueda.launch", "-np"]

Run = Callable[..., Any]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_last_rank_joins_last_and_all_have_the_same_model(
    size: int, run_example_on: Run
) -> None:
    check(run_example_on(size, "uneven_data.py"), size)


def test_it_runs_under_ruedarun(run_example: Run) -> None:
    check(run_example("uneven_data.py", launcher=[*RUEDARUN, "2"]), 2)


def check(result: Any, size: int) -> None:
    assert result.code == 0, result.text
    assert "parameters identical on all ranks: yes" in result.text
    assert f"batches of the ranks: {[20 * (rank + 1) for rank in range(size)]}" in result.text
    epochs = re.findall(r"epoch (\d): loss ([\d.]+), the last to join was rank (\d)", result.text)
    assert [(number, last) for number, _, last in epochs] == [
        (str(number), str(size - 1)) for number in (1, 2, 3)
    ]
    assert float(epochs[-1][1]) < 0.001
    weights = re.search(r"weights: (.*)", result.text)
    assert weights
    found = [float(weight) for weight in weights[1].split(", ")]
    assert found == pytest.approx([3.0, -2.0, 0.5, 1.0], abs=0.02)
