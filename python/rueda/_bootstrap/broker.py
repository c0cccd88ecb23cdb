"""Rank 0 as broker on one host: each pair of ranks gets a socket pair, arenas and pidfds.

Nobody listens and nobody connects for this, so no socket is left that a stranger could find.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping
from itertools import combinations

from rueda._bootstrap.fd_passing import DescriptorBag
from rueda._bootstrap.frames import FrameKind
from rueda._bootstrap.link import Link

# PEER frames sent and not yet taken. Descriptors in flight count against the user's limit of open
# files (unix(7)), three a frame, so many ranks must not get theirs all at once.
_MAX_IN_FLIGHT = 64


class Broker:
    """Hands each rank, for every other rank, arena, pidfd and a stream. The loop's thread only.

    Args:
        links: By rank, without rank 0.
        arenas: By rank, borrowed for as long as this object lives; so are the pidfds.
        pidfds: By rank.
        bag: Owns the streams until they have left; rank 0's own stay in it.
    """

    def __init__(
        self,
        links: Mapping[int, Link],
        arenas: Mapping[int, int],
        pidfds: Mapping[int, int],
        bag: DescriptorBag,
    ) -> None:
        self._links = links
        self._arenas = arenas
        self._pidfds = pidfds
        self._bag = bag
        self._pairs = deque(combinations([0, *sorted(links)], 2))
        self._in_flight = 0
        self.streams: dict[int, int] = {}
        self._hand_out()

    def taken(self) -> None:
        """Note that some rank took a PEER frame: the next may leave."""
        self._in_flight -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._pairs and self._in_flight < _MAX_IN_FLIGHT:
            low, high = self._pairs.popleft()
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
            ends = socket.socketpair(socket.AF_UNIX, kind)
            low_end, high_end = (self._bag.adopt(end.detach()) for end in ends)
            self._give(low, high, low_end)
            self._give(high, low, high_end)

    def _give(self, receiver: int, about: int, stream: int) -> None:
        if receiver == 0:
            self.streams[about] = stream
            return
        self._in_flight += 1
        self._links[receiver].send(
            FrameKind.PEER,
            {"rank": about},
            (self._arenas[about], self._pidfds[about], stream),
            consumed=(stream,),
        )
