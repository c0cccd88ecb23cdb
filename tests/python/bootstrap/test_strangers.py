"""Strangers at the door are refused, learn nothing, and neither harm nor delay the job."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from rueda._bootstrap import gate, pairing
from rueda._bootstrap.handshake import ClientHandshake, ServerHandshake
from rueda._bootstrap.handshake_messages import MAGIC, PREFIX, Role
from rueda.exceptions import RuedaError

if TYPE_CHECKING:
    Jobs = Callable[..., Any]

SECRET = bytes(range(32))
WRONG = bytes(range(1, 33))


def swallow(connection: socket.socket) -> bytes:
    """Read until rank 0 hangs up."""
    heard = b""
    try:
        while data := connection.recv(4096):
            heard += data
    except ConnectionError:
        pass
    return heard


def is_hung_up(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def silence(job: Any, connection: socket.socket) -> None:
    """Say nothing."""


def noise(job: Any, connection: socket.socket) -> None:
    connection.sendall(random.Random(1).randbytes(300))


def oversized(job: Any, connection: socket.socket) -> None:
    connection.settimeout(0.2)
    with contextlib.suppress(OSError):
        connection.sendall(PREFIX.pack(MAGIC, 1, 1, Role.MEETING, b"0") + b"A" * (1 << 22))
    connection.settimeout(20)


def truncated(job: Any, connection: socket.socket) -> None:
    hello = ClientHandshake(job.identity(1), 0, SECRET).start()
    connection.sendall(hello[:-1])


def half_open(job: Any, connection: socket.socket) -> None:
    hello = ClientHandshake(job.identity(1), 0, SECRET).start()
    connection.sendall(hello[:60])
    connection.shutdown(socket.SHUT_WR)


def wrong_secret(job: Any, connection: socket.socket) -> None:
    side = ClientHandshake(job.identity(1), 0, WRONG)
    connection.sendall(side.start())
    challenge = connection.recv(4096)
    # An honest rank would stop here; this one goes on with a proof it cannot make.
    connection.sendall(PREFIX.pack(MAGIC, 3, 1, Role.MEETING, b"0.1.0") + b"m" * 32)
    assert challenge


def replay(job: Any, connection: socket.socket) -> None:
    client = ClientHandshake(job.identity(1), 0, SECRET)
    server = ServerHandshake(job.identity(0), SECRET)
    hello = client.start()
    proof = client.feed(server.feed(hello))
    connection.sendall(hello)
    connection.recv(4096)
    connection.sendall(proof)


def reflection(job: Any, connection: socket.socket) -> None:
    connection.sendall(ClientHandshake(job.identity(1), 0, SECRET).start())
    challenge = connection.recv(4096)
    connection.sendall(PREFIX.pack(MAGIC, 3, 1, Role.MEETING, b"0.1.0") + challenge[-32:])


def echo(job: Any, connection: socket.socket) -> None:
    connection.sendall(ClientHandshake(job.identity(1), 0, SECRET).start())
    connection.sendall(connection.recv(4096))


def as_rank_zero(job: Any, connection: socket.socket) -> None:
    connection.sendall(ClientHandshake(job.identity(0), 0, SECRET).start())


def for_another_rank(job: Any, connection: socket.socket) -> None:
    connection.sendall(ClientHandshake(job.identity(1), 2, SECRET).start())


def of_another_job(job: Any, connection: socket.socket) -> None:
    me = job.identity(1)
    other = type(me)(b"x" * 32, me.rank, me.size, me.role, me.version)
    connection.sendall(ClientHandshake(other, 0, SECRET).start())


def with_descriptors(job: Any, connection: socket.socket) -> None:
    if connection.family == socket.AF_UNIX:
        socket.send_fds(connection, [b"noise" * 20], [0] * 100)
    else:
        connection.sendall(b"noise" * 20)


KINDS = [
    silence,
    noise,
    oversized,
    truncated,
    half_open,
    wrong_secret,
    replay,
    reflection,
    echo,
    as_rank_zero,
    for_another_rank,
    of_another_job,
    with_descriptors,
]
# These are known for what they are at once; the others may be waiting for more.
REFUSED_AT_ONCE = [kind for kind in KINDS if kind not in (silence, truncated)]


@pytest.mark.parametrize("stranger", KINDS, ids=lambda kind: kind.__name__)
def test_a_stranger_does_no_harm(any_job: Jobs, stranger: Callable[..., None]) -> None:
    job = any_job(3, secret=SECRET)
    job.start(0)
    stranger(job, job.connect())
    job.start(1)
    stranger(job, job.connect())
    job.start(2)
    assert len(job.meetings()) == 3


@pytest.mark.parametrize("stranger", REFUSED_AT_ONCE, ids=lambda kind: kind.__name__)
def test_a_stranger_is_refused_at_once_with_few_bytes(
    any_job: Jobs, stranger: Callable[..., None]
) -> None:
    job = any_job(2, secret=SECRET)
    job.start(0)
    connection = job.connect()
    stranger(job, connection)
    # Rank 0 still waits for rank 1, so only the refusal can end this.
    heard = swallow(connection)
    assert len(heard) <= 512
    job.start(1)
    assert len(job.meetings()) == 2


def test_a_silent_stranger_is_sent_away_while_the_ranks_still_wait(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "HANDSHAKE_SECONDS", 0.3)
    job = new_job(2)
    job.start(0)
    assert swallow(job.connect()) == b""
    job.start(1)
    assert len(job.meetings()) == 2


def test_a_trickle_of_bytes_buys_no_time(new_job: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HANDSHAKE_SECONDS", 0.3)
    job = new_job(2)
    job.start(0)
    connection = job.connect()
    connection.settimeout(0.01)
    hello = ClientHandshake(job.identity(1), 0, None).start()
    sent = 0
    came = time.monotonic()
    while sent < len(hello) - 1 and time.monotonic() < came + 15:
        try:
            connection.sendall(hello[sent : sent + 1])
            sent += 1
            if connection.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    assert sent < len(hello) - 1
    job.start(1)
    assert len(job.meetings()) == 2


def test_hundreds_of_silent_strangers_do_not_delay_the_ranks(
    any_job: Jobs, eventually: Callable[..., None]
) -> None:
    job = any_job(4, secret=SECRET)
    job.start(0)
    strangers = [job.connect() for _ in range(200)]
    for rank in range(1, 4):
        job.start(rank)
    assert len(job.meetings()) == 4
    # Rank 0 never held more than its limit: it hung up on those that came first.
    eventually(
        lambda: all(is_hung_up(stranger) for stranger in strangers[: 200 - gate.MAX_PENDING - 3])
    )


def test_strangers_that_say_hello_do_not_displace_honest_ranks(new_job: Jobs) -> None:
    job = new_job(3, secret=SECRET)
    job.start(0)
    for _ in range(150):
        connection = job.connect()
        try:
            connection.sendall(ClientHandshake(job.identity(1), 0, SECRET).start())
        except ConnectionError:
            continue
    job.start(1)
    job.start(2)
    assert len(job.meetings()) == 3


def test_a_rank_with_the_wrong_secret_is_told_and_rank_zero_remembers(any_job: Jobs) -> None:
    job = any_job(2, secret=SECRET, deadline_seconds=0.5)
    job.start(0)
    job.start(1, secret=WRONG)
    errors = job.errors()
    assert isinstance(errors[1], RuedaError)
    assert errors[1].code == "R403"
    assert "does not know this job's secret" in str(errors[1])
    assert "1 connection was refused" in str(errors[0])
    assert "different secrets" in str(errors[0])


def test_a_rank_without_the_secret_is_told_what_to_set(new_job: Jobs) -> None:
    job = new_job(2, secret=SECRET, deadline_seconds=0.5)
    job.start(0)
    job.start(1, secret=None)
    errors = job.errors()
    assert "this rank was given none; set RUEDA_SECRET_FILE" in str(errors[1])
    assert "it has no secret" in str(errors[0])


def test_a_rank_of_another_protocol_is_told_both_versions(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(2, deadline_seconds=0.5)
    job.start(0)
    connection = job.connect()
    me = job.identity(1)
    newer = type(me)(me.job, 1, 2, Role.MEETING, "0.9.0", 2)
    side = ClientHandshake(newer, 0, None)
    connection.sendall(side.start())
    side.feed(swallow(connection))
    assert "it runs rueda 0.1.0 (protocol 1), older than the rueda 0.9.0" in side.verdict.reason
    errors = job.errors()
    assert "it runs rueda 0.9.0 (protocol 2), newer than the rueda 0.1.0" in str(errors[0])


def test_a_false_rank_zero_is_found_out_at_once(any_job: Jobs) -> None:
    job = any_job(2, secret=SECRET, deadline_seconds=60.0)
    listener = job.point().listen()
    job.connections.append(listener)
    listener.settimeout(20)
    job.start(1)
    connection, _ = listener.accept()
    job.connections.append(connection)
    side = ServerHandshake(job.identity(0), WRONG)
    while side.bytes_wanted and (data := connection.recv(side.bytes_wanted)):
        if reply := side.feed(data):
            connection.sendall(reply)
    error = job.errors()[1]
    assert isinstance(error, RuedaError)
    assert (error.code, error.rank) == ("R403", 0)


def test_pair_sockets_refuse_strangers_too(
    new_job: Jobs,
    tcp_settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    visited = []

    class Crowded(pairing.Pairing):
        """Has a silent, a noisy and a replaying stranger before any honest caller."""

        def start(self, addresses: Any) -> None:
            for kind in (silence, noise, truncated):
                connection = socket.create_connection(self.address, timeout=20)
                job.connections.append(connection)
                kind(job, connection)
                visited.append(connection)
            super().start(addresses)

    monkeypatch.setattr("rueda._bootstrap.convener.Pairing", Crowded)
    monkeypatch.setattr("rueda._bootstrap.attendee.Pairing", Crowded)
    job = new_job(3, **tcp_settings)
    job.start_all()
    assert len(job.meetings()) == 3
    assert len(visited) == 9
    eventually(lambda: all(is_hung_up(connection) for connection in visited))


def test_another_user_is_not_spoken_to(new_job: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = os.geteuid() + 1

    def credentials(_: socket.socket) -> tuple[int, int]:
        return (4711, theirs)

    monkeypatch.setattr("rueda._bootstrap.meeting_point._credentials", credentials)
    job = new_job(2, deadline_seconds=0.5)
    job.start(0)
    connection = job.connect()
    assert swallow(connection) == b""
    job.start(1)
    errors = job.errors()
    told = f"process 4711 belongs to user {theirs}, this job to user {os.geteuid()}"
    assert told in str(errors[0])
    assert told in str(errors[1])


def test_nothing_logged_or_shown_holds_a_secret(
    new_job: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = new_job(2, secret=SECRET, deadline_seconds=5.0)
    job.start(0)
    for kind in (noise, wrong_secret, replay, of_another_job):
        connection = job.connect()
        kind(job, connection)
        swallow(connection)
    job.start(1, secret=WRONG, slot=2)
    job.start(1)
    outcomes = job.outcomes()
    shown = caplog.text + repr(outcomes) + "".join(str(outcome) for outcome in outcomes.values())
    assert "refused a connection" in caplog.text
    for secret in (SECRET, WRONG):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
        assert repr(list(secret))[1:-1] not in shown
