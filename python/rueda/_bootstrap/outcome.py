"""How a meeting ends: what each rank takes away, or the failure that all are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rueda._bootstrap.errors import SYSTEM, meeting_error
from rueda._bootstrap.frames import FrameError
from rueda._bootstrap.meeting import Peer
from rueda.exceptions import RuedaError

_MAX_TEXT = 1 << 16


@dataclass(frozen=True)
class Outcome:
    """What one rank has at the end; the descriptors are still the bag's."""

    epoch: int
    roster: tuple[Peer, ...]
    arenas: dict[int, int]
    pidfds: dict[int, int]
    streams: dict[int, int]
    controls: dict[int, int]
    secret: bytes = field(repr=False)


def system_error(peer: Peer, error: OSError) -> RuedaError:
    """Put what the operating system refused this rank into words for all ranks."""
    return meeting_error(f"{peer} cannot meet the others: {error}", SYSTEM, peer.rank)


def failure_payload(error: RuedaError) -> dict[str, Any]:
    """Return the payload of a FAILURE frame."""
    return {"text": str(error)[:_MAX_TEXT], "code": error.code, "rank": error.rank}


def told_failure(payload: Mapping[str, Any]) -> RuedaError:
    """Read a FAILURE frame; raise FrameError if it is none."""
    text, code, rank = (payload.get(name) for name in ("text", "code", "rank"))
    if not (isinstance(text, str) and isinstance(code, str)):
        raise FrameError("its failure has no text")
    if rank is not None and not isinstance(rank, int):
        raise FrameError("its failure blames no rank")
    return RuedaError(text[:_MAX_TEXT], code, rank)
