"""Ranks that belong together meet, in any order, and leave with all they need of each other."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rueda._bootstrap import fd_passing, link
from rueda._rendezvous import Meeting, meet
from rueda._world import World

if TYPE_CHECKING:
    Jobs = Callable[..., Any]


def say_and_hear(meetings: list[Meeting]) -> None:
    """Send each rank's name through each stream and read it at the other end."""
    for low, high in itertools.permutations(range(len(meetings)), 2):
        here = socket.socket(fileno=os.dup(meetings[low].stream_fds[high]))
        there = socket.socket(fileno=os.dup(meetings[high].stream_fds[low]))
        with here, there:
            here.sendall(b"%d to %d" % (low, high))
            there.settimeout(5)
            assert there.recv(64) == b"%d to %d" % (low, high)
            there.setblocking(False)


def listeners() -> list[str]:
    """Return this process's listening sockets."""
    own = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            own.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    found = []
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "00010000" and fields[6] in own:  # __SO_ACCEPTCON
            found.append(line)
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                found.append(line)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_all_ranks_learn_the_same(any_job: Jobs, size: int) -> None:
    job = any_job(size)
    job.start_all()
    meetings = job.meetings()
    assert {meeting.epoch for meeting in meetings} == {7}
    assert len({meeting.roster for meeting in meetings}) == 1
    assert len({meeting.secret for meeting in meetings}) == 1
    assert [peer.rank for peer in meetings[0].roster] == list(range(size))
    assert {(peer.host, peer.pid) for peer in meetings[0].roster} == {
        (socket.gethostname(), os.getpid())
    }
    assert len(meetings[0].secret) == 32


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_pair_has_a_stream(any_job: Jobs, size: int) -> None:
    job = any_job(size)
    job.start_all()
    say_and_hear(job.meetings())


def test_streams_never_block(any_job: Jobs) -> None:
    job = any_job(3)
    job.start_all()
    for meeting in job.meetings():
        assert not any(os.get_blocking(fd) for fd in meeting.stream_fds if fd >= 0)


def test_tcp_streams_send_at_once(new_job: Jobs, tcp_settings: dict[str, Any]) -> None:
    job = new_job(3, **tcp_settings)
    job.start_all()
    for meeting in job.meetings():
        for descriptor in meeting.stream_fds:
            if descriptor >= 0:
                with socket.socket(fileno=os.dup(descriptor)) as stream:
                    assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_ranks_may_come_in_any_order(new_job: Jobs, order: tuple[int, ...]) -> None:
    job = new_job(3)
    for rank in order[:-1]:
        job.start(rank)
    # Nobody leaves before the last has come.
    job.threads[0].join(0.05)
    assert not job.results
    job.start(order[-1])
    say_and_hear(job.meetings())


@pytest.mark.parametrize("seed", range(5))
def test_four_ranks_may_come_in_any_order(any_job: Jobs, seed: int) -> None:
    job = any_job(4)
    order = list(range(4))
    random.Random(seed).shuffle(order)
    for rank in order:
        job.start(rank)
    say_and_hear(job.meetings())


def test_more_ranks_than_descriptors_fit_in_one_message(new_job: Jobs) -> None:
    job = new_job(13)
    job.start_all()
    meetings = job.meetings()
    assert all(fd >= 0 for m in meetings for fd in m.arena_fds)
    assert len({fd for m in meetings for fd in m.stream_fds if fd >= 0}) == 13 * 12


