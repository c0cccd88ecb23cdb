"""Strangers at every socket of a real job, while it meets and afterwards: refused, job unharmed."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import rueda as hvd
from rueda._bootstrap.handshake import ClientHandshake
from rueda._bootstrap.handshake_messages import MAGIC, PREFIX, Identity, Role
from rueda._rendezvous import _hash

if TYPE_CHECKING:
    from ranks import Job

_JOB = "the job of this test"
_SECONDS = 20.0


def _listening(job: Job) -> set[tuple[int, object]]:
    """Return family and address of each socket at which a rank listens."""
    of_inode: dict[str, tuple[int, object]] = {}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split()
        if flags == "00010000":
            of_inode[inode] = (socket.AF_UNIX, path[0].replace("@", "\0", 1))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            address, port = fields[1].split(":")
            host = socket.inet_ntoa(bytes.fromhex(address)[::-1])
            of_inode[fields[9]] = (socket.AF_INET, (host, int(port, 16)))
    found = set()
    for pid in job.pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inode = str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
                if inode in of_inode:
                    found.add(of_inode[inode])
    return found


def _wait_for_listeners(job: Job, count: int) -> set[tuple[int, object]]:
    until = time.monotonic() + _SECONDS
    while len(found := _listening(job)) < count:
        assert time.monotonic() < until, f"only {found} in time"
        select.select([], [], [], 0.01)
    return found


def _connect(family: int, address: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(_SECONDS)
    connection.connect(address)
    return connection


def _heard(connection: socket.socket) -> bytes:
    """Return all that comes until the other side hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(4096):
            heard += data
    return heard


def _client(secret: bytes) -> ClientHandshake:
    me = Identity(_hash(_JOB), 1, 3, Role.MEETING, hvd.__version__)
    return ClientHandshake(me, 0, secret)


def _silence(connection: socket.socket) -> None:
    """Say nothing."""


def _noise(connection: socket.socket) -> None:
    connection.sendall(random.Random(1).randbytes(300))


def _much_noise(connection: socket.socket) -> None:
    connection.settimeout(0.2)
    with contextlib.suppress(OSError):
        connection.sendall(b"\xff" * (1 << 22))
    connection.settimeout(_SECONDS)


def _wrong_secret(connection: socket.socket) -> None:
    # An honest rank would wait for the challenge, and see by its proof that something is wrong.
    version = hvd.__version__.encode()
    proof = PREFIX.pack(MAGIC, 3, 1, Role.MEETING, version) + b"m" * 32
    connection.sendall(_client(b"w" * 32).start() + proof)


def _no_secret(connection: socket.socket) -> None:
    me = Identity(_hash(_JOB), 1, 3, Role.MEETING, hvd.__version__)
    connection.sendall(ClientHandshake(me, 0, None).start())


