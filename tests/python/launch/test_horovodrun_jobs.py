"""Real jobs with horovodrun's options, --check-build, and the help as it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

SHOW = """
import os, sys
names = ["RUEDA_CACHE_CAPACITY", "RUEDA_LOG_LEVEL", "RUEDA_STALL_CHECK_TIME_SECONDS"]
print(*(os.environ.get(name) for name in names))
print("to stderr", file=sys.stderr)
"""


def test_options_reach_the_workers_over_the_environment(run: Callable, script: Callable) -> None:
    words = ["-H", "localhost:2", "--cache-capacity", 7, "--log-level", "INFO", "--stall-check"]
    env = {"RUEDA_CACHE_CAPACITY": "3", "RUEDA_STALL_CHECK_TIME_SECONDS": "0"}
    result = run(*words, script(SHOW), env=env)
    assert result.code == 0, result.err
    assert sorted(result.out.splitlines()) == ["[0] 7 info None", "[1] 7 info None"]


def test_a_configuration_file_starts_a_job(run: Callable, script: Callable, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("num_proc: 2\nparams: {cache_capacity: 9, cycle_time_ms: 5}\n")
    result = run("--config-file", config, "--log-level", "error", script(SHOW))
    assert result.code == 0, result.err
    assert sorted(result.out.splitlines()) == ["[0] 9 error None", "[1] 9 error None"]
    remark = result.err.splitlines()[0]
    assert remark.startswith("ruedarun: params.cycle_time_ms: 5 in ")
    assert "has no effect: rueda has no cycle" in remark


def test_a_hostfile_of_this_host_starts_a_job(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    result = run("-hostfile", hosts, script("print('up')"))
    assert (result.code, sorted(result.out.splitlines())) == (0, ["[0] up", "[1] up"])


def test_the_timelines_options_give_a_trace(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    program = "import torch, rueda as hvd; hvd.init(); hvd.allreduce(torch.ones(3), name='x')"
    words = ["-np", 2, "--timeline-filename", trace, "--timeline-mark-cycles"]
    result = run(*words, script(program))
    assert result.code == 0, result.err
    events = json.loads(trace.read_text())
    assert {event["pid"] for event in events if event["name"] == "allreduce x"} == {1, 2}
    assert any(event["ph"] == "i" for event in events)


def test_the_output_folder_is_laid_out_as_horovods(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    result = run("-np", 2, "--output-filename", tmp_path / "logs", script(SHOW))
    assert result.code == 0, result.err
    for rank in range(2):
        folder = tmp_path / "logs" / f"rank.{rank}"
        assert (folder / "stdout").read_text() == "None None None\n"
        assert (folder / "stderr").read_text() == "to stderr\n"
    assert "[1] None None None" in result.out


def test_lines_begin_with_the_time_when_asked_to(run: Callable, script: Callable) -> None:
    result = run("-np", 1, "-prefix-timestamp", script("print('a'); print('b')"))
    lines = result.out.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} \[0\] [ab]", line), line


def test_the_engine_takes_what_the_options_set(start: Callable, script: Callable) -> None:
    path = script(
        """
        import rueda as hvd
        hvd.init()
        print(hvd._context.job().config.start_timeout_seconds)
        hvd.shutdown()
        """
    )
    words = ["--fusion-threshold-mb", 1, "--gloo-timeout-seconds", 20, "--start-timeout", 33]
    result = start("-np", 2, *words, path).finish(60)
    assert result.code == 0, result.err
    assert sorted(result.out.splitlines()) == ["[0] 33.0", "[1] 33.0"]


@pytest.mark.parametrize(
    "words",
    [
        ["--min-np", "1"],
        ["-H", "node7:2"],
        ["--no-stall-check", "--stall-check-warning-time-seconds", "3"],
        ["--cache-capacity", "many"],
        ["--config-file", "/no/such/file"],
    ],
)
def test_wrong_options_start_nothing(run: Callable, script: Callable, words: list[str]) -> None:
    result = run("-np", 2, *words, script("print('started')"))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("ruedarun: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("option", ["-cb", "--check-build"])
def test_the_build_is_described_within_the_terminal(
    run: Callable, columns: int, option: str
) -> None:
    result = run(option, env={"COLUMNS": str(columns)})
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= columns
    for part in ("PyTorch", "engine", "roads", "Gloo", "MPI", "NCCL", "CUDA"):
        assert sum(line.startswith(part) for line in lines) == 1, result.out


def test_the_build_is_described_without_pytorch(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('none here')")
    result = run("--check-build", cwd=tmp_path)
    assert result.code == 0, result.err
    assert "can be loaded" in result.out


def test_the_help_groups_the_options(run: Callable) -> None:
    text = run("--help", env={"COLUMNS": "80"}).out
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert len(titles) >= 10
    for name in ("--[no-]stall-check", "--[no-]autotune", "--as-horovod", "--config-file"):
        assert name in text
    refused = text.split("refused in this version")[1]
    assert "--host-discovery-script" in refused
