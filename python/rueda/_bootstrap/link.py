"""A connection to a proven peer: frames and descriptors both ways, never blocking."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rueda._bootstrap.fd_passing import DescriptorBag, receive_some, send_some
from rueda._bootstrap.frames import (
    MAX_DESCRIPTORS,
    Frame,
    FrameError,
    FrameKind,
    FrameReader,
    FrameWriter,
)
from rueda._bootstrap.handshake_messages import Proven
from rueda._bootstrap.loop import READ, WRITE, Loop

# How long to wait before descriptors are sent again that the kernel would not take: too many of
# this user's are in flight (ETOOMANYREFS, unix(7)), and only the receivers can change that.
_RETRY_SECONDS = 0.01


@dataclass
class _Outgoing:
    data: bytes
    descriptors: tuple[int, ...]
    consumed: tuple[int, ...]


class Link:
    """A connection to a proven peer. Owns the socket; used by the loop's thread alone.

    Args:
        loop: Where it is watched.
        connection: The non-blocking socket after its handshake.
        proven: The handshake's verdict.
        is_client: Whether this side connected: gives the frames' direction.
        bag: Owns descriptors that arrive.
        passes_descriptors: Whether the socket can carry descriptors.
        on_frame: Called with each frame and its descriptors.
        on_lost: Called once with the reason, or None where the peer just ended.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        proven: Proven,
        *,
        is_client: bool,
        bag: DescriptorBag,
        passes_descriptors: bool,
        on_frame: Callable[[Link, Frame, list[int]], None],
        on_lost: Callable[[Link, str | None], None],
    ) -> None:
        labels = (b"client to server", b"server to client")
        self.connection = connection
        self._loop = loop
        self._bag = bag
        self._passes_descriptors = passes_descriptors
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._writer = FrameWriter(proven.session_key, labels[0 if is_client else 1])
        self._reader = FrameReader(proven.session_key, labels[1 if is_client else 0])
        self._outgoing: deque[_Outgoing] = deque()
        self._arrived: list[int] = []
        self._paused = False
        self.closed = False
        loop.watch(connection.fileno(), READ, self._work)

    @property
    def idle(self) -> bool:
        """Whether everything sent so far has left this process."""
        return not self._outgoing

    def send(
        self,
        kind: FrameKind,
        payload: Mapping[str, Any],
        descriptors: Sequence[int] = (),
        consumed: Sequence[int] = (),
    ) -> None:
        """Queue a frame. ``consumed`` are descriptors the bag is to close once it has left."""
        if self.closed:
            return
        data = self._writer.seal(kind, payload, len(descriptors))
        self._outgoing.append(_Outgoing(data, tuple(descriptors), tuple(consumed)))
        self._write()
        self._watch()

    def read(self) -> None:
        """Handle what has arrived already."""
        if not self.closed:
            self._work()

    def release(self) -> int:
        """Give the open connection away and return its descriptor; nothing is called from here on.

        The peer sends nothing on it before this side did, so nothing can have been read too far.
        """
        self.closed = True
        self._loop.forget(self.connection.fileno())
        self._drop_outgoing()
        return self.connection.detach()

    def close(self) -> None:
        """Close the connection; nothing is called from here on."""
        if not self.closed:
            self.closed = True
            self._loop.forget(self.connection.fileno())
            self.connection.close()
            self._drop_outgoing()

    def _watch(self) -> None:
        if not self.closed:
            events = READ if self.idle or self._paused else READ | WRITE
            self._loop.watch(self.connection.fileno(), events, self._work)

    def _work(self) -> None:
        self._write()
        self._read()
        self._watch()

    def _write(self) -> None:
        try:
            while self._outgoing and not self._paused:
                first = self._outgoing[0]
                sent = send_some(self.connection, first.data, first.descriptors)
                first.data, first.descriptors = first.data[sent:], ()
                if not first.data:
                    self._consume(self._outgoing.popleft())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                self._paused = True
                self._loop.call_at(self._loop.now() + _RETRY_SECONDS, self._resume)
            else:
                # A peer that is gone shows when reading; its last words may still be there.
                self._drop_outgoing()

    def _resume(self) -> None:
        self._paused = False
        if not self.closed:
            self._write()
            self._watch()

    def _drop_outgoing(self) -> None:
        while self._outgoing:
            self._consume(self._outgoing.popleft())

    def _consume(self, message: _Outgoing) -> None:
        for descriptor in message.consumed:
            self._bag.discard(descriptor)

    def _read(self) -> None:
        try:
            data = self._receive()
            frames = self._reader.feed(data) if data else []
        except BlockingIOError:
            return
        except (ConnectionError, TimeoutError):
            self._lose(None)
            return
        except FrameError as error:
            self._lose(str(error))
            return
        for frame in frames:
            if not self.closed:
                self._deliver(frame)
        if not data and not self.closed:
            self._lose(None)

    def _receive(self) -> bytes:
        if not self._passes_descriptors:
            return self.connection.recv(65536)
        data, descriptors = receive_some(self.connection, self._bag)
        self._arrived += descriptors
        return data

    def _deliver(self, frame: Frame) -> None:
        own, self._arrived = (
            self._arrived[: frame.descriptor_count],
            self._arrived[frame.descriptor_count :],
        )
        if len(own) < frame.descriptor_count or len(self._arrived) > MAX_DESCRIPTORS:
            self._lose(f"a {frame.kind.name} frame came without its descriptors")
        else:
            self._on_frame(self, frame, own)

    def _lose(self, reason: str | None) -> None:
        self.close()
        self._on_lost(self, reason)
