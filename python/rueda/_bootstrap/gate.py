"""The gate of a listening socket: lets proven peers in, and keeps strangers from delaying them.

Strangers may be silent, send noise, or come in hundreds. So a connection has two seconds for its
handshake, few may be pending, and when one more comes the one that got least far, and of those the
oldest, makes room: an honest rank speaks at once and is done within milliseconds, so it is never
that one while a silent stranger is there. (Turning away the newest would turn away honest ranks
behind a flood.) Whoever is displaced may come again.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable

from rueda._bootstrap.handshake import ServerHandshake
from rueda._bootstrap.handshake_messages import Proven, Refused
from rueda._bootstrap.loop import READ, Loop
from rueda._bootstrap.meeting_point import MeetingPoint
from rueda._bootstrap.opening import Opening

HANDSHAKE_SECONDS = 2.0
MAX_PENDING = 64  # strangers
_ACCEPTS_A_TURN = 64
_REMEMBERED_REFUSALS = 3

_log = logging.getLogger("rueda.meeting")


class Gate:
    """Accepts connections and runs their handshakes, in the loop's thread.

    Owns the listener and the connections that have not proven themselves.

    Args:
        loop: Where they are watched.
        listener: A non-blocking listening socket.
        point: Objects to peers of the wrong user.
        new_side: Makes the server's side of one handshake.
        on_proven: Takes over each proven connection.
        expected: How many honest peers may come, all at once; they have room beside the strangers.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        point: MeetingPoint,
        new_side: Callable[[], ServerHandshake],
        on_proven: Callable[[socket.socket, Proven], None],
        *,
        expected: int,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._point = point
        self._new_side = new_side
        self._on_proven = on_proven
        self._max_pending = MAX_PENDING + expected
        self._pending: dict[Opening, float] = {}  # when they came, in that order
        self._sweep_is_due = False
        self._refusals: deque[str] = deque(maxlen=_REMEMBERED_REFUSALS)
        self.refused_count = 0
        loop.watch(listener.fileno(), READ, self._accept)

    @property
    def refusals(self) -> str:
        """The refused connections in words for an error message, empty if there were none."""
        if not self.refused_count:
            return ""
        many = "connection was" if self.refused_count == 1 else "connections were"
        last = "; ".join(self._refusals)
        return f" ({self.refused_count} {many} refused; last: {last})"

    def close(self) -> None:
        """Stop listening and hang up on everybody who is not proven."""
        if self._listener.fileno() >= 0:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
        for opening in list(self._pending):
            self._drop(opening)
        if self.refused_count:
            _log.warning("rueda refused connections while the ranks met%s", self.refusals)
            self.refused_count = 0

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            objection = self._point.admit(connection)
        except OSError as error:  # it is gone already
            objection = str(error)
        if objection is not None:
            connection.close()
            self._refused(objection)
            return
        if len(self._pending) >= self._max_pending:
            self._displace()
        opening = Opening(self._loop, connection, self._new_side(), self._ended)
        self._pending[opening] = self._loop.now()
        self._plan_sweep()

    def _displace(self) -> None:
        # min takes the first of equals: the oldest.
        self._drop(min(self._pending, key=lambda opening: opening.side.messages_taken))
        self._refused("too many at once")

    def _plan_sweep(self) -> None:
        # One timer for all: they expire in the order they came.
        if self._pending and not self._sweep_is_due:
            self._sweep_is_due = True
            oldest = next(iter(self._pending.values()))
            self._loop.call_at(oldest + HANDSHAKE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweep_is_due = False
        expired = self._loop.now() - HANDSHAKE_SECONDS
        for opening in [one for one, came in self._pending.items() if came <= expired]:
            self._drop(opening)
            self._refused(f"it did not prove itself within {HANDSHAKE_SECONDS:g} s")
        self._plan_sweep()

    def _drop(self, opening: Opening) -> None:
        del self._pending[opening]
        opening.close()

    def _ended(self, opening: Opening, verdict: Proven | Refused | None) -> None:
        del self._pending[opening]
        if isinstance(verdict, Proven):
            self._on_proven(opening.connection, verdict)
            return
        opening.close()
        self._refused("it hung up before proving itself" if verdict is None else verdict.reason)

    def _refused(self, reason: str) -> None:
        self.refused_count += 1
        if reason not in self._refusals:
            self._refusals.append(reason)
        _log.info("rueda refused a connection to %s: %s", self._point, reason)
