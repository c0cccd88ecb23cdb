"""A meeting of the ranks: what each brings, and what each takes away."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """A rank as messages name it."""

    rank: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"


@dataclass(frozen=True)
class Meeting:
    """The outcome of ``meet`` for one rank. Owns every descriptor in it; any thread may close it.

    Attributes:
        epoch: The number rank 0 gave this meeting; the same on all ranks.
        roster: The ranks in order.
        arena_fds: By rank, each rank's arena memfd; at the own index a duplicate of the own one.
            -1 for the others where the ranks met over TCP.
        pidfds: By rank, a pidfd of each process; -1 at the own index, and over TCP.
        stream_fds: By rank, a connected non-blocking stream socket to it; -1 at the own index.
        control_fds: Over TCP, on rank 0 by rank and elsewhere at index 0: the connection of the
            meeting itself, proven and in order; -1 elsewhere and on one host.
        secret: The job's secret; never shown.
    """

    epoch: int
    roster: tuple[Peer, ...]
    arena_fds: list[int]
    pidfds: list[int]
    stream_fds: list[int]
    control_fds: list[int]
    secret: bytes = field(repr=False)

    def close(self) -> None:
        """Close all descriptors and put -1 in their place; calling it again does nothing."""
        for descriptors in (self.arena_fds, self.pidfds, self.stream_fds, self.control_fds):
            for index, descriptor in enumerate(descriptors):
                # First the mark, then the close: a second caller never closes a number twice.
                descriptors[index] = -1
                if descriptor >= 0:
                    os.close(descriptor)
