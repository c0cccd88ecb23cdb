"""Frames: what two proven processes send each other after the handshake.

A frame is a header, a small JSON object and a MAC under the session key over direction, sequence
number, header and payload; so nothing can be altered, replayed, reordered or played back to its
sender. Bytes in, frames out, no sockets. The layout is in docs/wire-format.md.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_HEADER: Final = struct.Struct(">IBB")  # payload bytes, kind, descriptors
_SEQUENCE: Final = struct.Struct(">Q")
_MAC_BYTES: Final = 32
MAX_PAYLOAD_BYTES: Final = 1 << 20
MAX_DESCRIPTORS: Final = 3


class FrameKind(enum.IntEnum):
    """What a frame says; docs/wire-format.md has the order."""

    GREETING = 1  # rank 0: how long it will wait
    CARD = 2  # a rank: who it is; arena and pidfd come along
    ROSTER = 3  # rank 0: who everybody is
    PEER = 4  # rank 0: one peer's arena, pidfd and stream
    TAKEN = 5  # a rank: got a PEER
    READY = 6  # a rank: has everything
    GO = 7  # rank 0: everybody has everything
    FAILURE = 8  # either: why there is no meeting


@dataclass(frozen=True)
class Frame:
    """One frame as received; ``descriptor_count`` descriptors belong to it."""

    kind: FrameKind
    payload: dict[str, Any]
    descriptor_count: int


class FrameError(Exception):
    """A proven peer sent something that is not a frame of this protocol."""


def _mac(key: bytes, label: bytes, sequence: int, content: bytes) -> bytes:
    return hmac.digest(key, label + _SEQUENCE.pack(sequence) + content, hashlib.sha256)


class FrameWriter:
    """Seals frames of one direction, in order.

    Args:
        key: The connection's session key.
        label: The direction: different for the two sides of a connection.
    """

    def __init__(self, key: bytes, label: bytes) -> None:
        self._key = key
        self._label = label
        self._sequence = 0

    def seal(self, kind: FrameKind, payload: Mapping[str, Any], descriptor_count: int) -> bytes:
        """Return the bytes of the next frame."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        if len(body) > MAX_PAYLOAD_BYTES or descriptor_count > MAX_DESCRIPTORS:
            raise FrameError(f"a {kind.name} of {len(body)} bytes is too long to send")
        content = _HEADER.pack(len(body), kind, descriptor_count) + body
        mac = _mac(self._key, self._label, self._sequence, content)
        self._sequence += 1
        return content + mac


class FrameReader:
    """Opens frames of one direction, in order. Holds at most one frame and one read.

    Args:
        key: The connection's session key.
        label: The direction, as its writer has it.
    """

    def __init__(self, key: bytes, label: bytes) -> None:
        self._key = key
        self._label = label
        self._sequence = 0
        self._buffer = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes of the peer; return the frames they complete.

        Raises:
            FrameError: The bytes are no valid frame; the connection is of no more use.
        """
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._buffer) < _HEADER.size:
            return None
        length, kind, descriptors = _HEADER.unpack_from(self._buffer)
        if length > MAX_PAYLOAD_BYTES or descriptors > MAX_DESCRIPTORS:
            raise FrameError(f"a frame of {length} bytes and {descriptors} descriptors is too long")
        end = _HEADER.size + length
        if len(self._buffer) < end + _MAC_BYTES:
            return None
        content = self._buffer[:end]
        mac = self._buffer[end : end + _MAC_BYTES]
        self._buffer = self._buffer[end + _MAC_BYTES :]
        if not hmac.compare_digest(_mac(self._key, self._label, self._sequence, content), mac):
            raise FrameError("a frame does not bear this connection's mark")
        self._sequence += 1
        return _parse(kind, content[_HEADER.size :], descriptors)


def _parse(kind: int, body: bytes, descriptors: int) -> Frame:
    try:
        payload = json.loads(body)
        known = FrameKind(kind)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame of kind {kind} cannot be read: {error}") from None
    if not isinstance(payload, dict):
        raise FrameError(f"a {known.name} frame holds no object")
    return Frame(known, payload, descriptors)
