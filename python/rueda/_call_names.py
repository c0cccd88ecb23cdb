"""Names of calls: of unnamed ones, and of what backward passes of named ones send."""

from __future__ import annotations

import threading
from collections import Counter

_lock = threading.Lock()
_calls: Counter[tuple[int, str]] = Counter()  # by process set; guarded by _lock
_joins: Counter[int] = Counter()  # by process set; guarded by _lock


def gradient_name(name: str | None) -> str | None:
    """Return the name under which the backward pass of a named operation communicates."""
    return None if name is None else f"{name}.gradient"


def next_call(operation: str, process_set_id: int) -> str:
    """Return the name of an unnamed call that takes several of the engine's operations.

    Equal on all ranks of the process set that make such calls in one order. The engine names calls
    that are one operation by itself.
    """
    with _lock:
        joins = _joins[0] + (_joins[process_set_id] if process_set_id else 0)
        _calls[process_set_id, operation] += 1
        return f"{operation}.noname.{joins}.{_calls[process_set_id, operation]}"


def joins(process_set_id: int) -> int:
    """Return how many joins this rank has seen the end of that its ranks took part in."""
    with _lock:
        return _joins[0] + (_joins[process_set_id] if process_set_id else 0)


def forget_calls(process_set_id: int) -> None:
    """Count unnamed calls anew after a join: a rank that joined early made fewer of them."""
    with _lock:
        _joins[process_set_id] += 1
        for key in list(_calls):
            if process_set_id in (0, key[0]):
                del _calls[key]


def forget_set(process_set_id: int) -> None:
    """Forget a process set that was removed; its number never comes again."""
    with _lock:
        _joins.pop(process_set_id, None)
        for key in list(_calls):
            if key[0] == process_set_id:
                del _calls[key]


def clear() -> None:
    """Forget all counts, at the end of a job."""
    with _lock:
        _calls.clear()
        _joins.clear()