_STRANGERS = [_silence, _noise, _much_noise, _wrong_secret, _no_secret]


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    """The environment of a job with a secret in a file."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(os.urandom(32))
    return {"RUEDA_SECRET_FILE": str(file), "RUEDA_JOB_ID": _JOB}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _meet(link):
    """Rank 2 comes when it is told to; then all train a little."""
    if int(os.environ["RANK"]) == 2:
        link.hear()
    hvd.init()
    total = hvd.allreduce(torch.ones(1000), op=hvd.Sum).sum().item()
    link.tell("met")
    link.hear()
    hvd.barrier()
    hvd.shutdown()
    return total


def _finish(job: Job) -> None:
    """Let rank 2 come, see that nobody listens any more, and that the job is unharmed."""
    job.tell(2, "come")
    assert [job.hear(rank) for rank in range(3)] == ["met"] * 3, job.describe()
    assert _listening(job) == set()
    for rank in range(3):
        job.tell(rank, "go on")
    assert job.results() == [3000.0] * 3


@pytest.mark.parametrize("road", ["unix", "tcp"])
def test_strangers_at_every_socket_while_the_ranks_meet(
    start_ranks: Callable[..., Job], secret: dict[str, str], free_port: int, road: str
) -> None:
    # Over TCP each rank but the last also waits for the ranks after it.
    listeners = {"unix": 1, "tcp": 2}[road]
    env = {**secret, "RUEDA_RENDEZVOUS": f"127.0.0.1:{free_port}"} if road == "tcp" else secret
    job = start_ranks(3, _meet, init=False, env=env)
    found = _wait_for_listeners(job, listeners)
    for family, address in found:
        assert family == (socket.AF_INET if road == "tcp" else socket.AF_UNIX)
        if road == "tcp":
            assert address[0] == "127.0.0.1"
    connections = []
    for where in found:
        for behave in _STRANGERS * 3:
            connections.append(_connect(*where))
            behave(connections[-1])
    _finish(job)
    for connection in connections:
        with connection:
            # A challenge at most; never a welcome, a descriptor or anything of the job.
            assert len(_heard(connection)) < 512


def test_a_stranger_of_another_user_does_not_get_the_secret(
    start_ranks: Callable[..., Job],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Without a secret of its own the job is one of processes of one user.
    job = start_ranks(3, _meet, init=False, env={"RUEDA_JOB_ID": _JOB})
    [(family, address)] = _wait_for_listeners(job, 1)
    assert family == socket.AF_UNIX

    def be_a_stranger():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with _connect(family, address) as connection:
            with contextlib.suppress(ConnectionError):
                _no_secret(connection)
            return _heard(connection)

    [stranger] = start_ranks(1, be_a_stranger, init=False, interactive=False).results()
    # Hung up on, or refused with a code; a challenge would be longer.
    assert len(stranger) < 64
    _finish(job)


class _Recorder:
    """Stands between a rank and rank 0, passes everything on and keeps what the rank says."""

    def __init__(self, port: int) -> None:
        self.recorded = b""
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with client, _connect(socket.AF_INET, self._to) as server:
            other = {client: server, server: client}
            while other:
                for source in select.select(list(other), [], [])[0]:
                    data = source.recv(4096)
                    if source is client:
                        self.recorded += data
                    if not data:
                        with contextlib.suppress(OSError):  # it may have gone first
                            other.pop(source).shutdown(socket.SHUT_WR)
                        continue
                    with contextlib.suppress(OSError):
                        other[source].sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def recorder(free_port: int) -> Iterator[_Recorder]:
    recording = _Recorder(free_port)
    yield recording
    recording.close()


def test_a_replayed_handshake(
    start_ranks: Callable[..., Job], secret: dict[str, str], free_port: int, recorder: _Recorder
) -> None:
    def env(port: int) -> dict[str, str]:
        return {**secret, "RUEDA_RENDEZVOUS": f"127.0.0.1:{port}"}

    job = start_ranks(
        3,
        _meet_once_rank_0_listens,
        init=False,
        env=[env(free_port), env(recorder.port), env(free_port)],
    )
    _wait_for_listeners(job, 1)
    job.tell(1, "come")
    # Its greeting and its proof are on record when rank 1 waits for rank 2.
    _wait_for_listeners(job, 2)
    replayed = recorder.recorded
    assert len(replayed) > 64
    with _connect(socket.AF_INET, ("127.0.0.1", free_port)) as connection:
        connection.sendall(replayed)
        heard = _heard(connection)
    # A challenge with a new nonce, to which the old proof is none.
    assert len(heard) < 512
    _finish(job)


def _meet_once_rank_0_listens(link):
    if int(os.environ["RANK"]) == 1:
        link.hear()
    return _meet(link)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_a_running_job_listens_nowhere(start_ranks: Callable[..., Job], backend: str) -> None:
    job = start_ranks(3, _meet, init=False, env={"RUEDA_BACKEND": backend})
    _finish(job)


def test_the_secret_is_in_no_argument_environment_or_output(run_script) -> None:
    finished = run_script(
        "ruedarun",
        2,
        """
        import os
        from pathlib import Path

        import rueda as hvd
        from rueda import _context
        from rueda._environment import environment

        hvd.init()
        secret = _context._process.secrets.secret(environment())
        assert len(secret) == 32
        for folder in (Path("/proc/self"), Path(f"/proc/{os.getppid()}")):
            for name in ("environ", "cmdline"):
                text = (folder / name).read_bytes()
                assert secret not in text
                assert secret.hex().encode() not in text
        for number in range(64):
            try:
                target = os.readlink(f"/proc/self/fd/{number}")
            except FileNotFoundError:
                continue
            # Programs that this one starts do not inherit it either.
            assert "secret" not in target
        print("checked")
        """,
    )
    assert finished.code == 0, finished.err
    assert finished.out.count("checked") == 2
