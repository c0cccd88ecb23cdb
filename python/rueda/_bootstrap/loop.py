"""A small event loop: sockets and timers, every wait bounded by the caller (I6)."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Loop:
    """Waits for descriptors and timers and calls their handlers, in the caller's thread.

    Owns the selector, not what it watches. Exceptions of handlers leave ``turn``.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @staticmethod
    def now() -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def watch(self, source: int, events: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever the descriptor is ready; replaces an earlier watch."""
        if source in self._selector.get_map():
            self._selector.modify(source, events, handler)
        else:
            self._selector.register(source, events, handler)

    def forget(self, source: int) -> None:
        """Stop watching; do nothing if it is not watched. Call it before closing."""
        if source in self._selector.get_map():
            self._selector.unregister(source)

    def call_at(self, when: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once at the monotonic time ``when``; it cannot be taken back."""
        heapq.heappush(self._timers, (when, next(self._order), handler))

    def turn(self, until: float) -> None:
        """Handle what is due, waiting for it no longer than the monotonic time ``until``."""
        if self._timers:
            until = min(until, self._timers[0][0])
        ready = self._selector.select(max(0.0, until - self.now()))
        for key, _ in ready:
            # An earlier handler may have closed this one, and its number may be in use again.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        while self._timers and self._timers[0][0] <= self.now():
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """Close the selector and drop the timers."""
        self._selector.close()
        self._timers.clear()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
