"""The launcher's standard output and standard error, and what it says there itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from rueda.launch.sink import Look, Sink, prefix_columns, same_output

STDOUT, STDERR = 1, 2


def fill_standard_descriptors() -> None:
    """Open /dev/null where descriptor 0, 1 or 2 is closed, before another file gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)


class Console:
    """Both outputs of the launcher; one sink when both lead to the same place.

    Attributes:
        sinks: The sinks by stream (0 stdout, 1 stderr).
        distinct: Each sink once.
    """

    def __init__(self, environ: Mapping[str, str], *, timestamps: bool = False) -> None:
        out = Sink(STDOUT, _look(STDOUT, environ, timestamps))
        same = same_output(STDOUT, STDERR)
        self._timestamps = timestamps
        self.sinks = (out, out if same else Sink(STDERR, _look(STDERR, environ, timestamps)))
        self.distinct = self.sinks[:1] if same else self.sinks

    @property
    def pending(self) -> int:
        """Number of bytes that wait to be written."""
        return sum(sink.pending for sink in self.distinct)

    def columns_of(self, rank: int) -> int | None:
        """Width that a rank's lines have beside their prefix; None without a terminal."""
        for descriptor in (STDERR, STDOUT):
            with contextlib.suppress(OSError):
                columns = os.get_terminal_size(descriptor).columns
                taken = prefix_columns(rank, timestamps=self._timestamps)
                return max(20, columns - taken) if columns else None
        return None

    def say(self, text: str) -> None:
        """Queue words of the launcher itself on standard error."""
        self.sinks[1].say(text)


def _look(descriptor: int, environ: Mapping[str, str], timestamps: bool) -> Look:
    """Decide on colours: on a terminal only, and never against NO_COLOR (no-color.org)."""
    terminal = os.isatty(descriptor) and environ.get("TERM", "") != "dumb"
    colour = terminal and not environ.get("NO_COLOR")
    return Look(terminal, colour=colour, timestamps=timestamps)
