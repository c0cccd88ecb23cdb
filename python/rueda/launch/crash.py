"""What a failing worker tells the launcher about itself.

rueda's exception hook in the worker writes one JSON object to the inherited report pipe. A script
that does not use rueda but torch's ``@record`` leaves its traceback in the error file instead.
Both come from the user's process, so they are read strictly and within limits.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

# A pipe holds 64 KiB; workers write at most 48 KiB, so their write never waits.
MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class CrashReport:
    """An uncaught exception, as the worker saw it.

    Attributes:
        rank: The worker's rank.
        host: Its host.
        pid: The process that raised it.
        type: Class name of the exception.
        message: Its text.
        traceback: The formatted traceback.
        code: Exit code that the worker is about to have.
        blames: The rank that the exception names as lost, or None.
        victim: Whether the exception only says that another rank was lost or left.
    """

    rank: int
    host: str
    pid: int
    type: str
    message: str
    traceback: str
    code: int
    blames: int | None
    victim: bool


def parse_report(data: bytes, rank: int) -> CrashReport | None:
    """Read the first report in ``data`` that is whole and meant for ``rank``.

    Returns:
        The report, or None when there is none that can be trusted to be one.
    """
    value = _first_object(data)
    if value is None or _number(value, "rank") != rank:
        return None
    pid, code = _number(value, "pid"), _number(value, "code")
    words = [value.get(name) for name in ("host", "type", "message", "traceback")]
    blames, victim = value.get("blames"), value.get("victim")
    if blames is not None:
        blames = _number(value, "blames")
        if blames is None or blames < 0:
            return None
    if pid is None or code is None or not isinstance(victim, bool):
        return None
    host, kind, message, traceback = (word if isinstance(word, str) else None for word in words)
    if host is None or kind is None or message is None or traceback is None:
        return None
    return CrashReport(rank, host, pid, kind, message, traceback, code, blames, victim)


def _first_object(data: bytes) -> dict[str, Any] | None:
    try:
        value, _ = json.JSONDecoder().raw_decode(data[:MOST_BYTES].decode("utf-8").lstrip())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _number(value: dict[str, Any], name: str) -> int | None:
    number = value.get(name)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def read_available(descriptor: int) -> tuple[bytes, bool]:
    """Read what a non-blocking pipe holds now, up to ``MOST_BYTES``.

    Returns:
        The bytes, and whether the pipe has come to its end.
    """
    data = b""
    while len(data) < MOST_BYTES:
        try:
            more = os.read(descriptor, MOST_BYTES - len(data))
        except BlockingIOError:
            return data, False
        if not more:
            return data, True
        data += more
    return data, False


def recorded_traceback(descriptor: int) -> str:
    """Return the traceback that torch's ``@record`` wrote to an error file, or an empty text.

    The format is that of torch/distributed/elastic/multiprocessing/errors/error_handler.py.
    """
    try:
        value = json.loads(os.pread(descriptor, MOST_BYTES, 0))
        text = value["message"]["extraInfo"]["py_callstack"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
    return text if isinstance(text, str) else ""
