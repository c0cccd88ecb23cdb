"""What one rank brings to a meeting: its card, its secret, where to go and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rueda._bootstrap.cards import Card
from rueda._bootstrap.handshake_messages import Identity, Role
from rueda._bootstrap.meeting import Peer
from rueda._bootstrap.meeting_point import MeetingPoint


@dataclass(frozen=True)
class Setup:
    """One rank's part in one call of ``meet``.

    ``job`` is a SHA-256 of the job key, ``deadline`` the monotonic time at which to give up,
    ``epoch`` counts only where this is rank 0. ``watched`` are pidfds of ranks that are to come.
    They and the arena stay the caller's.
    """

    card: Card
    job: bytes
    secret: bytes | None = field(repr=False)
    point: MeetingPoint
    arena_fd: int
    arena_bytes: int
    epoch: int
    deadline: float
    deadline_seconds: float
    watched: Mapping[Peer, int] = field(default_factory=dict)

    @property
    def one_host(self) -> bool:
        """Whether the ranks meet over Unix sockets and so share descriptors."""
        return self.point.passes_descriptors

    def identity(self, role: Role) -> Identity:
        """Return what this rank says of itself in a handshake."""
        card = self.card
        return Identity(self.job, card.rank, card.size, role, card.version)
