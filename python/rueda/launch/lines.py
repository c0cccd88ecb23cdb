"""Whole lines out of the pieces in which a pipe delivers them."""

from __future__ import annotations

from dataclasses import dataclass

# A line longer than this is passed on in parts rather than kept back.
LONGEST_KEPT = 64 * 1024


@dataclass(frozen=True)
class Piece:
    """A line or a part of one, without its newline.

    Attributes:
        text: The bytes.
        starts: Whether the line begins here.
        ends: Whether the line ends here.
    """

    text: bytes
    starts: bool = True
    ends: bool = True


class LineBuffer:
    """Cuts one stream of bytes into lines; keeps at most ``LONGEST_KEPT`` bytes back.

    A carriage return starts a line over, as on a terminal, so only the last state of a progress
    bar is left in the line that it ends as. ``progress`` shows its state meanwhile.
    """

    def __init__(self) -> None:
        self._part = b""
        self._inside = False
        self.progress: bytes | None = None

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes and return what they complete."""
        *whole, rest = (self._part + data).split(b"\n")
        pieces = [self._piece(_last_state(line), ends=True) for line in whole]
        if whole:
            self.progress = None
        if b"\r" in rest:
            self.progress = _last_state(rest)
            # The return itself is kept: it says that what follows starts the line over.
            rest = self.progress + (b"\r" if rest.endswith(b"\r") else b"")
        if len(rest) > LONGEST_KEPT:
            pieces.append(self._piece(rest, ends=False))
            rest = b""
        self._part = rest
        return pieces

    def finish(self) -> list[Piece]:
        """Return what is left at the end of the stream, as a line."""
        rest, self._part, self.progress = _last_state(self._part), b"", None
        return [self._piece(rest, ends=True)] if rest or self._inside else []

    def _piece(self, text: bytes, *, ends: bool) -> Piece:
        piece = Piece(text, starts=not self._inside, ends=ends)
        self._inside = not ends
        return piece


def _last_state(line: bytes) -> bytes:
    """Return what a line shows after its carriage returns: the last state that is not empty."""
    if b"\r" not in line:
        return line
    return next((state for state in reversed(line.split(b"\r")) if state), b"")
