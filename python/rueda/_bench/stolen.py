"""Stolen time: how long a host ran others on this machine's processors while it had work for them.

A virtual machine's kernel counts it for each processor (``steal`` in proc(5), /proc/stat), in
hundredths of a second. A machine of its own has none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

# Of the words of a line of /proc/stat that begins with ``cpu``.
_STOLEN = 8


def stolen_ticks(stat: str, processors: Collection[int]) -> int:
    """Return what these processors lack since the machine began, by the text of /proc/stat. Pure.

    Zero where the kernel does not count it.
    """
    found = 0
    for line in stat.splitlines():
        words = line.split()
        number = words[0].removeprefix("cpu") if words and words[0].startswith("cpu") else ""
        if number.isdigit() and int(number) in processors and len(words) > _STOLEN:
            found += int(words[_STOLEN])
    return found


class StolenTime:
    """Adds up time between entering and leaving, and what was stolen meanwhile; one thread's."""

    def __init__(self) -> None:
        self._processors = os.sched_getaffinity(0)
        self._lasted_s, self._stolen_s = 0.0, 0.0

    def __enter__(self) -> StolenTime:
        self._lasted_s -= time.perf_counter()
        self._stolen_s -= self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self._lasted_s += time.perf_counter()
        self._stolen_s += self._now()

    @property
    def percent(self) -> float:
        """Of what the processors that this process may use had, how much was stolen."""
        had = self._lasted_s * len(self._processors)
        return 100 * self._stolen_s / had if had > 0 else 0.0

    def _now(self) -> float:
        ticks = stolen_ticks(Path("/proc/stat").read_text(), self._processors)
        return ticks / os.sysconf("SC_CLK_TCK")
