"""Real launchers with small scripts, each under a deadline and under a mark that finds strays."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import rueda.launch

DEADLINE_S = 30.0
GUARDIAN = "ruedarun-guard"
MARK = "LAUNCH_TEST_MARK"
PACKAGE_ROOT = Path(rueda.launch.__file__).parents[2]


def eventually(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until a condition holds, and fail in words if it does not in time."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        pause.wait(0.01)


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@dataclass(frozen=True)
class Result:
    """What a finished launcher left: exit code and output."""

    code: int
    out: str
    err: str


class Launcher:
    """One launcher under test."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.process = process
        self.pid = process.pid
        self.mark = mark

    def finish(self, seconds: float = DEADLINE_S) -> Result:
        """Wait for the end; at the deadline show what every process is doing, and fail."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            stacks = self.describe_processes()
            self.kill_all()
            out, err = self.process.communicate()
            pytest.fail(f"still running after {seconds} s\n{stacks}\n{out!r}\n{err!r}")
        return Result(self.process.returncode, (out or b"").decode(), (err or b"").decode())

    def read_line(self, seconds: float = DEADLINE_S) -> str:
        """Return the next line of standard output."""
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            assert ready, f"no line in {seconds} s, so far {line!r}\n{self.describe_processes()}"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            line += byte
        return line.decode()

    def read_lines_until(self, wanted: set[str]) -> list[str]:
        """Read lines until all wanted ones have come, in any order."""
        lines: list[str] = []
        while not wanted <= {line.rstrip("\n") for line in lines}:
            lines.append(self.read_line())
            assert lines[-1], f"the output ended; wanted {wanted}, got {lines}"
        return lines

    def processes(self) -> list[int]:
        """Return every live process of this job, the launcher and its guardian included."""
        found = []
        needle = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                # The environment of a zombie reads as empty.
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def guardian(self) -> int:
        """Return the process id of the guardian."""
        return next(pid for pid in self.processes() if _comm(pid) == GUARDIAN)

    def workers(self) -> list[int]:
        """Return the leaders of the workers' process groups that are alive."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                leads = os.getpgid(pid) == pid
                if leads and pid != self.pid and _comm(pid) != GUARDIAN:
                    found.append(pid)
        return found

    def describe_processes(self) -> str:
        """Return the command, state and kernel function of every live process."""
        lines = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                folder = Path(f"/proc/{pid}")
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                lines.append(f"{pid} {state} {(folder / 'wchan').read_text()} {command}")
        return "\n".join(lines)

    def wait_until_nothing_is_left(self, seconds: float = 20.0) -> None:
        """Fail unless every process of the job is gone in time."""
        eventually(lambda: not self.processes(), f"end of\n{self.describe_processes()}", seconds)

    def kill_all(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Write a Python script and return its path."""

    def write(text: str, name: str = "train.py") -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def _default_signals() -> None:
    """Undo what a background shell set: a launcher leaves ignored signals ignored."""
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


@pytest.fixture
def start() -> Iterator[Callable[..., Launcher]]:
    """Start launchers; after the test nothing of them may be left, whatever happened."""
    launchers: list[Launcher] = []

    def launch(
        *words: object,
        env: dict[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        cwd: Path | None = None,
        before: Sequence[str] = (),
    ) -> Launcher:
        mark = uuid.uuid4().hex
        environ = {
            **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
            "PYTHONPATH": str(PACKAGE_ROOT),
            MARK: mark,
            **(env or {}),
        }
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "rueda.launch", *map(str, words)],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            preexec_fn=_default_signals,  # noqa: PLW1509 - only signal dispositions
        )
        launchers.append(Launcher(process, mark))
        return launchers[-1]

    yield launch
    for launcher in launchers:
        launcher.kill_all()
        launcher.process.wait()
        for stream in (launcher.process.stdout, launcher.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def run(start: Callable[..., Launcher]) -> Callable[..., Result]:
    """Run a launcher to its end."""

    def to_end(*words: object, **options: object) -> Result:
        return start(*words, **options).finish()

    return to_end


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually


@pytest.fixture
def package_root() -> Path:
    """The folder to put on PYTHONPATH."""
    return PACKAGE_ROOT
