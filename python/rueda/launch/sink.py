"""One output of the launcher: its standard output or standard error.

Lines of many workers leave through it one after another, so no line is torn by another. Writing
never waits: bytes queue here and leave when the descriptor has room. The descriptor stays in
blocking mode, because that is a property it shares with the shell and everybody else who has it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from dataclasses import dataclass
from datetime import datetime

from rueda.launch.lines import Piece

# A pipe that polls as writable takes this much without blocking (pipe(7), PIPE_BUF).
_CHUNK = 4096
_CLEAR_LINE = b"\r\x1b[K"
_COLOURS = (36, 33, 35, 32, 34, 31)
_NOBODY = -1


@dataclass(frozen=True)
class Look:
    """How lines are dressed.

    Attributes:
        terminal: Whether a person watches; progress bars are redrawn in place then.
        colour: Whether prefixes are coloured.
        timestamps: Whether the local time comes before the prefix.
    """

    terminal: bool = False
    colour: bool = False
    timestamps: bool = False


class Sink:
    """Lines in, bytes out; used by the launcher's one thread.

    Attributes:
        error: Why writing failed for good, or None. What is put in afterwards is dropped.
        pollable: False for files, which are always ready and which epoll refuses.
    """

    def __init__(self, descriptor: int, look: Look) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None
        self.pollable = _is_pollable(descriptor)
        self._look = look
        self._queue = bytearray()
        self._open = _NOBODY  # Whose unfinished line is the last thing in the queue.
        self._progress: tuple[int, bytes] | None = None
        self._drawn = False

    @property
    def pending(self) -> int:
        """Number of bytes that wait to be written."""
        return len(self._queue)

    def put(self, rank: int, piece: Piece) -> None:
        """Queue a worker's line, or a part of one, under its prefix."""
        already_ended = self._open != rank and not piece.starts and not piece.text
        if self.error is not None or already_ended:
            return
        self._erase()
        if self._open != rank:
            self._end_open_line()
            self._queue += self._prefix(rank)
        self._queue += piece.text
        self._open = _NOBODY if piece.ends else rank
        if piece.ends:
            self._queue += b"\n"
            if self._progress is not None and self._progress[0] == rank:
                self._progress = None
        self._draw()

    def say(self, text: str) -> None:
        """Queue the launcher's own words as lines without prefix."""
        if self.error is not None:
            return
        self._erase()
        self._end_open_line()
        self._queue += text.encode("utf-8", "backslashreplace") + b"\n"
        self._draw()

    def show_progress(self, rank: int, state: bytes) -> None:
        """Show the state of a line that a worker keeps writing over; only on a terminal."""
        if self._look.terminal and self.error is None:
            self._erase()
            self._progress = (rank, state)
            self._draw()

    def flush(self) -> None:
        """Write once what fits without blocking; call when the descriptor is ready.

        A failure other than "try again" is kept in ``error``, and the queue is dropped.
        """
        count = _CHUNK if self.pollable else len(self._queue)
        try:
            written = os.write(self.descriptor, bytes(self._queue[:count]))
        except OSError as error:
            if self.pollable and isinstance(error, BlockingIOError):
                return  # Somebody else made it non-blocking.
            self.error = error
            self._queue.clear()
            return
        del self._queue[:written]

    @property
    def broken_pipe(self) -> bool:
        """Whether the reader of this output has gone."""
        return self.error is not None and self.error.errno == errno.EPIPE

    def _end_open_line(self) -> None:
        if self._open != _NOBODY:
            self._queue += b"\n"
            self._open = _NOBODY

    def _prefix(self, rank: int) -> bytes:
        time = _time_of_day() if self._look.timestamps else b""
        if self._look.colour:
            return time + b"\x1b[%dm[%d]\x1b[0m " % (_COLOURS[rank % len(_COLOURS)], rank)
        return time + b"[%d] " % rank

    def _erase(self) -> None:
        if self._drawn:
            self._queue += _CLEAR_LINE
            self._drawn = False

    def _draw(self) -> None:
        if self._progress is None or self._open != _NOBODY:
            return
        rank, state = self._progress
        taken = prefix_columns(rank, timestamps=self._look.timestamps)
        room = _columns(self.descriptor) - taken - 1
        text = state.decode("utf-8", "replace")
        # A bar that wraps could not be erased again; cutting an escape sequence would be worse.
        shown = text if "\x1b" in text else text[: max(room, 0)]
        self._queue += self._prefix(rank) + shown.encode()
        self._drawn = True


def prefix_columns(rank: int, *, timestamps: bool) -> int:
    """Return how many columns the prefix of a rank's lines takes."""
    return len(b"[%d] " % rank) + (len(_time_of_day()) if timestamps else 0)


def _time_of_day() -> bytes:
    """Return date and time with milliseconds, in the form of ISO 8601, and a space."""
    return datetime.now().isoformat(timespec="milliseconds").encode() + b" "


def _columns(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns or 80
    except OSError:
        return 80


def _is_pollable(descriptor: int) -> bool:
    """Say whether epoll takes this descriptor: not a file, not a device such as /dev/null."""
    try:
        with select.epoll() as probe:
            probe.register(descriptor, select.EPOLLOUT)
    except OSError:
        return False
    return True


def same_output(one: int, other: int) -> bool:
    """Say whether two descriptors lead to one file, pipe or terminal.

    Then they share a sink: no line tears another, and readiness is not counted twice.
    """
    first, second = os.fstat(one), os.fstat(other)
    if stat.S_ISCHR(first.st_mode) and stat.S_ISCHR(second.st_mode):
        return first.st_rdev == second.st_rdev
    return os.path.samestat(first, second)