def test_descriptors_in_flight_beyond_the_limit_are_sent_later(
    new_job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def send_some(connection: socket.socket, data: bytes, descriptors: Sequence[int]) -> int:
        # Root is not held to the limit, so the kernel's refusal is played here.
        if len(descriptors) == 3 and len(refused) < 5:
            refused.append(descriptors)
            raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
        return fd_passing.send_some(connection, data, descriptors)

    monkeypatch.setattr(link, "send_some", send_some)
    job = new_job(3)
    job.start_all()
    say_and_hear(job.meetings())
    assert len(refused) == 5


def test_each_rank_holds_each_arena_and_process(new_job: Jobs) -> None:
    job = new_job(3)
    job.start_all()
    for own, meeting in enumerate(job.meetings()):
        for rank, descriptor in enumerate(meeting.arena_fds):
            name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            assert f"arena-of-{rank}" in name
        for rank, descriptor in enumerate(meeting.pidfds):
            assert (descriptor == -1) == (rank == own)
            if rank != own:
                assert f"Pid:\t{os.getpid()}" in Path(f"/proc/self/fdinfo/{descriptor}").read_text()


def test_over_tcp_only_streams_are_shared(new_job: Jobs, tcp_settings: dict[str, Any]) -> None:
    job = new_job(2, **tcp_settings)
    job.start_all()
    first, second = job.meetings()
    assert first.arena_fds[0] >= 0
    assert (first.arena_fds[1], first.pidfds) == (-1, [-1, -1])
    assert (second.arena_fds[0], second.pidfds) == (-1, [-1, -1])


def test_ipv6_addresses_work(new_job: Jobs, tcp_settings: dict[str, Any]) -> None:
    port = tcp_settings["rendezvous"].rpartition(":")[2]
    job = new_job(3, **{**tcp_settings, "rendezvous": f"[::1]:{port}"})
    job.start_all()
    say_and_hear(job.meetings())


def test_nothing_is_inherited_by_programs_started_later(any_job: Jobs) -> None:
    job = any_job(3)
    job.start_all()
    for meeting in job.meetings():
        for descriptor in (*meeting.arena_fds, *meeting.pidfds, *meeting.stream_fds):
            if descriptor >= 0:
                assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_nothing_listens_after_the_meeting(any_job: Jobs) -> None:
    before = listeners()
    job = any_job(3)
    job.start_all()
    job.meetings()
    assert listeners() == before


def test_the_same_ranks_may_meet_again_at_once(any_job: Jobs) -> None:
    job = any_job(3)
    for round_number in range(5):
        for rank in range(3):
            job.start(rank, slot=round_number * 3 + rank, epoch=round_number)
        # The next round starts while others may still leave this one.
        job.threads[-1].join(20)
    outcomes = job.outcomes()
    assert [outcomes[n].epoch for n in range(15)] == [n // 3 for n in range(15)]


def test_two_jobs_meet_side_by_side(new_job: Jobs) -> None:
    jobs = [new_job(2), new_job(2)]
    for rank in range(2):
        for job in jobs:
            job.start(rank)
    assert jobs[0].meetings()[0].secret != jobs[1].meetings()[0].secret


def test_rank_zero_gives_the_epoch(new_job: Jobs) -> None:
    job = new_job(2)
    job.start(0, epoch=3)
    job.start(1, epoch=9)
    assert {meeting.epoch for meeting in job.meetings()} == {3}


def test_closing_twice_closes_once(new_job: Jobs) -> None:
    job = new_job(2)
    job.start_all()
    meeting = job.meetings()[0]
    freed = meeting.stream_fds[1]
    meeting.close()
    reused = os.dup(0)
    try:
        meeting.close()
        os.fstat(reused)
    finally:
        os.close(reused)
    assert freed >= 0
    assert {*meeting.arena_fds, *meeting.pidfds, *meeting.stream_fds} == {-1}


def test_alone_needs_no_socket(
    make_arena: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a rank alone must not open a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    arena = make_arena()
    meeting = meet(
        World(0, 1, 0, 1, 0, 1, "python", None),
        arena_fd=arena,
        facts={},
        version="0.1.0",
        secret=None,
        rendezvous=None,
        epoch=1,
        deadline_seconds=1,
    )
    assert os.path.sameopenfile(meeting.arena_fds[0], arena)
    assert (meeting.pidfds, meeting.stream_fds, len(meeting.secret)) == ([-1], [-1], 32)
    meeting.close()


# What cannot work is refused before anything is begun.


def call(arena: int, *, key: str | None = "k", cross_size: int = 1, **changed: Any) -> Meeting:
    settings: dict[str, Any] = {
        "arena_fd": arena,
        "facts": {},
        "version": "0.1.0",
        "secret": None,
        "rendezvous": None,
        "epoch": 0,
        "deadline_seconds": 1,
        **changed,
    }
    return meet(World(0, 2, 0, 2 // cross_size, 0, cross_size, "Hydra", key), **settings)


def test_several_hosts_need_an_address_and_a_secret(make_arena: Callable[..., int]) -> None:
    arena = make_arena()
    with pytest.raises(ValueError, match="set RUEDA_RENDEZVOUS=host:port on all ranks"):
        call(arena, cross_size=2)
    with pytest.raises(ValueError, match="set RUEDA_SECRET_FILE to a file with mode 0600"):
        call(arena, cross_size=2, rendezvous="node1:29400")
    with pytest.raises(ValueError, match="each host has for itself"):
        call(arena, cross_size=2, rendezvous="127.0.0.1:29400", secret=bytes(32))


def test_a_job_without_a_name_is_not_guessed(make_arena: Callable[..., int]) -> None:
    with pytest.raises(ValueError, match=r"Hydra gives no name .* set RUEDA_JOB_ID"):
        call(make_arena(), key=None)


def test_own_arena_and_facts_are_checked(make_arena: Callable[..., int]) -> None:
    with pytest.raises(ValueError, match=r"arena_fd=.* seals"):
        call(make_arena(sealed=False))
    with pytest.raises(ValueError, match="at most 64 facts"):
        call(make_arena(), facts={str(n): "" for n in range(65)})
    with pytest.raises(ValueError, match="at most 512 characters"):
        call(make_arena(), facts={"a": "x" * 512})
