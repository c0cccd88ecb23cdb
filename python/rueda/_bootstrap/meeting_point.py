"""Where the ranks of a job meet: an abstract Unix socket on one host, a TCP address on several.

Both give the same few things, so that everything else is written once: a listening socket, the
addresses to reach it by, and a look at whoever is at the other end of a connection.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import re
import socket
import struct
from typing import Protocol

from rueda._bootstrap.errors import SYSTEM, meeting_error

RENDEZVOUS_VARIABLE = "RUEDA_RENDEZVOUS"
_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | str]


class MeetingPoint(Protocol):
    """What the meeting needs of an address."""

    passes_descriptors: bool
    hint: str

    def __str__(self) -> str:
        """Name the point for a message."""

    def listen(self) -> socket.socket:
        """Return a non-blocking listening socket, or raise RuedaError with the fix."""

    def addresses(self) -> list[Address]:
        """Return where to connect, best first; raise RuedaError if the name has no address."""

    def admit(self, connection: socket.socket) -> str | None:
        """Set a new connection up; say why its peer is not to be spoken to, or None."""


class UnixPoint:
    """An abstract Unix socket: it has no file, and goes with the process that holds it.

    Args:
        job_key: The job's key; the name is derived from it and the user.
        uid: The user whose processes meet here.
    """

    passes_descriptors = True
    hint = (
        "Is rank 0 running on this host, in the same network namespace (container), and under the "
        "same launcher? Its own output tells more"
    )

    def __init__(self, job_key: str, uid: int | None = None) -> None:
        self._uid = os.geteuid() if uid is None else uid
        digest = hashlib.sha256(f"{self._uid}:{job_key}".encode()).hexdigest()
        self._name = f"rueda-{self._uid}-{digest[:32]}"

    def __str__(self) -> str:
        return f"the abstract Unix socket @{self._name}"

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind("\0" + self._name)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise meeting_error(
                f"{self} is taken{self._holder()}: another job with the same id runs on this host, "
                "or one was left behind. End it, or give this job another RUEDA_JOB_ID",
                SYSTEM,
                0,
            ) from None
        return listener

    def addresses(self) -> list[Address]:
        return [(socket.AF_UNIX, "\0" + self._name)]

    def admit(self, connection: socket.socket) -> str | None:
        pid, uid = _credentials(connection)
        if uid == self._uid:
            return None
        return f"process {pid} belongs to user {uid}, this job to user {self._uid}"

    def _holder(self) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect("\0" + self._name)
                pid, uid = _credentials(probe)
            except OSError:
                return ""
        return f" by process {pid} of user {uid}"


class TcpPoint:
    """A TCP address of rank 0's host, for ranks on several hosts (or on one, for tests).

    Args:
        host: A name or an address; never one that means every interface.
        port: The port; 0 lets the system choose (for pair listeners).
    """

    passes_descriptors = False
    hint = (
        f"Is rank 0 running, is {RENDEZVOUS_VARIABLE} an address of its host that this host can "
        "reach, and does a firewall let the port through?"
    )

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"the TCP address {host}:{self._port}"

    def listen(self) -> socket.socket:
        problem: OSError | None = None
        for family, address in self.addresses():
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                # Only past connections may be overridden so, not a listener that is there.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(_BACKLOG)
            except OSError as error:
                listener.close()
                problem = error
            else:
                return listener
        raise meeting_error(self._listen_text(problem), SYSTEM, None)

    def _listen_text(self, problem: OSError | None) -> str:
        start = f"host {socket.gethostname()} cannot listen at {self}: {problem}. "
        if problem is not None and problem.errno == errno.EADDRINUSE:
            return start + (
                "Another job (or one left behind) uses the port: end it, or set another port in "
                f"{RENDEZVOUS_VARIABLE} on all ranks"
            )
        return start + (
            f"Set {RENDEZVOUS_VARIABLE} on all ranks to an address of the host that rank 0 runs on"
        )

    def addresses(self) -> list[Address]:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise meeting_error(
                f"the host of {self} does not resolve on {socket.gethostname()}: {error}. Set "
                f"{RENDEZVOUS_VARIABLE} to a name or address that all hosts know",
                SYSTEM,
            ) from None
        # Typeshed allows for families without a port here, which SOCK_STREAM does not give.
        return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]

    def admit(self, connection: socket.socket) -> str | None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return None


def _credentials(connection: socket.socket) -> tuple[int, int]:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(packed)
    return pid, uid


def parse_rendezvous(text: str, *, several_hosts: bool) -> TcpPoint:
    """Read ``host:port``, an IPv6 address in brackets.

    Raises:
        ValueError: It is none, or means every interface, or is only reachable on its own host
            although the ranks are on several.
    """
    label = f"{RENDEZVOUS_VARIABLE}={text!r}"
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):(\d{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ValueError(
            f"{label} is not host:port, such as node1:29400, 10.0.0.1:29400 or [fd00::1]:29400"
        )
    host = match[1] or match[2]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if match[1]:
            raise ValueError(f"{label}: {host} is not an IPv6 address") from None
        loopback = host == "localhost"
    else:
        if address.is_unspecified:
            raise ValueError(f"{label} means every interface; name one address of rank 0's host")
        loopback = address.is_loopback
    if loopback and several_hosts:
        raise ValueError(
            f"{label} is an address that each host has for itself, and this job's ranks are on "
            "several hosts; name an address of rank 0's host that the others can reach"
        )
    return TcpPoint(host, int(match[3]))
