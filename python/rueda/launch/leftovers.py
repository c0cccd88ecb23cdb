"""What killed workers leave in the folder for temporary files, removed when a job has ended.

Python's multiprocessing, and so a DataLoader, makes a folder ``pymp-...`` with a socket in it for
each process that passes descriptors, and removes it at the process's exit. A process that is killed
does not come to that.
"""

from __future__ import annotations

import contextlib
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def dead_multiprocessing_folders(folder: Path, since: float, uid: int) -> Iterator[Path]:
    """Find the folders of multiprocessing whose process is gone.

    Args:
        folder: Where to look.
        since: Wall-clock time; older folders are not this job's.
        uid: Whose folders; others' are left alone.

    Yields:
        Folders that hold sockets alone, at least one, none of which is still bound.
    """
    bound = _bound_sockets()
    for candidate in folder.glob("pymp-*"):
        with contextlib.suppress(OSError):  # its owner may be removing it right now
            about = candidate.lstat()
            entries = list(candidate.iterdir())
            if (
                stat.S_ISDIR(about.st_mode)
                and about.st_uid == uid
                and about.st_mtime >= since
                and entries
                and all(entry.is_socket() and str(entry) not in bound for entry in entries)
            ):
                yield candidate


def remove_leftovers(since: float, uid: int) -> None:
    """Remove what killed workers of a job that began at ``since`` have left."""
    for folder in dead_multiprocessing_folders(Path(tempfile.gettempdir()), since, uid):
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                entry.unlink()
            folder.rmdir()


def _bound_sockets() -> set[str]:
    """Return the paths of all Unix sockets that somebody holds."""
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]
    return {words[-1] for words in (line.split() for line in lines) if len(words) > 7}
