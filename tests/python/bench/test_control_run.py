"""The simulated control plane from the command line, with tiny numbers. Nothing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rueda._bench import control_run
from rueda._bench.cli import main
from rueda._bench.control_settings import CASES, TOPOLOGIES
from rueda._bench_core import ControlSimulation

SHORT = ("--control", "--rounds", "3", "--tensors", "20")


def run(*words: str, cwd: Path, columns: int | None = None) -> str:
    environ = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environ["COLUMNS"] = str(columns)
    done = subprocess.run(
        [sys.executable, "-m", "rueda", "bench", *words],
        cwd=cwd,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_row(row: dict[str, Any]) -> None:
    parts = row["up_s"] + row["decide_s"] + row["down_s"] + row["plan_s"]
    assert parts == pytest.approx(row["total_s"])
    assert row["without_links_s"] > 0
    assert row["total_s"] in row["samples_s"]
    assert len(row["samples_s"]) == len(row["samples_without_links_s"]) == 3
    assert row["frames"] >= 1
    if row["topology"] == "star":
        joined = 1 if row["case"] == "join" else 0
        assert row["root_messages"] == row["ranks"] - 1 - joined
        assert row["messages"] == row["root_messages"] + row["frames"] * (row["ranks"] - 1)
    assert row["root_bytes"] < row["bytes"]


def test_every_case_is_simulated_and_agreed_on(tmp_path: Path) -> None:
    words = (*SHORT, "--ranks", "2,5,33", "--json", "a.json", "--markdown", "a.md")
    shown = run(*words, "--skew-us", "20", cwd=tmp_path)
    read = json.loads((tmp_path / "a.json").read_text())
    rows = read["control"]
    assert {(row["case"], row["topology"], row["ranks"]) for row in rows} == {
        (case, topology, ranks) for case in CASES for topology in TOPOLOGIES for ranks in (2, 5, 33)
    }
    for row in rows:
        check_row(row)
    assert read["rows"] == []
    assert read["control_settings"]["tensors"] == 20
    assert "Simulated in one process, in virtual time: 20 tensors a rank" in shown
    page = (tmp_path / "a.md").read_text()
    assert "## Control plane, simulated" in page
    assert page.count("| uncached |") == 3 * len({row["topology"] for row in rows})


def test_a_narrow_terminal_gets_headings(tmp_path: Path) -> None:
    words = (*SHORT, "--ranks", "2,7", "--cases", "cached,join")
    shown = run(*words, cwd=tmp_path, columns=80)
    assert "join, tree: one rank has joined" in shown
    assert "cached, star: the same tensors in each step" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_ranks_that_plan_otherwise_fail_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control_run, "ControlSimulation", partial(ControlSimulation, misplans=1))
    assert main([*SHORT, "--ranks", "2", "--cases", "cached"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("rueda bench: cached with 2 ranks: ")
    assert "planned frame 1 of process set 0" in told


def test_wrong_values_are_refused_by_the_core_as_well() -> None:
    make = partial(
        ControlSimulation,
        tensors=1,
        tensor_bytes=4,
        seed=1,
        skew=0.0,
        within_host=(0.0, 0.0, 0.0),
        between_hosts=(0.0, 0.0, 0.0),
        ranks_per_host=1,
        fan_out=1,
        patience=0.0,
    )
    with pytest.raises(ValueError, match="no case 'cachd'"):
        make(case="cachd", ranks=2, topology="star")
    with pytest.raises(ValueError, match="no topology 'ring'"):
        make(case="cached", ranks=2, topology="ring")
    with pytest.raises(ValueError, match="at least 2 ranks"):
        make(case="cached", ranks=1, topology="star")
