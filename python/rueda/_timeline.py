"""The timeline: a trace of what all ranks do, for Perfetto or chrome://tracing."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

from rueda import _context

if TYPE_CHECKING:
    from rueda._context import Job

# Horovod's way to say that start_timeline will be called later, which needs no saying here.
_LATER = "DYNAMIC"


def start_timeline(file_path: str | os.PathLike[str], mark_cycles: bool = False) -> None:
    """Record what all ranks do into a new file of rank 0, until ``stop_timeline`` or ``shutdown``.

    Rank 0 starts for all: it may call this alone, or all ranks may; on the others the call does
    nothing. What is submitted after the call on rank 0 is recorded on every rank, and so is the
    rest of what is in flight. The file is a Chrome trace (JSON) and can be opened at any time.

    Args:
        file_path: Where rank 0 writes. A file that is there is replaced.
        mark_cycles: Whether to mark each frame, that is each answer of the coordinator.

    Raises:
        ValueError: On rank 0: the file cannot be written, or another timeline is under way, which
            goes on.
        HorovodInternalError: rueda is not initialised, or the job failed.
    """
    _context.job().engine.start_timeline(os.fspath(file_path), bool(mark_cycles))


def stop_timeline() -> None:
    """End the timeline, and return on rank 0 when its file is whole.

    Rank 0 waits up to five seconds for what the others have recorded; the file says whose end is
    missing. On the others, and without a timeline, the call does nothing.

    Raises:
        HorovodInternalError: rueda is not initialised, or the disk did not take the file.
    """
    _context.job().engine.stop_timeline()


def start_configured(job: Job) -> None:
    """Start the timeline that RUEDA_TIMELINE asks for.

    A file is for one epoch: from the second on its name has the epoch's number, ``trace.2.json``.

    Raises:
        ValueError: The file cannot be written.
    """
    path = job.config.timeline
    if job.world.rank != 0 or path in ("", _LATER):
        return
    job.engine.start_timeline(_file_of(path, job.epoch), bool(job.config.timeline_mark_cycles))


def _file_of(path: str, epoch: int) -> str:
    if epoch <= 1:
        return path
    whole = PurePath(path)
    return str(whole.with_name(f"{whole.stem}.{epoch}{whole.suffix}"))
