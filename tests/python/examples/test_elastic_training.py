"""examples/elastic_training.py: failures and a death change nothing about the weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Longer than the deadline inside run_example, which has more to say.
pytestmark = pytest.mark.timeout(200)

RUEDARUN = [sys.executable, "-m", "rueda.launch", "-np"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=1"]
Run = Callable[..., Any]


def last_words(result: Any) -> dict[str, str]:
    """Return what rank 0 prints at the end, by what stands before it."""
    assert result.code == 0, result.text
    lines = [line.removeprefix("[0] ") for line in result.text.splitlines()]
    found = {}
    for start in ("began at", "weights after", "identical on all"):
        found[start] = next(line for line in lines if line.startswith(start))
    return found


@pytest.fixture(scope="module")
def without_trouble(run_example_on: Run) -> dict[str, str]:
    words = last_words(run_example_on(2, "elastic_training.py"))
    assert words["began at"] == "began at step 0, and 0 times anew"
    numbers = words["weights after"].removeprefix("weights after 90 steps: ")
    assert json.loads(numbers) == pytest.approx([3.0, -2.0, 0.5, 1.0], abs=0.1)
    assert words["identical on all"] == "identical on all 2 ranks: yes"
    return words


def test_a_failure_is_repaired(run_example: Run, without_trouble: dict[str, str]) -> None:
    words = last_words(
        run_example("elastic_training.py", ["--fail-at=12"], launcher=[*RUEDARUN, "2"])
    )
    assert words["began at"] == "began at step 0, and 1 times anew"
    assert words["weights after"] == without_trouble["weights after"]
    assert words["identical on all"] == "identical on all 2 ranks: yes"


def test_a_death_is_repaired_by_torchrun_and_the_checkpoint(
    run_example: Run, without_trouble: dict[str, str], tmp_path: Path
) -> None:
    options = ["--die-at=40", f"--checkpoint={tmp_path / 'run.pt'}"]
    words = last_words(
        run_example("elastic_training.py", options, launcher=[*TORCHRUN, "--nproc-per-node=2"])
    )
    # At 30, the end of the first epoch, if torchrun ended the survivor before it had saved. Else at
    # the survivor's last commit: 40 or, since the dead rank had given its gradients of step 40
    # before it died, 41. Not beyond: it gave none of step 41, so nobody can finish that one.
    assert words["began at"] in [f"began at step {step}, and 0 times anew" for step in (30, 40, 41)]
    assert words["weights after"] == without_trouble["weights after"]
