"""Waiting in a loop until something is done, it is too late, or a failure is to be raised."""

from __future__ import annotations

from collections.abc import Callable

from rueda._bootstrap.loop import Loop
from rueda.exceptions import RuedaError


class Waiting:
    """One rank's wait in a meeting; the loop's thread only.

    Args:
        loop: What is turned while waiting.
        deadline: The monotonic time at which it is too late; may be moved.
    """

    def __init__(self, loop: Loop, deadline: float) -> None:
        self.deadline = deadline
        self._loop = loop
        self._failure: Callable[[], RuedaError] | None = None
        self._raise_at = float("inf")
        self._over = False

    def fail(self, failure: Callable[[], RuedaError], linger_seconds: float) -> None:
        """Have ``until`` raise this after a while, unless another failure was first.

        The failure is put into words when it is raised: what happens until then may belong in it.
        """
        if self._failure is None and not self._over:
            self._failure = failure
            self._raise_at = self._loop.now() + linger_seconds

    def until(self, done: Callable[[], bool], late: Callable[[], RuedaError]) -> None:
        """Turn the loop until ``done``; raise the failure there is, or ``late`` at the deadline."""
        while not done() and self._loop.now() < self._raise_at:
            if self._loop.now() >= self.deadline:
                self.fail(late, 0.0)
                break
            self._loop.turn(min(self.deadline, self._raise_at))
        if self._failure is not None:
            raise self._failure()

    def settle(self, done: Callable[[], bool], seconds: float) -> None:
        """Turn the loop until ``done`` or for so long; failures do not count any more."""
        self._over = True
        until = self._loop.now() + seconds
        while not done() and self._loop.now() < until:
            self._loop.turn(until)
