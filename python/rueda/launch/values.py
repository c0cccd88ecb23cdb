"""How the values of single options are read, each with its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def whole(name: str, text: str) -> str:
    """Check a whole number that is not negative.

    Raises:
        UsageError: It is none.
    """
    number = _whole(text)
    if number is None or number < 0:
        raise UsageError(f"{name} needs a whole number from 0 on, found {text!r}")
    return str(number)


def whole_numbers(name: str, text: str) -> str:
    """Check two whole numbers, the first not larger than the second.

    Raises:
        UsageError: One is none, or they are in the wrong order.
    """
    low, high = (int(whole(name, word)) for word in text.split(" "))
    if low > high:
        raise UsageError(f"{name} needs MIN and MAX in this order, found {text}")
    return f"{low} {high}"


def decimal(name: str, text: str) -> str:
    """Check a number that is finite and not negative.

    Raises:
        UsageError: It is none.
    """
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"{name} needs a number from 0 on, found {text!r}")
    return text.strip().lstrip("+")


def fraction(name: str, text: str) -> str:
    """Check a number from 0 to 1.

    Raises:
        UsageError: It is none.
    """
    if float(decimal(name, text)) > 1:
        raise UsageError(f"{name} needs a number from 0 to 1, found {text!r}")
    return text


def mebibytes(name: str, text: str) -> str:
    """Return a number of MiB in bytes; Horovod's 0, "fuse nothing", is the smallest bucket.

    Raises:
        UsageError: It is no number from 0 on.
    """
    return str(max(1, round(float(decimal(name, text)) * 1024 * 1024)))


def lower_case(name: str, text: str) -> str:
    """Return a word in small letters, as the engine writes choices."""
    return text.lower()


def seconds(name: str, text: str) -> float:
    """Read a time in seconds; fractions are allowed.

    Raises:
        UsageError: It is no number from 0 to a week.
    """
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


@dataclass(frozen=True)
class Host:
    """One entry of a list of hosts: its name, and how many workers it has room for."""

    name: str
    slots: int


def hosts(name: str, text: str) -> list[Host]:
    """Read Horovod's host list, ``localhost:2,other:4``.

    Raises:
        UsageError: A number of slots is none.
    """
    return [_host(name, entry) for entry in text.split(",")]


def _host(name: str, entry: str) -> Host:
    host, colon, number = entry.rpartition(":")
    return Host(host, processes(f"SLOTS in {name}", number)) if colon else Host(entry, 1)


def slots(name: str, entries: Sequence[Host], is_this_host: Callable[[str], bool]) -> int:
    """Return how many slots this machine has in a list of hosts that names no other one.

    Raises:
        UsageError: It names another machine, or this one twice, or nobody.
    """
    for entry in entries:
        if not is_this_host(entry.name):
            raise UsageError(
                f"{name} names {entry.name!r}, which is not this machine: this ruedarun runs "
                "localhost only; use torchrun or mpirun for several hosts"
            )
    if len(entries) > 1:
        raise UsageError(
            f"{name} names this machine {len(entries)} times; give it once, with slots"
        )
    if not entries:
        raise UsageError(f"{name} names no host; a line such as 'localhost slots=4' is needed")
    return entries[0].slots
