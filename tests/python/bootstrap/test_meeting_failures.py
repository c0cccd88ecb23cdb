"""When a meeting fails it fails on every rank that came, in the same words, naming the culprit."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rueda._bootstrap.cards import Card
from rueda._bootstrap.fd_passing import send_some
from rueda._bootstrap.frames import FrameError, FrameKind, FrameWriter
from rueda._bootstrap.handshake import ServerHandshake
from rueda._bootstrap.handshake_messages import PROTOCOL, Identity, Role
from rueda._rendezvous import _hash
from rueda.exceptions import RuedaError

if TYPE_CHECKING:
    Jobs = Callable[..., Any]

WHO = f"(host {socket.gethostname()}, pid {os.getpid()})"


def the_error(errors: dict[int, BaseException]) -> RuedaError:
    """Return the one error that all ranks have."""
    assert len({str(error) for error in errors.values()}) == 1, errors
    first = next(iter(errors.values()))
    assert isinstance(first, RuedaError)
    assert len({(e.code, e.rank) for e in errors.values() if isinstance(e, RuedaError)}) == 1
    return first


def card(job: Any, rank: int) -> dict[str, Any]:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    facts = {"RUEDA_BACKEND": "shm"}
    return Card(rank, job.size, "elsewhere", 4711, boot_id, "0.1.0", facts).to_json()


def enter(job: Any, rank: int, descriptors: tuple[int, ...]) -> tuple[Any, FrameWriter]:
    """Come as ``rank`` and hand in a card, without the rest of rueda."""
    connection, proven = job.prove(rank)
    writer = FrameWriter(proven.session_key, b"client to server")
    frame = writer.seal(FrameKind.CARD, card(job, rank), len(descriptors))
    send_some(connection, frame, descriptors)
    return connection, writer


# Ranks that do not belong together.


@pytest.mark.parametrize("size", [2, 3, 4])
def test_facts_that_differ_are_named_with_each_ranks_value(any_job: Jobs, size: int) -> None:
    job = any_job(size)
    for rank in range(size):
        backend = "gloo" if rank == 1 else "shm"
        job.start(rank, facts={"RUEDA_BACKEND": backend, "RUEDA_CHUNK": "1"})
    error = the_error(job.errors())
    assert error.code == "R201"
    assert f"RUEDA_BACKEND differs: 'shm' on rank 0 {WHO}" in str(error) or (
        f"RUEDA_BACKEND differs: 'gloo' on rank 1 {WHO}" in str(error)
    )
    assert all(f"rank {rank} {WHO}" in str(error) for rank in range(size))
    assert "set RUEDA_BACKEND the same for all ranks" in str(error)
    assert "RUEDA_CHUNK" not in str(error)


def test_a_fact_that_one_rank_lacks_differs(new_job: Jobs) -> None:
    job = new_job(2)
    job.start(0, facts={"RUEDA_BACKEND": "shm"})
    job.start(1, facts={})
    assert f"'(not set)' on rank 1 {WHO}" in str(the_error(job.errors()))


def test_another_version_with_the_same_protocol_is_named(any_job: Jobs) -> None:
    job = any_job(3)
    job.start(0)
    job.start(1)
    job.start(2, version="0.1.1")
    error = the_error(job.errors())
    assert f"the rueda version differs: '0.1.1' on rank 2 {WHO}, '0.1.0' on rank 0" in str(error)


@pytest.mark.parametrize(("size_of_zero", "size_of_one"), [(3, 2), (2, 3)])
def test_sizes_that_differ_are_named_long_before_the_deadline(
    any_job: Jobs, size_of_zero: int, size_of_one: int
) -> None:
    job = any_job(2, deadline_seconds=60.0)
    job.start(0, size=size_of_zero)
    job.start(1, size=size_of_one)
    error = the_error(job.errors())
    assert "the number of ranks differs" in str(error)
    assert f"'{size_of_zero}' on rank 0 {WHO}" in str(error)
    assert f"'{size_of_one}' on rank 1 {WHO}" in str(error)


def test_a_rank_that_comes_twice_is_named(any_job: Jobs) -> None:
    job = any_job(3, deadline_seconds=60.0)
    job.start(0)
    job.start(1)
    job.start(1, slot=2)
    error = the_error(job.errors())
    assert (error.code, error.rank) == ("R201", 1)
    assert f"rank 1 came twice: rank 1 {WHO} and rank 1 {WHO}" in str(error)


def test_an_arena_of_another_size_is_refused(new_job: Jobs, make_arena: Callable[..., int]) -> None:
    job = new_job(3)
    job.start(0)
    job.start(1)
    job.start(2, arena_fd=make_arena(size=4096))
    error = the_error(job.errors())
    assert str(error).startswith(f"[R201] the arena of rank 2 {WHO} has 4096 bytes, not 8192; set ")
    assert error.rank == 2


def test_an_arena_that_could_shrink_is_refused(
    new_job: Jobs, make_arena: Callable[..., int], make_pidfd: Callable[[int], int]
) -> None:
    job = new_job(2)
    job.start(0)
    enter(job, 1, (make_arena(sealed=False), make_pidfd(os.getpid())))
    error = the_error(job.errors())
    assert "the arena of rank 1 (host elsewhere, pid 4711) lacks the seals" in str(error)


def test_a_card_without_its_descriptors_is_refused(
    new_job: Jobs, make_arena: Callable[..., int]
) -> None:
    for descriptors in ((), (make_arena(),), (make_arena(), make_arena())):
        job = new_job(2)
        job.start(0)
        enter(job, 1, descriptors)
        error = the_error(job.errors())
        assert (error.code, error.rank) == ("R402", 1)


# Ranks that do not come.


def test_missing_ranks_are_named_to_all_who_came(any_job: Jobs) -> None:
    job = any_job(4, deadline_seconds=0.5)
    job.start(0)
    job.start(2)
    error = the_error(job.errors())
    assert error.code == "R302"
    assert "ranks 1, 3 of 4 did not come" in str(error)
    assert f"present: rank 0 {WHO} and rank 2 {WHO}" in str(error)
    assert "within 0.5 s" in str(error)


def test_one_missing_rank_is_blamed(new_job: Jobs) -> None:
    job = new_job(2, deadline_seconds=0.2)
    job.start(0)
    assert the_error(job.errors()).rank == 1


def test_rank_zero_decides_when_it_is_too_late(new_job: Jobs) -> None:
    job = new_job(3, deadline_seconds=0.8)
    job.start(0)
    job.start(1, deadline_seconds=0.1)
    error = the_error(job.errors())
    assert "rank 2 of 3 did not come" in str(error)


def test_a_rank_zero_that_never_listens_is_named_with_the_place(any_job: Jobs) -> None:
    job = any_job(2, deadline_seconds=0.3)
    job.start(1)
    error = the_error(job.errors())
    assert (error.code, error.rank) == ("R302", 0)
    assert f"rank 1 {WHO} waited 0.3 s for rank 0, but nobody listens at" in str(error)
    assert str(job.point()) in str(error)


def test_a_listener_that_never_answers_is_told_from_nobody(any_job: Jobs) -> None:
    job = any_job(2, deadline_seconds=0.3)
    with closing(job.point().listen()):
        job.start(1)
        assert "accepted the connection but never answered" in str(the_error(job.errors()))


def test_a_name_or_port_that_is_taken_fails_at_once_with_the_fix(any_job: Jobs) -> None:
    job = any_job(2, deadline_seconds=60.0)
    with closing(job.point().listen()):
        job.start(0)
        error = the_error(job.errors())
    assert error.code == "R401"
    assert "nother job" in str(error)
    assert "set another port" in str(error) or "another RUEDA_JOB_ID" in str(error)


# Ranks that die, or that rank 0 cannot understand.


def test_a_rank_that_hangs_up_ends_the_meeting_for_all(any_job: Jobs) -> None:
    job = any_job(3, deadline_seconds=60.0)
    job.start(0)
    job.start(1)
    connection, _ = job.prove(2)
    connection.close()
    error = the_error(job.errors())
    assert str(error) == "[R301] rank 2 ended while the ranks met"
    assert (error.code, error.rank) == ("R301", 2)


def test_a_process_that_dies_is_known_though_its_connection_stays(
    new_job: Jobs, make_arena: Callable[..., int], make_pidfd: Callable[[int], int]
) -> None:
    job = new_job(3, deadline_seconds=60.0)
    job.start(0)
    job.start(1)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as victim:
        enter(job, 2, (make_arena(), make_pidfd(victim.pid)))
        victim.kill()
    error = the_error(job.errors())
    assert str(error) == "[R301] rank 2 (host elsewhere, pid 4711) ended while the ranks met"


def test_the_reason_of_a_rank_that_gives_up_reaches_all(
    new_job: Jobs, make_arena: Callable[..., int], make_pidfd: Callable[[int], int]
) -> None:
    job = new_job(3)
    job.start(0)
    job.start(1)
    connection, writer = enter(job, 2, (make_arena(), make_pidfd(os.getpid())))
    failure = {"text": "rank 2 has no memory left", "code": "R401", "rank": 2}
    connection.sendall(writer.seal(FrameKind.FAILURE, failure, 0))
    error = the_error(job.errors())
    assert (str(error), error.code, error.rank) == ("rank 2 has no memory left", "R401", 2)


def test_a_senseless_card_is_refused(any_job: Jobs) -> None:
    job = any_job(2)
    job.start(0)
    connection, proven = job.prove(1)
    writer = FrameWriter(proven.session_key, b"client to server")
    connection.sendall(writer.seal(FrameKind.CARD, {"rank": 1}, 0))
    error = the_error(job.errors())
    assert (error.code, error.rank) == ("R402", 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"rank": "1"},
        {"rank": True},
        {"host": []},
        {"facts": []},
        {"facts": {"a": 1}},
        {"address": 5},
        {"address": ["h"]},
        {"address": ["h", "p"]},
        {"unknown": 1},
    ],
)
def test_cards_of_the_wrong_types_are_refused(changed: dict[str, Any]) -> None:
    right = Card(1, 2, "h", 3, "b", "0.1.0", {"a": "b"}, ("h", 5))
    assert Card.from_json(json.loads(json.dumps(right.to_json()))) == right
    with pytest.raises(FrameError, match="card cannot be read"):
        Card.from_json({**right.to_json(), **changed})


def test_frames_of_a_proven_rank_are_still_checked(any_job: Jobs) -> None:
    job = any_job(2)
    job.start(0)
    connection, proven = job.prove(1)
    writer = FrameWriter(bytes(reversed(proven.session_key)), b"client to server")
    connection.sendall(writer.seal(FrameKind.CARD, card(job, 1), 0))
    assert "does not bear this connection's mark" in str(the_error(job.errors()))


def test_an_end_of_rank_zero_is_named_by_the_others(any_job: Jobs) -> None:
    job = any_job(2, deadline_seconds=60.0)
    with closing(job.point().listen()) as listener:
        job.start(1)
        listener.settimeout(20)
        connection, _ = listener.accept()
        me = Identity(_hash(job.key), 0, 2, Role.MEETING, "0.1.0", PROTOCOL)
        secret = job.secret or bytes(range(32))
        side = ServerHandshake(me, secret, hands_out=job.secret is None)
        with connection:
            while side.bytes_wanted:
                connection.sendall(side.feed(connection.recv(side.bytes_wanted)))
        error = the_error(job.errors())
    assert (str(error), error.rank) == ("[R301] rank 0 ended while the ranks met", 0)


def test_an_interrupted_rank_zero_leaves_nothing_open(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rueda._bootstrap.convener.Convener._introduce", interrupt)
    job = new_job(3)
    job.start_all()
    errors = job.errors()
    assert isinstance(errors.pop(0), KeyboardInterrupt)
    assert "ended while the ranks met" in str(the_error(errors))


def test_trouble_of_the_system_is_told_to_all(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", refuse)
    job = new_job(3)
    job.start_all()
    error = the_error(job.errors())
    assert f"rank 0 {WHO} cannot meet the others: [Errno 24]" in str(error)


def test_descriptors_that_a_rank_cannot_take_fail_the_meeting_for_all(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rueda._bootstrap.attendee.arena_problem", lambda *_: "is not to this rank's liking"
    )
    job = new_job(3)
    job.start_all()
    assert "is not to this rank's liking" in str(the_error(job.errors()))


def test_ranks_that_cannot_reach_each_other_say_which(
    new_job: Jobs, tcp_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rank 1 lets nobody in, as behind a firewall: rank 2 and with it all others must say so.
    monkeypatch.setattr("rueda._bootstrap.pairing.Pairing._let_in", lambda *_: None)
    job = new_job(3, **tcp_settings, deadline_seconds=1.5)
    job.start_all()
    error = the_error(job.errors())
    assert error.code == "R302"
    assert "not connected to all others" in str(error)
    assert "firewall" in str(error)
