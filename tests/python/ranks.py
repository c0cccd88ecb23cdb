"""Jobs of several ranks, each a process of its own, for tests that are written as functions.

A test gives a function, which may be a closure; every rank runs it and its results come back. All
waiting is for a condition and under the job's deadline; past it, the stacks of all ranks are shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

DEADLINE_SECONDS = 60.0
_SERVER_START_SECONDS = 90.0
_STACKS_SECONDS = 3.0
_LEFT_SECONDS = 20.0  # until what a launcher leaves counts as left; of a loaded machine
_LENGTH = struct.Struct("<Q")
_HERE = Path(__file__).parent
# What launchers set, and what would change how rueda behaves under test.
_FOREIGN = ("RUEDA_", "OMPI_", "PMIX_", "PMI_", "SLURM_", "TORCHELASTIC_", "MV2_", "HYDRA_")
_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what makes a process a rank."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name not in _PLACE
    }


@dataclass
class Ended:
    """How a rank ended.

    Attributes:
        value: What its function returned.
        error: What its function raised, or None.
        traceback: Of the error, as text.
        raised_at: When it returned or raised, by ``time.monotonic()``; None if it did neither.
        code: Its exit code, or minus the signal that ended it.
        at: When it ended, by ``time.monotonic()``.
        output: What it wrote to standard output and standard error.
    """

    value: Any = None
    error: Exception | None = None
    traceback: str = ""
    raised_at: float | None = None
    code: int | None = None
    at: float = 0.0
    output: str = ""


@dataclass
class _Rank:
    line: socket.socket
    output: int
    received: bytearray = field(default_factory=bytearray)
    told: list[Any] = field(default_factory=list)
    ended: Ended = field(default_factory=Ended)
    hung_up: bool = False


class RankServer:
    """The process that forks ranks; see rank_server.py."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, str(_HERE / "rank_server.py"), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**clean_environment(), "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self._requests.settimeout(_SERVER_START_SECONDS)
        assert self._requests.recv(16) == b"ready", "the rank server did not start"

    def start(
        self,
        size: int,
        main: Callable[..., Any],
        *arguments: Any,
        interactive: bool = True,
        init: bool = True,
        full_exit: bool = False,
        env: dict[str, str] | list[dict[str, str]] | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> Job:
        """Fork a job whose ranks run ``main``; the options are those of ``start_ranks``."""
        payload = os.memfd_create("rank-payload")
        with os.fdopen(os.dup(payload), "wb") as file:
            file.write(_dumps((main, arguments)))
        report, their_report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        outputs = [os.memfd_create(f"rank-{rank}-output") for rank in range(size)]
        lines = [socket.socketpair() for _ in range(size)]
        theirs = [payload, their_report.fileno(), *outputs, *(line[1].fileno() for line in lines)]
        request = {
            "env": _environments(size, env),
            "interactive": interactive,
            "init": init,
            "full_exit": full_exit,
        }
        socket.send_fds(self._requests, [json.dumps(request).encode()], theirs)
        os.close(payload)
        for end in (their_report, *(line[1] for line in lines)):
            end.close()
        ranks = [_Rank(line[0], output) for line, output in zip(lines, outputs, strict=True)]
        return Job(report, ranks, deadline)

    def stop(self) -> None:
        """End the server; jobs are over by then."""
        self._requests.close()
        self.process.wait(_SERVER_START_SECONDS)


def _environments(
    size: int, env: dict[str, str] | list[dict[str, str]] | None
) -> list[dict[str, str]]:
    common = {**clean_environment(), "OMP_NUM_THREADS": "1", "RUEDA_JOB_ID": str(uuid.uuid4())}
    own = env if isinstance(env, list) else [env or {}] * size
    return [
        {
            **common,
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(size),
            **own[rank],
        }
        for rank in range(size)
    ]


def _dumps(value: Any) -> bytes:
    """Pickle functions of test files by value: ranks cannot import them."""
    for module in list(sys.modules.values()):
        if str(getattr(module, "__file__", None)).startswith(f"{_HERE}{os.sep}"):
            cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(value)


class Job:
    """Ranks under way. Every wait fails the test at the deadline and shows all stacks."""

    def __init__(self, report: socket.socket, ranks: list[_Rank], seconds: float) -> None:
        self._report = report
        self._ranks = ranks
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._empty = False
        self._closed = False
        self.pids: list[int] = []
        self._wait(lambda: bool(self.pids), "start")

    def renew_deadline(self) -> None:
        """Give the job its whole time again, when it has done one of several things."""
        self._deadline = time.monotonic() + self._seconds

    def hear(self, rank: int) -> Any:
        """Return the next value that a rank tells."""
        own = self._ranks[rank]
        self._wait(lambda: bool(own.told) or own.ended.code is not None, f"word of rank {rank}")
        assert own.told, f"rank {rank} ended first\n{self.describe()}"
        return own.told.pop(0)

    def has_word(self, rank: int) -> bool:
        """Return whether ``hear`` would return a value at once."""
        self._read(self._readable(time.monotonic()))
        return bool(self._ranks[rank].told)

    def tell(self, rank: int, value: Any) -> None:
        """Send a rank a value; one that has ended needs none, and how it did shows elsewhere."""
        message = _dumps(value)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._ranks[rank].line.sendall(_LENGTH.pack(len(message)) + message)

    def signal(self, rank: int, number: int) -> float:
        """Send a rank a signal; return when, by ``time.monotonic()``."""
        at = time.monotonic()
        os.kill(self.pids[rank], number)
        return at

    def stop(self, rank: int) -> float:
        """Stop a rank until it gets SIGCONT; return when it was told to, by ``time.monotonic()``.

        A stop reaches one thread first, and the others when that one gets a processor; so this
        waits until all of them have stopped.
        """
        at = self.signal(rank, signal.SIGSTOP)
        while any(state != "T" for state in self._states(rank)):
            if time.monotonic() > self._deadline:
                self._give_up(f"no stop of rank {rank} within {self._seconds:.0f} s")
            select.select([], [], [], 0.01)
        return at

    def _states(self, rank: int) -> list[str]:
        """Return the states of a rank's threads, as the kernel abbreviates them."""
        states = []
        for thread in Path(f"/proc/{self.pids[rank]}/task").iterdir():
            # One that has ended meanwhile does not count.
            with contextlib.suppress(OSError):
                states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return states

    def wait_for_output(self, rank: int, text: str) -> None:
        """Wait until a rank has written some text."""
        while text not in self.output(rank):
            if time.monotonic() > self._deadline:
                self._give_up(f"no {text!r} of rank {rank} within {self._seconds:.0f} s")
            select.select([], [], [], 0.01)

    def wait_until_asleep(self, rank: int) -> None:
        """Wait until a rank's main thread sleeps in the kernel, as it does when it waits."""
        state = Path(f"/proc/{self.pids[rank]}/stat")
        asleep = 0
        # A thread on its way to sleep may stop for a moment before; so it has to stay there.
        while asleep < 10:
            if time.monotonic() > self._deadline:
                self._give_up(f"no sleep of rank {rank} within {self._seconds:.0f} s")
            asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0
            select.select([], [], [], 0.01)

    def ended(self, rank: int) -> Ended:
        """Wait for the end of a rank and return how it ended."""
        own = self._ranks[rank]
        self._wait(lambda: own.ended.code is not None, f"end of rank {rank}")
        # Its children may hold the line open, but it has said what it had to say.
        while own.line in self._readable(time.monotonic()):
            self._read_line(own)
        own.ended.output = self.output(rank)
        return own.ended

    def all_ended(self) -> list[Ended]:
        """Wait for the end of all ranks."""
        return [self.ended(rank) for rank in range(len(self._ranks))]

    def results(self) -> list[Any]:
        """Return what the ranks returned; the test fails if one of them did not."""
        all_ended = self.all_ended()
        if any(ended.error is not None or ended.code != 0 for ended in all_ended):
            pytest.fail(self.describe(), pytrace=False)
        return [ended.value for ended in all_ended]

    def wait_until_empty(self) -> None:
        """Wait until no process is left of the job, children of ranks included."""
        self._wait(lambda: self._empty, "end of every process")

    def output(self, rank: int) -> str:
        """Return what a rank has written so far."""
        descriptor = self._ranks[rank].output
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def describe(self) -> str:
        """Return how each rank ended, or that it runs, and its output."""
        ranks_of: dict[str, list[str]] = {}
        for rank, own in enumerate(self._ranks):
            state = "is running" if own.ended.code is None else f"ended with {own.ended.code}"
            text = own.ended.traceback or self.output(rank)
            name = f"{rank} (pid {self.pids[rank]})"
            ranks_of.setdefault(f"{state}\n{text}", []).append(name)
        return "\n".join(f"--- rank {', '.join(names)} {text}" for text, names in ranks_of.items())

    def close(self) -> None:
        """End what is left of it. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        for pid in self.pids:
            for send in (os.kill, os.killpg):
                try:
                    send(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
        self._deadline = time.monotonic() + self._seconds
        self.wait_until_empty()
        self._report.close()
        for own in self._ranks:
            own.line.close()
            os.close(own.output)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            ready = self._readable(self._deadline)
            if not ready:
                self._give_up(f"no {what} within {self._seconds:.0f} s")
            self._read(ready)

    def _readable(self, until: float) -> list[socket.socket]:
        sockets = [self._report] if not self._empty else []
        sockets += [own.line for own in self._ranks if not own.hung_up]
        return select.select(sockets, [], [], max(0.0, until - time.monotonic()))[0]

    def _read(self, ready: list[socket.socket]) -> None:
        for own in self._ranks:
            if own.line in ready:
                self._read_line(own)
        if self._report not in ready:
            return
        message = json.loads(self._report.recv(1 << 16) or b'{"empty": true}')
        self.pids = message.get("pids", self.pids)
        self._empty = message.get("empty", False)
        if "ended" in message:
            ended = self._ranks[message["ended"]["rank"]].ended
            ended.code, ended.at = message["ended"]["code"], message["ended"]["at"]

    @staticmethod
    def _read_line(own: _Rank) -> None:
        try:
            piece = own.line.recv(1 << 20)
        except ConnectionResetError:
            piece = b""
        own.hung_up = not piece
        own.received += piece
        while len(own.received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack(own.received[: _LENGTH.size])
            if len(own.received) < _LENGTH.size + length:
                return
            kind, value, at = pickle.loads(own.received[_LENGTH.size : _LENGTH.size + length])
            del own.received[: _LENGTH.size + length]
            if kind == "told":
                own.told.append(value)
                continue
            own.ended.raised_at = at
            if kind == "returned":
                own.ended.value = value
            else:
                own.ended.error, own.ended.traceback = value

    def _give_up(self, what: str) -> None:
        """Show what every rank is doing, end the job and fail the test."""
        running = [rank for rank, own in enumerate(self._ranks) if own.ended.code is None]
        before = {rank: len(self.output(rank)) for rank in running}
        for rank in running:
            os.kill(self.pids[rank], signal.SIGUSR1)
        until = time.monotonic() + _STACKS_SECONDS
        # A stopped rank shows nothing.
        while time.monotonic() < until and any(
            "most recent call first" not in self.output(rank)[before[rank] :] for rank in running
        ):
            select.select([], [], [], 0.01)
        text = self.describe()
        self.close()
        pytest.fail(f"{what}\n{text}", pytrace=False)


@dataclass(frozen=True)
class Finished:
    """How a launcher and its ranks ended: exit code and output."""

    code: int
    out: str
    err: str


_MARK = "RANKS_OF_A_TEST"
_LAUNCHERS = {
    "ruedarun": ["-m", "rueda.launch", "-np"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"],
}
_MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np"]


def run_script(
    launcher: str,
    size: int,
    script: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    deadline: float = DEADLINE_SECONDS,
) -> Finished:
    """Run a script under a launcher to its end; nothing of it may be left afterwards.

    Args:
        launcher: "ruedarun", "torchrun", "mpirun", or "python" for one rank without a launcher.
        size: Number of ranks.
        script: The file.
        arguments: Its arguments.
        env: Added to the environment.
        deadline: Seconds; past it all stacks are shown and the test fails.
    """
    mark = uuid.uuid4().hex
    command = [sys.executable, str(script), *arguments]
    if launcher == "mpirun":
        command = [*_MPIRUN, str(size), *command]
    elif launcher != "python":
        command = [sys.executable, *_LAUNCHERS[launcher], str(size), *command[1:]]
    process = subprocess.Popen(
        command,
        # At an abort Python shows its stacks.
        env={**clean_environment(), "PYTHONFAULTHANDLER": "1", _MARK: mark, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        _signal_marked(mark, signal.SIGABRT, but=process.pid)
        out, err = _last_words(process, mark)
        pytest.fail(f"no end of {launcher} within {deadline:.0f} s\n{out}\n{err}", pytrace=False)
    until = time.monotonic() + _LEFT_SECONDS
    while _marked(mark) and time.monotonic() < until:
        select.select([], [], [], 0.01)
    left = _marked(mark)
    _signal_marked(mark, signal.SIGKILL)
    assert not left, f"processes left by {launcher}: {left}"
    return Finished(process.returncode, out, err)


def _last_words(process: subprocess.Popen[str], mark: str) -> tuple[str, str]:
    try:
        return process.communicate(timeout=_STACKS_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_marked(mark, signal.SIGKILL)
        return process.communicate()


def _marked(mark: str) -> dict[int, str]:
    """Return the command lines of the live processes of a launcher, itself included, by pid."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace")
        except OSError:
            continue
    return found


def _signal_marked(mark: str, number: int, but: int = 0) -> None:
    for pid in _marked(mark):
        if pid == but:
            continue
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
