"""What a cache line's round trip between ranks says about where they run. Pure.

The borders were found on AMD Zen 4 (same core 29 ns, shared last-level cache 100 to 150 ns,
different ones 190 to 250 ns); the nanoseconds are always shown beside the word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

SAME_CORE = "same core"
SHARED_L3 = "shared L3"
DIFFERENT_L3 = "different L3"
MOVED = "moved"
SHARED_CORES = "shared cores"
ONE_RANK = "one rank"
UNCLEAR = "unclear"

_SAME_CORE_NS = 60.0
_SHARED_L3_NS = 170.0
# Longer than any transfer inside a machine: a rank was not running.
_UNCLEAR_NS = 1000.0


def placement_of(round_trip_ns: float) -> str:
    """Name the distance of two processors."""
    if round_trip_ns < _SAME_CORE_NS:
        return SAME_CORE
    if round_trip_ns < _SHARED_L3_NS:
        return SHARED_L3
    return DIFFERENT_L3 if round_trip_ns < _UNCLEAR_NS else UNCLEAR


def placement_of_sample(before_ns: float, after_ns: float) -> str:
    """Name where a sample's ranks ran, if that was one place."""
    before, after = placement_of(before_ns), placement_of(after_ns)
    return before if before == after else MOVED


def without_probe(ranks: int, cores: int) -> str:
    """Return the placement where no probe can tell, or nothing where one can."""
    if ranks == 1:
        return ONE_RANK
    return SHARED_CORES if ranks > cores else ""


def most_common(placements: Sequence[str]) -> tuple[str, int]:
    """Return the placement of most samples, and of how many."""
    [(placement, times)] = Counter(placements).most_common(1)
    return placement, times
