"""What calls and a computing thread beside them cost each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def lost_to_calls(extra: Mapping[str, float]) -> float:
    """Return how much less is computed while calls are made, in percent."""
    return 100 * (1 - extra["beside_per_second"] / extra["alone_per_second"])


def lost_to_waking(extra: Mapping[str, float]) -> float:
    """Return how much less where the callers wake up as often and call nothing.

    The machine's part of the above.
    """
    return 100 * (1 - extra["waking_per_second"] / extra["alone_per_second"])
