"""Ranks of a meeting as threads, arenas, strangers, and waiting on conditions with a deadline."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rueda._bootstrap.handshake import ClientHandshake
from rueda._bootstrap.handshake_messages import Identity, Proven, Role
from rueda._bootstrap.meeting_point import MeetingPoint, TcpPoint, UnixPoint
from rueda._rendezvous import Meeting, _hash, meet
from rueda._world import World

VERSION = "0.1.0"
DEADLINE_SECONDS = 20.0
ARENA_BYTES = 8192
SECRET = bytes(range(32))


def eventually(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until ``condition`` holds; fail when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        select.select([], [], [], 0.002)


def make_arena(size: int = ARENA_BYTES, *, sealed: bool = True, name: str = "arena") -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Job:
    """A job of ``size`` ranks, each a thread that calls ``meet``; ends by ``outcomes``."""

    size: int
    secret: bytes | None = None
    rendezvous: str | None = None
    key: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    deadline_seconds: float = DEADLINE_SECONDS
    results: dict[int, Meeting | BaseException] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    arenas: list[int] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def start(self, rank: int, *, slot: int | None = None, **changed: Any) -> threading.Thread:
        """Let ``rank`` come; ``changed`` are its arguments of ``meet`` or fields of its World."""
        arguments = self._arguments(rank, changed)

        def attend() -> None:
            try:
                self.results[rank if slot is None else slot] = meet(**arguments)
            except BaseException as error:
                self.results[rank if slot is None else slot] = error

        thread = threading.Thread(target=attend, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def _arguments(self, rank: int, changed: dict[str, Any]) -> dict[str, Any]:
        size = changed.pop("size", self.size)
        key = changed.pop("key", self.key)
        if "arena_fd" not in changed:
            changed["arena_fd"] = make_arena(name=f"arena-of-{rank}")
            self.arenas.append(changed["arena_fd"])
        return {
            "world": World(rank, size, rank, size, 0, 1, "test", key),
            "facts": {"RUEDA_BACKEND": "shm"},
            "version": VERSION,
            "secret": self.secret,
            "rendezvous": self.rendezvous,
            "epoch": 7,
            "deadline_seconds": self.deadline_seconds,
            **changed,
        }

    def start_all(self) -> None:
        for rank in range(self.size):
            self.start(rank)

    def outcomes(self) -> dict[int, Meeting | BaseException]:
        """Join all threads under a deadline and return what came of each rank."""
        until = time.monotonic() + self.deadline_seconds + 10
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                faulthandler.dump_traceback(file=sys.stderr)
                pytest.fail("a rank hangs in the meeting")
        return self.results

    def meetings(self) -> list[Meeting]:
        """Return the meetings by rank; fail if a rank has none."""
        found = []
        for rank, outcome in sorted(self.outcomes().items()):
            if isinstance(outcome, BaseException):
                raise AssertionError(f"rank {rank} failed") from outcome
            found.append(outcome)
        assert len(found) == self.size
        return found

    def errors(self) -> dict[int, BaseException]:
        """Return the errors by rank; fail if a rank met."""
        found = self.outcomes()
        assert all(isinstance(outcome, BaseException) for outcome in found.values()), found
        return {rank: error for rank, error in found.items() if isinstance(error, BaseException)}

    def point(self) -> MeetingPoint:
        if self.rendezvous is None:
            return UnixPoint(self.key)
        host, _, port = self.rendezvous.rpartition(":")
        return TcpPoint(host.strip("[]"), int(port))

    def connect(self) -> socket.socket:
        """Connect to rank 0 as anybody could, as soon as it listens."""
        family, address = self.point().addresses()[0]
        until = time.monotonic() + DEADLINE_SECONDS
        while True:
            connection = socket.socket(family, socket.SOCK_STREAM)
            self.connections.append(connection)
            try:
                connection.connect(address)
            except ConnectionRefusedError:
                self.connections.pop().close()
                assert time.monotonic() < until, "rank 0 never listened"
                select.select([], [], [], 0.002)
            else:
                connection.settimeout(DEADLINE_SECONDS)
                return connection

    def identity(self, rank: int, *, size: int | None = None) -> Identity:
        return Identity(_hash(self.key), rank, size or self.size, Role.MEETING, VERSION)

    def prove(self, rank: int) -> tuple[socket.socket, Proven]:
        """Pass rank 0's handshake as ``rank``, the way any implementation could."""
        connection = self.connect()
        side = ClientHandshake(self.identity(rank), 0, self.secret)
        connection.sendall(side.start())
        while side.bytes_wanted:
            data = connection.recv(side.bytes_wanted)
            assert data, "rank 0 hung up"
            connection.sendall(side.feed(data))
        assert isinstance(side.verdict, Proven), side.verdict
        return connection, side.verdict

    def close(self) -> None:
        for outcome in self.results.values():
            if isinstance(outcome, Meeting):
                outcome.close()
        while self.arenas:
            os.close(self.arenas.pop())
        while self.connections:
            self.connections.pop().close()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., None]:
    """Wait until a condition holds; fail when it does not in time."""
    return eventually


@pytest.fixture(name="make_arena")
def make_arena_fixture() -> Iterator[Callable[..., int]]:
    """Make arenas that are closed after the test."""
    made: list[int] = []

    def make(**settings: Any) -> int:
        made.append(make_arena(**settings))
        return made[-1]

    yield make
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture
def make_pidfd() -> Iterator[Callable[[int], int]]:
    """Make process descriptors that are closed after the test."""
    made: list[int] = []

    def make(pid: int) -> int:
        made.append(os.pidfd_open(pid))
        return made[-1]

    yield make
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture
def new_job() -> Iterator[Callable[..., Job]]:
    """Make jobs; whatever they met with is closed, and no descriptor may be left."""
    before = open_descriptors()
    jobs: list[Job] = []

    def make(size: int, **settings: Any) -> Job:
        jobs.append(Job(size, **settings))
        return jobs[-1]

    yield make
    for job in jobs:
        job.outcomes()
        job.close()
    assert open_descriptors() == before


@pytest.fixture
def tcp_settings() -> dict[str, Any]:
    """Return what makes a job meet over TCP."""
    return {"secret": SECRET, "rendezvous": f"127.0.0.1:{free_port()}"}


@pytest.fixture(params=["unix", "tcp"])
def any_job(
    request: pytest.FixtureRequest, new_job: Callable[..., Job], tcp_settings: dict[str, Any]
) -> Callable[..., Job]:
    """Make jobs that meet over each transport."""

    def make(size: int, **settings: Any) -> Job:
        return new_job(
            size, **({**tcp_settings, **settings} if request.param == "tcp" else settings)
        )

    return make
