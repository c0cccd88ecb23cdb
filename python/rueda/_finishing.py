"""What is left to do with the result of some handles when somebody takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# By handle, whose numbers never come again in a process. Touched with the GIL held, in single
# operations, so it needs no lock.
unfinished: dict[int, Callable[[Any], Any]] = {}


def finish_later(handle: int, finish: Callable[[Any], Any]) -> int:
    """Have ``finish`` make the result of a handle out of what its operation returns."""
    unfinished[handle] = finish
    return handle


def take(handle: int, wait: Callable[[int], Any]) -> Any:
    """Return the result of a handle: what ``wait`` returns, and whatever is left to do with it.

    Whoever is interrupted (Ctrl-C) may call it again.
    """
    finish = unfinished.get(handle)
    if finish is None:
        return wait(handle)
    try:
        value = wait(handle)
    except Exception:
        unfinished.pop(handle, None)
        raise
    if value is None:
        return value
    unfinished.pop(handle, None)
    return finish(value)
