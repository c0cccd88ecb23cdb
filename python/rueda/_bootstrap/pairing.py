"""Over TCP, each pair of ranks connects once: the higher rank calls the lower, both prove the job.

On one host this is not needed: rank 0 makes the pairs' sockets and hands them out.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from functools import partial

from rueda._bootstrap.dialer import Dialer
from rueda._bootstrap.errors import UNTRUSTED, meeting_error
from rueda._bootstrap.fd_passing import DescriptorBag
from rueda._bootstrap.gate import Gate
from rueda._bootstrap.handshake import ClientHandshake, ServerHandshake
from rueda._bootstrap.handshake_messages import Proven, Role
from rueda._bootstrap.loop import Loop
from rueda._bootstrap.meeting_point import TcpPoint
from rueda._bootstrap.setup import Setup

_log = logging.getLogger("rueda.meeting")


class Pairing:
    """Makes this rank's streams to all others, in the loop's thread.

    Owns its listener and the connections under way; finished streams belong to the bag.

    Args:
        setup: This rank's part in the meeting.
        secret: The job's secret.
        host: The address of the one interface to listen on.
        loop: Where it all is watched.
        bag: Takes over the finished streams.
        on_stream: Called after each new one.
    """

    def __init__(
        self,
        setup: Setup,
        secret: bytes,
        host: str,
        loop: Loop,
        *,
        bag: DescriptorBag,
        on_stream: Callable[[], None] | None = None,
    ) -> None:
        self._setup = setup
        self._secret = secret
        self._loop = loop
        self._bag = bag
        self._on_stream = on_stream
        self._point = TcpPoint(host, 0)
        self._listener = self._point.listen()
        self._gate: Gate | None = None
        self._dialers: dict[int, Dialer] = {}
        self.address: tuple[str, int] = (host, self._listener.getsockname()[1])
        self.streams: dict[int, int] = {}

    @property
    def done(self) -> bool:
        """Whether there is a stream to every other rank."""
        return len(self.streams) == self._setup.card.size - 1

    def start(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        """Begin to call the lower ranks and to let the higher ones in."""
        me = self._setup.identity(Role.PAIR)
        self._gate = Gate(
            self._loop,
            self._listener,
            self._point,
            lambda: ServerHandshake(me, self._secret),
            self._let_in,
            expected=me.size - 1 - me.rank,
        )
        for rank in range(me.rank):
            self._dialers[rank] = Dialer(
                self._loop,
                TcpPoint(*addresses[rank]),
                partial(ClientHandshake, me, rank, self._secret),
                self._keep,
                partial(self._refused, rank),
            )

    def trouble(self) -> str:
        """Say which ranks have no stream yet, and why."""
        me = self._setup.card
        waiting = [
            f"rank {rank} has not called"
            for rank in range(me.rank + 1, me.size)
            if rank not in self.streams
        ]
        called = [
            f"rank {rank}: {dialer.trouble}"
            for rank, dialer in self._dialers.items()
            if rank not in self.streams
        ]
        return (
            f"{me.peer} is not connected to all others ({'; '.join(called + waiting)}). Check that "
            "the hosts reach each other by the interface that leads to RUEDA_RENDEZVOUS, on any "
            "port (firewall)"
        )

    def close(self) -> None:
        """Stop listening and calling."""
        for dialer in self._dialers.values():
            dialer.close()
        if self._gate is not None:
            self._gate.close()
        self._listener.close()

    def _let_in(self, connection: socket.socket, proven: Proven) -> None:
        me = self._setup.card
        if not me.rank < proven.rank < me.size or proven.rank in self.streams:
            _log.warning("rueda: %s was called again by rank %d", me.peer, proven.rank)
            connection.close()
            return
        self._keep(connection, proven)

    def _keep(self, connection: socket.socket, proven: Proven) -> None:
        self.streams[proven.rank] = self._bag.adopt(connection.detach())
        if self._on_stream is not None:
            self._on_stream()

    def _refused(self, rank: int, reason: str) -> None:
        raise meeting_error(
            f"{self._setup.card.peer} called rank {rank}: {reason}", UNTRUSTED, rank
        )
