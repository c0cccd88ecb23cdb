"""How the ranks of a job find and trust each other: ``meet``, which all ranks call together.

On one host they meet at an abstract Unix socket of rank 0 and leave with memory, process
descriptors and socket pairs of all others; afterwards nothing listens. With RUEDA_RENDEZVOUS they
meet over TCP and leave with sockets alone. The protocol is specified in docs/wire-format.md.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from rueda._bootstrap.attendee import Attendee
from rueda._bootstrap.cards import Card, check_facts
from rueda._bootstrap.convener import Convener
from rueda._bootstrap.fd_passing import DescriptorBag, arena_problem
from rueda._bootstrap.job_key import proxy_key
from rueda._bootstrap.loop import Loop
from rueda._bootstrap.meeting import Meeting, Peer
from rueda._bootstrap.meeting_point import (
    RENDEZVOUS_VARIABLE,
    MeetingPoint,
    UnixPoint,
    parse_rendezvous,
)
from rueda._bootstrap.outcome import Outcome
from rueda._bootstrap.setup import Setup
from rueda._world import World

__all__ = ["Meeting", "Peer", "meet"]

_log = logging.getLogger("rueda.meeting")


def meet(
    world: World,
    *,
    arena_fd: int,
    facts: Mapping[str, str],
    version: str,
    secret: bytes | None,
    rendezvous: str | None,
    epoch: int,
    deadline_seconds: float,
    watched: Mapping[Peer, int] | None = None,
) -> Meeting:
    """Meet the other ranks of the job.

    Blocks until all ranks have come and have everything of each other, or the meeting failed for
    all. Any thread may call it, several at once for different ranks; it keeps no state between
    calls.

    Args:
        world: This rank's place.
        arena_fd: Its arena, a memfd sealed against shrinking and growing, of the same size on all
            ranks. It stays the caller's; the meeting holds a duplicate.
        facts: Names and small values that must be equal on all ranks.
        version: The version of rueda, which must be too.
        secret: The job's 32-byte secret (``SecretKeeper``), or None under a foreign launcher on
            one host: rank 0 then makes one and hands it to processes of the same user.
        rendezvous: ``host:port`` of rank 0 to meet over TCP, or None for one host.
        epoch: This process's count of meetings; rank 0's becomes the epoch of all.
        deadline_seconds: How long to wait for the others.
        watched: Pidfds of ranks that are to come, on all ranks alike: the meeting fails at once
            when one of them ends. The descriptors stay the caller's.

    Returns:
        The meeting; the caller closes it.

    Raises:
        ValueError: This rank's own settings cannot work; nothing was begun.
        RuedaError: The meeting failed: ranks are missing, disagree, died, are of another version or
            job. All ranks that came raise the same text.
    """
    check_facts(facts)
    _check_arena(arena_fd)
    with DescriptorBag() as bag:
        if world.size == 1:
            outcome = _alone(epoch, secret)
        else:
            point, job = _point(world, rendezvous, secret)
            now = time.monotonic()
            setup = Setup(
                card=_card(world, facts, version),
                job=job,
                secret=secret,
                point=point,
                arena_fd=arena_fd,
                arena_bytes=os.fstat(arena_fd).st_size,
                epoch=epoch,
                deadline=now + deadline_seconds,
                deadline_seconds=deadline_seconds,
                watched=dict(watched or {}),
            )
            _log.debug("rueda rank %d of %d meets at %s", world.rank, world.size, point)
            with Loop() as loop:
                role = Convener if world.rank == 0 else Attendee
                outcome = role(setup, loop, bag).run()
        return _meeting(world, arena_fd, outcome, bag)


def _check_arena(arena_fd: int) -> None:
    problem = arena_problem(arena_fd, os.fstat(arena_fd).st_size)
    if problem is not None:
        raise ValueError(f"arena_fd={arena_fd} {problem}")


def _point(
    world: World, rendezvous: str | None, secret: bytes | None
) -> tuple[MeetingPoint, bytes]:
    """Return where to meet and the hash of the job key, or refuse settings that cannot work."""
    several_hosts = world.cross_size > 1
    if several_hosts and rendezvous is None:
        raise ValueError(
            f"the {world.size} ranks are on {world.cross_size} hosts, and nothing says where to "
            f"meet: set {RENDEZVOUS_VARIABLE}=host:port on all ranks to an address of rank 0's "
            "host and a free port of it"
        )
    if rendezvous is not None and secret is None:
        raise ValueError(
            f"{RENDEZVOUS_VARIABLE} leads over a network, where ranks must prove a secret: set "
            "RUEDA_SECRET_FILE to a file with mode 0600 and the same 32 random bytes on all hosts "
            "(umask 077; head -c 32 /dev/urandom > FILE)"
        )
    if rendezvous is not None:
        # The address itself tells jobs apart where the launcher does not.
        key = world.job_key or f"rendezvous:{rendezvous}"
        return parse_rendezvous(rendezvous, several_hosts=several_hosts), _hash(key)
    key = world.job_key or proxy_key(os.getpid()) or ""
    if not key:
        raise ValueError(
            f"{world.launcher} gives no name to the job, so its {world.size} ranks could meet "
            "those of another: set RUEDA_JOB_ID to the same text on all ranks, a new one for each "
            "job"
        )
    return UnixPoint(key), _hash(key)


def _hash(job_key: str) -> bytes:
    return hashlib.sha256(job_key.encode()).digest()


def _card(world: World, facts: Mapping[str, str], version: str) -> Card:
    return Card(
        rank=world.rank,
        size=world.size,
        host=socket.gethostname(),
        pid=os.getpid(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        version=version,
        facts=dict(facts),
    )


def _alone(epoch: int, secret: bytes | None) -> Outcome:
    me = Peer(0, socket.gethostname(), os.getpid())
    return Outcome(epoch, (me,), {}, {}, {}, {}, secret or secrets.token_bytes(32))


def _meeting(world: World, arena_fd: int, outcome: Outcome, bag: DescriptorBag) -> Meeting:
    arenas = outcome.arenas | {world.rank: bag.adopt(os.dup(arena_fd))}
    pidfds = {rank: fd for rank, fd in outcome.pidfds.items() if rank != world.rank}

    def by_rank(descriptors: dict[int, int]) -> list[int]:
        return [
            bag.release(descriptors[rank]) if rank in descriptors else -1
            for rank in range(world.size)
        ]

    return Meeting(
        epoch=outcome.epoch,
        roster=outcome.roster,
        arena_fds=by_rank(arenas),
        pidfds=by_rank(pidfds),
        stream_fds=by_rank(outcome.streams),
        control_fds=by_rank(outcome.controls),
        secret=outcome.secret,
    )
