"""Which processor each rank gets while a contender with one thread a rank is measured.

Such ranks are pinned, as mpirun pins its own: otherwise two of them may share one processor while
another is idle. What has helper threads (engines, Gloo) is left to the kernel: pinned together, a
rank's threads would wait for each other's time slices.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_SYSTEM = Path("/sys/devices/system/cpu")


def spread(allowed: Sequence[int], siblings: Mapping[int, Sequence[int]]) -> list[int]:
    """Order processors so that the first ones are on cores of their own. Pure.

    Args:
        allowed: Those that may be used.
        siblings: For each, all that share its core.
    """
    first: list[int] = []
    rest: list[int] = []
    taken: set[int] = set()
    for processor in sorted(allowed):
        (rest if processor in taken else first).append(processor)
        taken |= {processor, *siblings.get(processor, ())}
    return first + rest


def processor_of(rank: int, ranks: int) -> int | None:
    """Return a rank's processor, or None where there are fewer than ranks."""
    allowed = sorted(os.sched_getaffinity(0))
    if ranks > len(allowed):
        return None
    return spread(allowed, {one: _siblings(one) for one in allowed})[rank]


@contextlib.contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Keep the calling thread, and no other, on a processor; None leaves it as it is."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _siblings(processor: int) -> list[int]:
    """Read a list such as ``0,64`` or ``2-3``; nothing where the kernel tells none."""
    try:
        text = (_SYSTEM / f"cpu{processor}/topology/thread_siblings_list").read_text()
    except OSError:
        return []
    found: list[int] = []
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found
