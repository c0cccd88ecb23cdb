"""A connection whose peer has not proven itself yet: moves the handshake's bytes, no others."""

from __future__ import annotations

import socket
from collections.abc import Callable

from rueda._bootstrap.handshake import ClientHandshake, ServerHandshake
from rueda._bootstrap.handshake_messages import MAX_UNPROVEN_BYTES, Proven, Refused
from rueda._bootstrap.loop import READ, WRITE, Loop


class Opening:
    """A connection in its handshake. Owns the socket until ``on_end`` is called, once.

    Reads never more than the handshake's current message, so what a proven peer sends next stays
    in the socket. ``on_end`` gets this object and the verdict, None where the peer hung up.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        side: ClientHandshake | ServerHandshake,
        on_end: Callable[[Opening, Proven | Refused | None], None],
    ) -> None:
        self.connection = connection
        self.side = side
        self._loop = loop
        self._on_end = on_end
        self._outgoing = side.start() if isinstance(side, ClientHandshake) else b""
        self._received_bytes = 0
        self._loop.watch(connection.fileno(), READ | WRITE if self._outgoing else READ, self._work)

    def close(self) -> None:
        """Give the connection up without a verdict; ``on_end`` is not called."""
        if self.connection.fileno() >= 0:
            self._loop.forget(self.connection.fileno())
            self.connection.close()

    def _work(self) -> None:
        alive = self._read()
        self._write()
        verdict = self.side.verdict
        if verdict is None and alive:
            self._loop.watch(
                self.connection.fileno(), READ | WRITE if self._outgoing else READ, self._work
            )
        elif verdict is None or not self._outgoing or isinstance(verdict, Refused):
            self._loop.forget(self.connection.fileno())
            self._on_end(self, verdict)
        else:  # proven, but the last message has not left yet
            self._loop.watch(self.connection.fileno(), WRITE, self._work)

    def _read(self) -> bool:
        while (wanted := self.side.bytes_wanted) > 0:
            try:
                data = self.connection.recv(wanted)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._received_bytes += len(data)
            if not data or self._received_bytes > MAX_UNPROVEN_BYTES:
                return False
            self._outgoing += self.side.feed(data)
        return True

    def _write(self) -> None:
        try:
            while self._outgoing:
                sent = self.connection.send(self._outgoing, socket.MSG_NOSIGNAL)
                self._outgoing = self._outgoing[sent:]
        except BlockingIOError:
            pass
        except OSError:
            # A peer that is gone shows when reading; its last words may still be there.
            self._outgoing = b""
