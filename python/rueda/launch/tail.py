"""The last lines that a worker wrote, kept for the failure report."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from rueda.launch.lines import LineBuffer, Piece

KEPT_LINES = 200
KEPT_BYTES_OF_LINE = 1000
_READ_BACK_BYTES = 64 * 1024


class Tail:
    """A worker's last lines, both streams in the order in which they arrived; bounded."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)

    def add(self, piece: Piece) -> None:
        """Note a line, or the beginning of a long one."""
        if piece.starts:
            self._lines.append(piece.text[:KEPT_BYTES_OF_LINE])

    def text_lines(self) -> list[str]:
        """Return the lines, oldest first, as text."""
        return [line.decode("utf-8", "replace") for line in self._lines]


def read_back(tail: Tail, path: Path) -> None:
    """Add the end of a log file that a worker wrote by itself; a file that is gone adds nothing."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _READ_BACK_BYTES))
            data = log.read(_READ_BACK_BYTES)
    except OSError:
        return
    if size > len(data):
        data = data.partition(b"\n")[2]
    lines = LineBuffer()
    for piece in [*lines.feed(data), *lines.finish()]:
        tail.add(piece)
