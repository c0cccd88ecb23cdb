"""``rueda bench --train`` with a small model: what it says is consistent. Nothing here is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_horovod import install

DEADLINE_S = 110


def train(
    ranks: int, peers: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Return what a short run prints, and its figures."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rueda", "bench", "--train", "-np", str(ranks), "--quick"),
            *("--rounds", "2", "--model", "mlp", "--compute-ms", "2", "--peers", peers),
            *("--json", "a.json", "--markdown", "a.md"),
        ],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **(environ or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    read = json.loads((cwd / "a.json").read_text())
    assert read["rows"] == []
    return done.stdout, read["training"]


def check(line: dict[str, Any], alone: dict[str, Any]) -> None:
    """Every figure follows from the samples."""
    assert line["wrong"] == 0
    assert (line["tensors"], line["bytes"]) == (8, 4 * 335_114)
    assert len(line["step_samples_s"]) == len(line["bare_step_samples_s"]) == 2
    # The median of two is their mean, and so is that of their differences.
    assert line["step_s"] == pytest.approx(sum(line["step_samples_s"]) / 2)
    if line is alone:
        assert line["exposed_s"] is line["communication_s"] is line["overlap"] is None
        return
    assert line["alone_s"] == alone["step_s"]
    assert line["exposed_s"] == pytest.approx(line["step_s"] - alone["step_s"])
    bare = sum(line["bare_step_samples_s"]) - sum(alone["bare_step_samples_s"])
    assert line["communication_s"] == pytest.approx(bare / 2)
    if line["overlap"] is not None:
        hidden = 1 - line["exposed_s"] / line["communication_s"]
        assert line["overlap"] == pytest.approx(hidden)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_steps_with_and_without_communication_train_alike(ranks: int, tmp_path: Path) -> None:
    shown, lines = train(ranks, "gloo", tmp_path)
    by_road = {line["road"]: line for line in lines}
    assert list(by_road) == ["alone", "rueda", "ddp", "alone-kept", "rueda-kept", "ddp-kept"]
    for road, line in by_road.items():
        assert line["ranks"] == ranks
        check(line, by_road["alone-kept" if road.endswith("kept") else "alone"])
    text = shown.splitlines()
    assert len([one for one in text if one.startswith(("alone", "rueda ", "rueda,", "DDP"))]) == 6
    assert max(map(len, text)) <= 80
    assert (tmp_path / "a.md").read_text().count("\n| DDP(gloo)") == 2


def test_horovod_trains_where_it_is_installed(tmp_path: Path) -> None:
    _, lines = train(2, "horovod", tmp_path, install(tmp_path))
    by_road = {line["road"]: line for line in lines}
    assert "ddp" not in by_road
    check(by_road["horovod"], by_road["alone"])


def test_a_peer_whose_programs_die_in_a_step_costs_its_own_rows_alone(tmp_path: Path) -> None:
    shown, lines = train(2, "horovod", tmp_path, {**install(tmp_path), "FAKE_DIES": "1"})
    assert [line["road"] for line in lines] == ["alone", "rueda", "alone-kept", "rueda-kept"]
    assert "without Horovod: horovod has ended" in " ".join(shown.split())
