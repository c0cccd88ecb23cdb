"""Medians, percentiles, bandwidths and ratios. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile by linear interpolation between the two nearest values.

    Definition 7 of Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, as NumPy's default.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("a percentile of no values")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    share = position - below
    return ordered[below] * (1 - share) + ordered[above] * share


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle ones."""
    return percentile(values, 50)


def bus_factor(collective: str, ranks: int) -> float:
    """Return busbw / algbw, as nccl-tests defines it (doc/PERFORMANCE.md there).

    What each rank has to send and receive at least, in units of the message, whatever the
    algorithm.
    """
    if collective == "allreduce":
        return 2 * (ranks - 1) / ranks
    if collective in ("allgather", "reducescatter"):
        return (ranks - 1) / ranks
    return 1.0 if ranks > 1 else 0.0


def paired_ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Return the ratios of samples that were taken in the same rounds."""
    return [above / below for above, below in zip(upper, lower, strict=True)]


def calls_for(calls: int, seconds_per_call: float, sample_seconds: float) -> tuple[int, bool]:
    """Return how many calls the next sample needs, and whether the estimate can be relied on.

    Args:
        calls: Calls of the last sample.
        seconds_per_call: What one took, on the slowest rank.
        sample_seconds: How long a sample should take.
    """
    needed = sample_seconds / max(seconds_per_call, 1e-9)
    grown = min(needed, calls * 16.0)
    # The first calls of a short loop are slow; what took a quarter of the time is believed.
    settled = calls >= MOST_CALLS or calls * 4 >= needed
    return max(1, min(MOST_CALLS, math.ceil(grown))), settled


def calls_after(calls: int, seconds_per_call: float, sample_seconds: float) -> int:
    """Return how many calls the sample after this one has: more, if it was over in half the time.

    What was found out beforehand may have been found out while something else was running.
    """
    if 2 * calls * seconds_per_call >= sample_seconds:
        return calls
    return calls_for(calls, seconds_per_call, sample_seconds)[0]


def products_for(seconds: float, seconds_per_product: float) -> int:
    """Return how many products of matrices take so long, at least one."""
    return max(1, math.ceil(seconds / max(seconds_per_product, 1e-9)))


def block_of(calls: int, seconds_per_call: float) -> int:
    """Return how many calls are timed together.

    As many as take two microseconds, so that reading the clock costs about a hundredth, and so many
    that a sample has a thousand blocks at most.
    """
    return max(1, math.ceil(2e-6 / max(seconds_per_call, 1e-9)), math.ceil(calls / 1000))


MOST_CALLS = 100_000
