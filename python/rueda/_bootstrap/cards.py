"""The cards that ranks hand in when they meet, and the judgement whether they belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rueda._bootstrap.frames import FrameError
from rueda._bootstrap.meeting import Peer

MAX_FACTS = 64
MAX_FACT_CHARACTERS = 512
_MAX_NAMED = 16


@dataclass(frozen=True)
class Card:
    """One rank's card.

    ``facts`` must be equal on all ranks; ``address`` is where it listens for its pairs, over TCP.
    """

    rank: int
    size: int
    host: str
    pid: int
    boot_id: str
    version: str
    facts: dict[str, str]
    address: tuple[str, int] | None = None

    @property
    def peer(self) -> Peer:
        """The rank as messages name it."""
        return Peer(self.rank, self.host, self.pid)

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON's types."""
        return asdict(self)

    @staticmethod
    def from_json(value: object) -> Card:
        """Read a card that a proven rank sent; raise FrameError if it is none."""
        try:
            if not isinstance(value, dict):
                raise TypeError("it is no object")
            card = Card(**value)
            _check_types(card)
        except TypeError as error:
            raise FrameError(f"its card cannot be read: {error}") from None
        address = tuple(card.address) if card.address is not None else None
        return Card(**{**value, "address": address})


def _check_types(card: Card) -> None:
    if not isinstance(card.facts, dict):
        raise TypeError("its facts are none")
    numbers = (card.rank, card.size, card.pid)
    texts = (card.host, card.boot_id, card.version, *card.facts, *card.facts.values())
    if not all(type(number) is int for number in numbers):
        raise TypeError("its numbers are none")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("its texts are none")
    if card.address is not None:
        host, port = card.address if len(card.address) == 2 else (None, None)
        if not (isinstance(host, str) and isinstance(port, int)):
            raise TypeError("its address is none")


def check_facts(facts: Mapping[str, str]) -> None:
    """Refuse facts that would not fit a card; raises ValueError."""
    if len(facts) > MAX_FACTS or any(
        len(name) + len(value) > MAX_FACT_CHARACTERS for name, value in facts.items()
    ):
        raise ValueError(
            f"at most {MAX_FACTS} facts of at most {MAX_FACT_CHARACTERS} characters are compared"
        )


def disagreement(cards: Sequence[Card], *, one_host: bool) -> str | None:
    """Say in what the ranks differ that must be equal, or None; the same text for all ranks."""
    compared: list[tuple[str, dict[int, str], str]] = [
        ("the number of ranks", {c.rank: str(c.size) for c in cards}, "start all ranks together"),
        ("the rueda version", {c.rank: c.version for c in cards}, "install the same for all"),
    ]
    if one_host:
        boots = {c.rank: c.boot_id for c in cards}
        compared.append(("the boot id of the host", boots, "set RUEDA_RENDEZVOUS"))
    for name in sorted({name for card in cards for name in card.facts}):
        values = {c.rank: c.facts.get(name, "(not set)") for c in cards}
        compared.append((name, values, f"set {name} the same for all ranks"))
    by_rank = {card.rank: card for card in cards}
    problems = [
        f"{name} differs: {_by_value(values, by_rank)}; {remedy}"
        for name, values, remedy in compared
        if len(set(values.values())) > 1
    ]
    return f"the ranks of this job disagree. {'. '.join(problems)}" if problems else None


def _by_value(values: dict[int, str], cards: dict[int, Card]) -> str:
    """List who has which value, the rarest first: among many ranks that is the odd one out."""
    groups: dict[str, list[int]] = {}
    for rank in sorted(values):
        groups.setdefault(values[rank], []).append(rank)
    rarest_first = sorted(groups.items(), key=lambda group: (len(group[1]), group[1]))
    return ", ".join(
        f"{value!r} on {_listed([cards[rank].peer for rank in ranks])}"
        for value, ranks in rarest_first
    )


def _listed(peers: Sequence[Peer]) -> str:
    more = len(peers) - _MAX_NAMED
    return " and ".join(str(peer) for peer in peers[:_MAX_NAMED]) + (
        f" and {more} more ranks" if more > 0 else ""
    )


def came_twice(first: Card, second: Card) -> str:
    """Say that two processes claim one rank."""
    return (
        f"rank {first.rank} came twice: {first.peer} and {second.peer}. Two jobs have the same id, "
        "or two processes the same rank: end one, or set another RUEDA_JOB_ID"
    )


def missing_ranks(size: int, present: Sequence[Peer], seconds: float, point: object) -> str:
    """Say who did not come, who did, and what to look at."""
    here = {peer.rank for peer in present}
    missing = [rank for rank in range(size) if rank not in here]
    return (
        f"{_ranks(missing)} of {size} did not come to {point} within {seconds:g} s; present: "
        f"{_listed(present)}. Look at the output of the missing for an error, and whether the "
        f"launcher really started {size} processes"
    )


def _ranks(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    text = ", ".join(str(rank) for rank in ranks[:_MAX_NAMED])
    more = len(ranks) - _MAX_NAMED
    return f"ranks {text}" + (f" and {more} more" if more > 0 else "")
