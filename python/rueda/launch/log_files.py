"""The workers' log files: DIR/rank.N/stdout and stderr, as Horovod lays them out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from rueda.launch.options import Options
from rueda.launch.usage import UsageError

STREAM_NAMES = ("stdout", "stderr")


@dataclass
class WorkerLogs:
    """Open log files of one worker.

    Attributes:
        paths: The files, by stream (0 stdout, 1 stderr), where there is one.
        descriptors: Open for writing, by stream; owned by whoever holds this object.
        only_file: Streams that the worker writes to its file directly.
    """

    paths: dict[int, Path] = field(default_factory=dict)
    descriptors: dict[int, int] = field(default_factory=dict)
    only_file: set[int] = field(default_factory=set)

    def close(self) -> None:
        """Close all files; again is harmless."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


def rank_folder(folder: Path, rank: int, size: int) -> Path:
    """Return a rank's folder; ranks are padded with zeros to one width, as Horovod does."""
    return folder / f"rank.{rank:0{len(str(size - 1))}d}"


def open_logs(options: Options, folder: Path) -> list[WorkerLogs]:
    """Create the folders and open every file that the options ask for; old files are emptied.

    Raises:
        UsageError: A folder or file cannot be made. Nothing stays open.
    """
    logs: list[WorkerLogs] = []
    try:
        for rank in range(options.num_proc):
            logs.append(WorkerLogs())
            _open_rank(logs[rank], options, rank, rank_folder(folder, rank, options.num_proc))
    except OSError as error:
        for opened in logs:
            opened.close()
        place = error.filename or folder
        raise UsageError(f"--log-dir: cannot write {str(place)!r}: {error.strerror}") from None
    return logs


def _open_rank(logs: WorkerLogs, options: Options, rank: int, folder: Path) -> None:
    for stream, name in enumerate(STREAM_NAMES):
        bit = 1 << stream
        if not (options.redirects[rank] | options.tees[rank]) & bit:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        # Append mode: a worker's own children may share the description.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        logs.descriptors[stream] = os.open(path, flags, 0o666)
        logs.paths[stream] = path
        if not options.tees[rank] & bit:
            logs.only_file.add(stream)
