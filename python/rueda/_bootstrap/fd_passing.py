"""File descriptors on their way between processes: owning, sending, receiving, checking them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Sequence

_READ_BYTES = 65536
# A read never crosses the borders of the sends that carried descriptors, so it can bring those of
# one frame only. Room for more is no use; less would lose some.
_DESCRIPTORS_A_READ = 8
_ARENA_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class DescriptorBag:
    """Owns descriptors until they are released; closing it closes every one left.

    Used as a context manager it closes on the way out. Not thread-safe.
    """

    def __init__(self) -> None:
        self._owned: set[int] = set()

    def adopt(self, descriptor: int) -> int:
        """Own ``descriptor`` and return it."""
        self._owned.add(descriptor)
        return descriptor

    def discard(self, descriptor: int) -> None:
        """Close one descriptor that the bag owns; do nothing for any other."""
        if descriptor in self._owned:
            self._owned.remove(descriptor)
            os.close(descriptor)

    def release(self, descriptor: int) -> int:
        """Stop owning ``descriptor`` and return it: somebody else closes it from here on."""
        self._owned.remove(descriptor)
        return descriptor

    def close(self) -> None:
        """Close all descriptors owned."""
        while self._owned:
            os.close(self._owned.pop())

    def __enter__(self) -> DescriptorBag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DescriptorsLostError(OSError):
    """The kernel dropped descriptors that a peer sent: this process may open no more."""


def send_some(connection: socket.socket, data: bytes, descriptors: Sequence[int]) -> int:
    """Send what fits now; the descriptors go with its first byte. Return the bytes sent."""
    if not descriptors:
        return connection.send(data, socket.MSG_NOSIGNAL)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    return connection.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def receive_some(connection: socket.socket, bag: DescriptorBag) -> tuple[bytes, list[int]]:
    """Read what is there; descriptors that came along are close-on-exec and owned by ``bag``.

    Raises:
        DescriptorsLostError: Some could not be opened here.
    """
    room = socket.CMSG_SPACE(_DESCRIPTORS_A_READ * array.array("i").itemsize)
    data, ancillary, flags, _ = connection.recvmsg(_READ_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    for descriptor in received:
        bag.adopt(descriptor)
    if flags & socket.MSG_CTRUNC:
        raise DescriptorsLostError(
            "descriptors of other ranks could not be taken over: this process has too many open. "
            "Raise the limit (ulimit -n); a rank needs three for each other rank"
        )
    return data, list(received)


def arena_problem(descriptor: int, expected_bytes: int) -> str | None:
    """Say what is wrong with an arena that a peer sent, or None.

    A memfd that can shrink or grow would let one rank's mistake kill the others by SIGBUS.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return "is not a memfd"
    if seals & _ARENA_SEALS != _ARENA_SEALS:
        return "lacks the seals against shrinking and growing"
    found = os.fstat(descriptor).st_size
    if found != expected_bytes:
        return f"has {found} bytes, not {expected_bytes}"
    return None


def pidfd_problem(descriptor: int) -> str | None:
    """Say what is wrong with a pidfd that a peer sent, or None."""
    try:
        # procfs says "Pid:" for pidfds alone (proc(5), pidfd_open(2)).
        info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be looked at: {error}"
    try:
        content = os.read(info, 4096)
    finally:
        os.close(info)
    return None if b"\nPid:" in content else "is not a process descriptor"


def is_socket(descriptor: int) -> bool:
    """Tell whether a descriptor is a socket."""
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    return False
