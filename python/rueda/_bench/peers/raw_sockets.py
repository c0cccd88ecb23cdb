"""Plain TCP connections in a ring on this host, driven by the calling thread (csrc/bench)."""

from __future__ import annotations

import socket

from rueda._bench.contender import Contender, NativeContender, Unavailable
from rueda._bench.plan import Case
from rueda._bench.session import Session
from rueda._bench.settings import DTYPES, OPS
from rueda._bench_core import SocketProcedure

_BUFFER_BYTES = 4 << 20
_LIMIT_S = 30.0


class RawSockets:
    """One connection to the next rank and one from the rank before."""

    def __init__(self, session: Session) -> None:
        self._board = session.board
        self._sockets: list[socket.socket] = []
        if self._board.size > 1:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self._sockets = self._ring(session, listener)

    def _ring(self, session: Session, listener: socket.socket) -> list[socket.socket]:
        rank, size = self._board.rank, self._board.size
        listener.settimeout(_LIMIT_S)
        ports = [int(port) for [port] in session.gather(float(listener.getsockname()[1]))]
        after = socket.create_connection(("127.0.0.1", ports[(rank + 1) % size]), _LIMIT_S)
        # Whoever else connects from this host is told apart by the port that it comes from.
        callers = [int(port) for [port] in session.gather(float(after.getsockname()[1]))]
        while True:
            before, (_, port) = listener.accept()
            if port == callers[(rank - 1) % size]:
                break
            before.close()
        for one in (after, before):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                one.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)
        return [after, before]

    def contender(self, case: Case) -> Contender:
        """Return the ring's all-reduce of this case."""
        if case.kind != "size":
            raise Unavailable("raw sockets reduce one tensor")
        after, before = (one.fileno() for one in self._sockets) if self._sockets else (-1, -1)
        procedure = SocketProcedure(
            rank=self._board.rank,
            size=self._board.size,
            next=after,
            previous=before,
            op=OPS[case.op],
            dtype=DTYPES[case.dtype][0],
            count=case.count,
        )
        return NativeContender(self._board, procedure, case)

    def close(self) -> None:
        """Close the connections."""
        for one in self._sockets:
            one.close()
