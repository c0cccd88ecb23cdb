"""The calling side: tries to reach one rank's listening socket until it has proven itself."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from rueda._bootstrap.handshake import ClientHandshake
from rueda._bootstrap.handshake_messages import Proven, Refused
from rueda._bootstrap.loop import WRITE, Loop
from rueda._bootstrap.meeting_point import Address, MeetingPoint
from rueda._bootstrap.opening import Opening

_FIRST_PAUSE_SECONDS = 0.002
_LAST_PAUSE_SECONDS = 0.1
_PAUSE_GROWTH = 1.5


class Dialer:
    """Connects and runs the client's handshake, with growing pauses between attempts.

    Nobody listening yet, a listener that hangs up (it was of an earlier meeting, or had to make
    room) and a network that is not there yet are tried again until the owner closes the dialer; it
    has the deadline. A refusal is final. Used by the loop's thread alone.

    Args:
        loop: Where it waits.
        point: Whom to reach.
        new_side: Makes the client's side of one handshake.
        on_proven: Takes over the proven connection; the dialer is done.
        on_refused: Gets the reason; the dialer is done.
    """

    def __init__(
        self,
        loop: Loop,
        point: MeetingPoint,
        new_side: Callable[[], ClientHandshake],
        on_proven: Callable[[socket.socket, Proven], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._point = point
        self._new_side = new_side
        self._on_proven = on_proven
        self._on_refused = on_refused
        self._addresses = point.addresses()
        self._attempts = 0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._connection: socket.socket | None = None
        self._opening: Opening | None = None
        self._closed = False
        self.trouble = f"nobody listens at {point}"
        loop.call_at(loop.now(), self._attempt)

    def close(self) -> None:
        """Give up; neither callback is called any more."""
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._opening is not None:
            self._opening.close()
        elif self._connection is not None:
            self._loop.forget(self._connection.fileno())
            self._connection.close()
        self._opening = self._connection = None

    def _attempt(self) -> None:
        if self._closed:
            return
        family, address = self._next_address()
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._connection = connection
        failed = connection.connect_ex(address)
        if failed == errno.EINPROGRESS:
            self._loop.watch(connection.fileno(), WRITE, self._connected)
        elif failed:
            self._again(failed)
        else:
            self._begin(connection)

    def _next_address(self) -> Address:
        address = self._addresses[self._attempts % len(self._addresses)]
        self._attempts += 1
        return address

    def _connected(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._loop.forget(connection.fileno())
        failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            self._again(failed)
        else:
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        try:
            if connection.getsockname() == connection.getpeername():
                # TCP quirk: calling a free port of one's own host can end up at oneself.
                self._again(errno.ECONNREFUSED)
                return
            objection = self._point.admit(connection)
        except OSError as error:
            self._again(error.errno or errno.ECONNRESET)
            return
        if objection is not None:
            self.close()
            self._on_refused(f"{self._point} is held by somebody else: {objection}")
            return
        self.trouble = f"{self._point} accepted the connection but never answered"
        self._opening = Opening(self._loop, connection, self._new_side(), self._ended)

    def _ended(self, opening: Opening, verdict: Proven | Refused | None) -> None:
        if verdict is None:
            self.trouble = f"{self._point} hung up before proving itself"
            self._pause()
        elif isinstance(verdict, Refused):
            self.close()
            self._on_refused(verdict.reason)
        else:
            self._closed = True
            self._opening = self._connection = None
            self._on_proven(opening.connection, verdict)

    def _again(self, failed: int) -> None:
        # ECONNREFUSED is what "not yet" looks like; EAGAIN is a Unix listener with a full backlog.
        if failed == errno.ECONNREFUSED:
            self.trouble = f"nobody listens at {self._point}"
        else:
            self.trouble = f"{self._point} cannot be reached: {os.strerror(failed)}"
        self._pause()

    def _pause(self) -> None:
        self._hang_up()
        self._loop.call_at(self._loop.now() + self._pause_seconds, self._attempt)
        self._pause_seconds = min(_LAST_PAUSE_SECONDS, self._pause_seconds * _PAUSE_GROWTH)
