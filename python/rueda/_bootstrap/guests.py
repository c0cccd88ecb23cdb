"""Who has come to rank 0's meeting: the proven connections, their cards and descriptors."""

from __future__ import annotations

from dataclasses import dataclass

from rueda._bootstrap.cards import Card
from rueda._bootstrap.link import Link


@dataclass
class Guest:
    """A proven rank; the rest is there once it handed in its card."""

    rank: int
    size: int
    card: Card | None = None
    arena: int = -1
    pidfd: int = -1
    ready: bool = False

    def __str__(self) -> str:
        return f"rank {self.rank}" if self.card is None else str(self.card.peer)


class Guests:
    """The guests by their connections; the descriptors belong to the meeting's bag.

    Args:
        host: Rank 0's own card.
    """

    def __init__(self, host: Card) -> None:
        self._host = host
        self.by_link: dict[Link, Guest] = {}

    def cards(self) -> list[Card]:
        """Return the cards so far in rank order, rank 0's included."""
        cards = {guest.card.rank: guest.card for guest in self.by_link.values() if guest.card}
        cards[0] = self._host
        return [cards[rank] for rank in sorted(cards)]

    def all_came(self) -> bool:
        """Whether as many ranks handed in their cards as rank 0 was told there are."""
        return len(self.cards()) >= self._host.size

    def all_ready(self) -> bool:
        """Whether all have everything of each other."""
        return all(guest.ready for guest in self.by_link.values())

    def arenas(self) -> dict[int, int]:
        """Return the others' arenas by rank."""
        return {guest.rank: guest.arena for guest in self.by_link.values()}

    def pidfds(self) -> dict[int, int]:
        """Return the others' pidfds by rank."""
        return {guest.rank: guest.pidfd for guest in self.by_link.values()}
