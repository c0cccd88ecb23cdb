"""All peers of a run: each is connected when the first case asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rueda._bench.contender import Contender, Unavailable
from rueda._bench.plan import Case
from rueda._bench.session import Session
from rueda._environment import environment
from rueda.launch.this_host import core_count


class Peer(Protocol):
    """One peer's connections."""

    def contender(self, case: Case) -> Contender: ...
    def close(self) -> None: ...


class Peers:
    """The peers of one rank; all ranks ask for the same in the same order."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._made: dict[str, Peer] = {}
        self._missing: dict[str, str] = {}

    def contender(self, name: str, case: Case) -> Contender:
        """Return a peer's contender for a case.

        Raises:
            Unavailable: The peer, or this case of it, is not to be had; the same on every rank
                for the peer itself.
        """
        return self.connected(name).contender(case)

    def connected(self, name: str) -> Peer:
        """Return a peer, connected.

        Raises:
            Unavailable: It is not to be had; the same on every rank.
        """
        if name in self._missing:
            raise Unavailable(self._missing[name])
        if name not in self._made:
            why = self._session.together(lambda: self._connect(name))
            if why:
                self._missing[name] = why
                self._made.pop(name, None)
                raise Unavailable(why)
        return self._made[name]

    def close(self) -> None:
        """Leave all peers."""
        for peer in self._made.values():
            peer.close()

    def _connect(self, name: str) -> None:
        makers: dict[str, Callable[[], Peer]] = {
            "gloo": self._gloo,
            "openmpi": self._openmpi,
            "horovod": self._horovod,
            "sockets": self._sockets,
        }
        self._made[name] = makers[name]()

    # Each brings libraries that a run without it does not need.
    def _gloo(self) -> Peer:
        from rueda._bench.peers.torch_gloo import TorchGloo  # noqa: PLC0415

        return TorchGloo(self._session, self._folder)

    def _openmpi(self) -> Peer:
        from rueda._bench.peers.openmpi import OpenMpi  # noqa: PLC0415

        return OpenMpi(self._session, self._folder, environment(), core_count())

    def _horovod(self) -> Peer:
        from rueda._bench.peers.horovod import Horovod  # noqa: PLC0415

        return Horovod(self._session, self._folder, environment())

    def _sockets(self) -> Peer:
        from rueda._bench.peers.raw_sockets import RawSockets  # noqa: PLC0415

        return RawSockets(self._session)
