"""How the values of single options are read, each with its range."""

from __future__ import annotations

import math
from collections.abc import Callable

from rueda.launch.usage import UsageError

# More than any host has; a mistyped number must not become a fork bomb.
MAX_PROCESSES = 1024
MAX_GRACE_S = 7 * 24 * 3600.0


def _whole(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def processes(name: str, text: str) -> int:
    """Read a number of processes.

    Raises:
        UsageError: It is no whole number from 1 to ``MAX_PROCESSES``.
    """
    number = _whole(text)
    if number is None:
        raise UsageError(f"{name} needs a number of processes, found {text!r}")
    if not 1 <= number <= MAX_PROCESSES:
        raise UsageError(f"{name} must be from 1 to {MAX_PROCESSES}, not {number}")
    return number


def seconds(name: str, text: str | None, default: float) -> float:
    """Read a time in seconds; fractions are allowed.

    Raises:
        UsageError: It is no number from 0 to a week.
    """
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_GRACE_S:
        raise UsageError(f"{name} needs seconds from 0 to {MAX_GRACE_S:.0f}, found {text!r}")
    return number


def _local_rank(name: str, text: str, size: int) -> int:
    number = _whole(text)
    if number is None or not 0 <= number < size:
        raise UsageError(f"{name} names local rank {text!r}; there are 0 to {size - 1}")
    return number


def ranks(name: str, text: str | None, size: int) -> tuple[bool, ...]:
    """Read a list of local ranks, ``0,2``, as one flag a rank; None stands for all.

    Raises:
        UsageError: A rank is no number or out of range.
    """
    if text is None:
        return (True,) * size
    chosen = {_local_rank(name, word, size) for word in text.split(",")}
    return tuple(rank in chosen for rank in range(size))


def _std(name: str, text: str) -> int:
    if text not in ("0", "1", "2", "3"):
        raise UsageError(f"{name} takes 0 none, 1 stdout, 2 stderr, 3 both; found {text!r}")
    return int(text)


def streams(name: str, text: str, size: int) -> tuple[int, ...]:
    """Read torchrun's choice of output streams: ``3`` for all ranks, or ``0:1,1:2``.

    Returns:
        For each local rank 0 none, 1 stdout, 2 stderr or 3 both; ranks not named get 0.

    Raises:
        UsageError: A stream or a rank is out of range, or a rank is named twice.
    """
    if ":" not in text:
        return (_std(name, text),) * size
    chosen: dict[int, int] = {}
    for word in text.split(","):
        rank_text, _, std_text = word.partition(":")
        rank = _local_rank(name, rank_text, size)
        if rank in chosen:
            raise UsageError(f"{name} names local rank {rank} twice")
        chosen[rank] = _std(name, std_text)
    return tuple(chosen.get(rank, 0) for rank in range(size))


def slots(text: str, is_this_host: Callable[[str], bool]) -> int:
    """Read Horovod's host list, ``localhost:2``, and return the number of slots.

    Raises:
        UsageError: It names another machine, several entries, or a bad number of slots.
    """
    entries = [_host_and_slots(entry) for entry in text.split(",")]
    for host, _ in entries:
        if not is_this_host(host):
            raise UsageError(
                f"-H names {host!r}, which is not this machine: this ruedarun runs localhost "
                "only; use torchrun or mpirun for several hosts"
            )
    if len(entries) > 1:
        raise UsageError(f"-H names this machine {len(entries)} times; give it once, with slots")
    return entries[0][1]


def _host_and_slots(entry: str) -> tuple[str, int]:
    host, colon, number = entry.rpartition(":")
    return (host, processes("SLOTS in -H", number)) if colon else (entry, 1)
