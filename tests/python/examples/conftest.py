"""Runs example scripts under any launcher, under a deadline that shows where every rank stands.

Starting a process that imports PyTorch takes seconds, so tests of what an example does, and not of
how it is started, run it in ranks that are forked.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import rueda

if TYPE_CHECKING:
    from ranks import RankServer

EXAMPLES = Path(__file__).parents[3] / "examples"
MARK = "EXAMPLE_TEST_MARK"
DEADLINE_S = 150.0
STACKS_S = 10.0  # for the processes to write their stacks and end


@dataclass(frozen=True)
class Result:
    """What a finished example left: its exit code and its output."""

    code: int
    text: str


def _environment(mark: str) -> dict[str, str]:
    """Return the environment of this process without what would tell an example its place."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RUEDA_")}
    return {
        **ours,
        MARK: mark,
        # The rueda of this process, wherever it lies, and its Python as plain "python".
        "PYTHONPATH": str(Path(rueda.__file__).parents[1]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", os.defpath)]),
        # SIGABRT makes every process write its stacks.
        "PYTHONFAULTHANDLER": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def _processes(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _end_all(mark: str, signum: signal.Signals) -> None:
    for process in _processes(mark):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signum)


def _run_example(name: str, options: Sequence[str] = (), launcher: Sequence[str] = ()) -> Result:
    """Run an example by ``launcher... name options...`` to its end.

    Args:
        name: File name of the example.
        options: Its options.
        launcher: What starts it; the last word is followed by the script's path.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [*(launcher or [sys.executable]), str(EXAMPLES / name), *options],
        env=_environment(mark),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        text, _ = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        _end_all(mark, signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STACKS_S)
        _end_all(mark, signal.SIGKILL)
        text, _ = process.communicate()
        pytest.fail(f"{name} did not end within {DEADLINE_S} s; its output and stacks:\n{text}")
    finally:
        _end_all(mark, signal.SIGKILL)
    return Result(process.returncode, text)


def _be_script(path: str, options: Sequence[str]) -> None:
    """Be ``python path options...``."""
    sys.argv = [path, *options]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


@pytest.fixture(scope="session")
def run_example_on(rank_server: RankServer) -> Callable[..., Result]:
    """``run_example_on(size, name, options)``: run an example to its end on forked ranks.

    The exit code is the first of a rank that is not 0; ranks are in front of their lines, as
    ruedarun has them.
    """

    def run(size: int, name: str, options: Sequence[str] = ()) -> Result:
        path = str(EXAMPLES / name)
        ways = {"interactive": False, "init": False, "full_exit": True}
        job = rank_server.start(size, _be_script, path, options, deadline=DEADLINE_S, **ways)
        try:
            all_ended = job.all_ended()
            job.wait_until_empty()
        finally:
            job.close()
        codes = [ended.code or 0 for ended in all_ended]
        lines = [
            f"[{rank}] {line}"
            for rank, ended in enumerate(all_ended)
            for line in ended.output.splitlines()
        ]
        return Result(next(filter(None, codes), 0), "\n".join(lines))

    return run


@pytest.fixture(scope="session")
def run_example() -> Callable[..., Result]:
    """``run_example(name, options, launcher)``: see ``_run_example``."""
    return _run_example
