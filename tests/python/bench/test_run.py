"""The whole command on tiny messages: what it says is consistent and nothing is left.

Nothing here is timed: how fast this machine is, is what the command is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_horovod import install

from rueda._bench.statistics import bus_factor

DEADLINE_S = 110
SHORT = ("--quick", "--rounds", "2")


def bench(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "rueda", "bench", *map(str, words)],
        cwd=cwd,
        env={name: text for name, text in os.environ.items() if name != "COLUMNS"},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def rows_of(path: Path) -> list[dict[str, Any]]:
    read = json.loads(path.read_text())
    assert read["schema"] == "rueda-bench-1"
    found: list[dict[str, Any]] = read["rows"]
    return found


def check_row(row: dict[str, Any], ranks: int) -> None:
    assert row["ranks"] == ranks
    assert row["wrong"] == 0
    assert row["time_s"] > 0
    assert row["p10_s"] <= row["time_s"] <= row["p90_s"]
    assert row["call_p50_s"] <= row["call_p99_s"]
    assert row["algbw_bytes_per_s"] == pytest.approx(row["bytes"] / row["time_s"])
    factor = bus_factor(row["collective"], ranks)
    assert row["busbw_bytes_per_s"] == pytest.approx(factor * row["algbw_bytes_per_s"])
    assert len(row["samples"]) == 2
    assert row["limit_s"] > 0
    assert row["percent_of_limit"] > 0


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_road_is_measured_and_right(ranks: int, tmp_path: Path) -> None:
    # 1000 is no multiple of a line, and 100,000 does not fit in one chunk of a socket's ring.
    done = bench(
        *("-np", ranks, *SHORT, "--sizes", "8,1000,100000", "--peers", "gloo,sockets"),
        *("--workload", "sizes", "--json", "a.json", "--markdown", "a.md"),
        cwd=tmp_path,
    )
    rows = rows_of(tmp_path / "a.json")
    for row in rows:
        check_row(row, ranks)
    expected = {"limit", "torch Gloo", "raw sockets", "python staged"}
    expected |= {f"{level} {road}" for level in ("transport", "engine") for road in SHM}
    for size in (8, 1000, 100_000):
        assert expected <= {row["label"] for row in rows if row["bytes"] == size}
    assert len(done.stdout.splitlines()) > len(rows)
    assert (tmp_path / "a.md").read_text().count("\n| allreduce |") == len(rows)


SHM = ("in-place", "staged")


@pytest.mark.parametrize(
    "words",
    [
        ("--collective", "broadcast"),
        ("--collective", "allgather"),
        ("--collective", "reducescatter"),
        ("--dtype", "bfloat16,int32", "--op", "average"),
    ],
)
def test_other_collectives_types_and_ops_are_right(words: tuple[str, ...], tmp_path: Path) -> None:
    short = (*SHORT, "--sizes", "4K", "--workload", "sizes", "--roads", "in-place,staged")
    bench(*short, "--peers", "none", *words, "--json", "a.json", cwd=tmp_path)
    rows = rows_of(tmp_path / "a.json")
    assert {row["level"] for row in rows} > {"limit"}
    for row in rows:
        check_row(row, 2)


def test_many_tensors_and_computing_beside_calls(tmp_path: Path) -> None:
    done = bench(
        *(*SHORT, "--workload", "many,beside", "--peers", "none", "--roads", "staged"),
        *("--json", "a.json"),
        cwd=tmp_path,
    )
    kinds = {row["kind"]: row for row in rows_of(tmp_path / "a.json")}
    assert set(kinds) == {"async", "grouped", "beside"}
    assert kinds["grouped"]["tensors"] == 300
    assert kinds["grouped"]["bytes"] == 300 * 1024
    assert kinds["beside"]["extra"]["alone_per_second"] > 0
    assert all(row["extra"]["stolen_percent"] >= 0 for row in kinds.values())
    assert "computing loses" in done.stdout


def test_open_mpi_is_compiled_and_right_or_named_as_missing(tmp_path: Path) -> None:
    words = (*SHORT, "--sizes", "8,1000", "--workload", "sizes", "--level", "engine")
    done = bench(
        *words, "--roads", "staged", "--peers", "openmpi", "--json", "a.json", cwd=tmp_path
    )
    rows = [row for row in rows_of(tmp_path / "a.json") if row["label"] == "Open MPI"]
    for row in rows:
        check_row(row, 2)
    missing = [line for line in done.stdout.splitlines() if line.startswith("without Open MPI: ")]
    assert len(rows) == (0 if missing else 2)
    assert len(missing) <= 1


def bench_in(environ: dict[str, str], *words: str, cwd: Path) -> str:
    """Return what a run with other variables prints."""
    done = subprocess.run(
        [sys.executable, "-m", "rueda", "bench", *words],
        cwd=cwd,
        env={**os.environ, **environ},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_absent_peers_are_named_once_and_a_width_holds(tmp_path: Path) -> None:
    words = (*SHORT, "--sizes", "8,1M", "--workload", "sizes", "--level", "engine")
    environ = {"PATH": str(tmp_path), "COLUMNS": "80"}
    shown = bench_in(environ, *words, "--peers", "openmpi,horovod", cwd=tmp_path)
    lines = shown.splitlines()
    assert [line for line in lines if line.startswith("without Open MPI: mpicxx is not on PATH")]
    assert len([line for line in lines if line.startswith("without")]) == 2
    assert len([line for line in lines if line.startswith("engine staged")]) == 2
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in shown


def test_a_peer_with_programs_of_its_own_is_driven_and_checked(tmp_path: Path) -> None:
    """Horovod is played by a module with its names and a command like its launcher."""
    environ = install(tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rueda", "bench", *SHORT, "--sizes", "8,1000"),
            *("--level", "python", "--roads", "staged", "--peers", "horovod", "--json", "a.json"),
        ],
        cwd=tmp_path,
        env={**os.environ, **environ},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    rows = [row for row in rows_of(tmp_path / "a.json") if row["label"] == "Horovod"]
    assert [row["kind"] for row in rows] == ["size", "size", "async", "grouped"]
    for row in rows[:3]:
        check_row(row, 2)
    assert rows[3]["wrong"] == 2 * 256
    assert done.returncode == 1
    assert "Horovod: 512 wrong elements" in done.stderr
