"""The program of the processes that ``rueda.run`` starts: ``boot.py launcher|rank FD ...``.

It makes the import path that of the caller before anything of rueda is imported: so functions find
the modules they were written with, and all processes run the same rueda.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path


def _take_callers_place(call_fd: int) -> None:
    length = struct.unpack("<Q", os.pread(call_fd, 8, 0))[0]
    head = json.loads(os.pread(call_fd, length, 8))
    root = str(Path(__file__).parents[2])
    sys.path[:] = head["path"] if root in head["path"] else [*head["path"], root]
    sys.argv[1:] = head["argv"][1:]
    sys.argv[0] = head["argv"][0] if head["argv"] else ""


def main() -> int:
    """Become what the first argument says."""
    role, call_fd, *rest = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    _take_callers_place(call_fd)
    if role == "launcher":
        from rueda._run.launcher import launch  # noqa: PLC0415 - its place is known only now

        return launch(call_fd)
    from rueda._run.rank import work  # noqa: PLC0415

    return work(call_fd, [int(word) for word in rest])


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:  # While modules were imported; who interrupts knows of it.
        code = 128 + 2
    sys.exit(code)
