"""Restart: the same ranks leave their job and begin another with the same process sets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rueda import _context
from rueda._bootstrap.meeting import Peer
from rueda._environment import environment
from rueda.process_sets import ProcessSet, register


class Restart:
    """Begins jobs anew; made while the first one runs, by all ranks at the same place.

    Restores the process sets that are registered when it is made. Those added since are gone
    after a restart, so that who begins anew from here finds what it found the first time.

    Args:
        peers: A pidfd of each other rank, as ``watched_peers`` gives them.
    """

    def __init__(self, peers: dict[Peer, int]) -> None:
        sets = _context.job().process_sets
        self._sets = [list(sets[number]) for number in sorted(sets)]
        self._peers = peers

    def __call__(self, reason: str) -> None:
        """Leave, meet all ranks again, and register the sets; all ranks call it.

        If that fails, this rank is in the job that has ended: ``rank()`` and its like still
        answer.

        Args:
            reason: What ranks hear that still count on this one.

        Raises:
            HorovodInternalError: A rank has ended or does not come in time.
        """
        with _context._process.lock:
            before = _context.job()
            _context.leave(reason)
            try:
                job = _context._start(
                    before.world,
                    before.config,
                    environment(),
                    "dynamic" if before.dynamic_process_sets else None,
                    self._peers,
                )
                _context._process.enter(job)
                self._register(job)
            except BaseException:
                _context.leave("it could not begin anew")
                _context._process.enter(before)
                raise

    def leave(self, reason: str) -> None:
        """Leave for good; ``rank()`` and its like still answer.

        Args:
            reason: What ranks hear that still count on this one.
        """
        with _context._process.lock:
            before = _context.job()
            _context.leave(reason)
            _context._process.enter(before)

    def _register(self, job: _context.Job) -> None:
        everyone, *others = self._sets
        for same in others:
            register(job, same[0])
        for same in [everyone, *others]:
            number = same[0].process_set_id
            assert number is not None
            for twin in same[1:]:
                twin.process_set_id = number
            job.process_sets[number] = list[ProcessSet](same)


@contextmanager
def watched_peers() -> Iterator[dict[Peer, int]]:
    """Yield a pidfd of each other rank of this host's job; call it while they live.

    Over a network there is none: who does not come is missed when the time is over.
    """
    job = _context.job()
    with contextlib.ExitStack() as stack:
        peers: dict[Peer, int] = {}
        for peer in job.roster if not job.config.rendezvous else ():
            # A process of another PID namespace cannot be watched, and is waited for.
            with contextlib.suppress(ProcessLookupError):
                if peer.rank != job.world.rank:
                    peers[peer] = os.pidfd_open(peer.pid)
                    stack.callback(os.close, peers[peer])
        yield peers
