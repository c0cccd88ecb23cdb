"""Tells the launcher of the exception that ends this rank: cause or victim."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType

from rueda._world import World
from rueda.exceptions import VICTIM_CODES, HorovodInternalError

# A pipe takes this much without blocking.
_MOST_BYTES = 48 << 10


def report_of(error: BaseException, world: World) -> bytes:
    """Return the JSON object that describes ``error`` to the launcher."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    code, blames = "", None
    if isinstance(error, HorovodInternalError):
        code, blames = error.code, error.rank
    report = {
        "rank": world.rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "type": type(error).__name__,
        "message": str(error)[:2000],
        "traceback": _last_bytes(trace, _MOST_BYTES // 4),
        "code": 1,  # what the interpreter ends with after this
        "blames": blames,
        "victim": code in VICTIM_CODES,
    }
    encoded = _encoded(report)
    # Only what is nearly all control characters takes more.
    return encoded if len(encoded) <= _MOST_BYTES else _encoded({**report, "traceback": ""})


def _last_bytes(text: str, most: int) -> str:
    """Return as much of the end of a text as that many bytes hold."""
    return text.encode(errors="replace")[-most:].decode(errors="ignore")


def _encoded(report: Mapping[str, object]) -> bytes:
    return json.dumps(report, ensure_ascii=False).encode(errors="replace")


def install(world: World, env: Mapping[str, str]) -> None:
    """Report uncaught exceptions from now on, if a launcher listens; the usual output stays."""
    text = env.get("RUEDA_REPORT_FD", "")
    if not text.isdigit() or getattr(sys.excepthook, "reports_for_rueda", False):
        return
    descriptor = int(text)
    owner = os.getpid()
    shown_by = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        shown_by(kind, error, trace)
        if os.getpid() == owner:
            with contextlib.suppress(OSError):  # the launcher may be gone
                os.write(descriptor, report_of(error, world))

    report.reports_for_rueda = True  # type: ignore[attr-defined]
    sys.excepthook = report
