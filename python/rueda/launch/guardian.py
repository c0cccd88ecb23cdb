"""A tiny process that ends the workers' process groups should the launcher vanish.

The parent-death signal reaches the workers alone, not the processes they started (DataLoader
workers). The guardian lives in a session of its own, where no terminal and no signal to the
launcher's group reaches it, and sleeps on a socket whose other end only the launcher holds. When
that end closes, for whatever reason, it kills the groups that are still enrolled, and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

from rueda.launch.prctl import Prctl, name_process

_LONGEST_MESSAGE = 32
_END_MS = 2000
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


class Guardian:
    """The launcher's end of the guardian; must be made before any worker, by a lone thread.

    Messages are single packets: ``+`` or ``-`` and the number of a process group. The socket
    holds hundreds of them, so sending never waits for the guardian to run.
    """

    def __init__(self, prctl: Prctl) -> None:
        """Fork the guardian."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                _guard(theirs.detach(), prctl)
            finally:
                os._exit(0)  # Never back into the launcher's code.
        theirs.close()
        self._socket = ours
        self._pid = pid

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._pid

    def enrol(self, group: int) -> None:
        """Put a process group under guard; a worker calls it between fork and exec.

        So there is no moment in which a worker could have children unknown to the guardian.
        """
        self._send(b"+%d" % group)

    def dismiss(self, group: int) -> None:
        """Take a group out of guard: before its leader is reaped, while the number is still its."""
        self._send(b"-%d" % group)

    def close(self) -> None:
        """Let go of the guardian and wait for its end; what is still enrolled gets killed."""
        self._socket.close()
        handle = os.pidfd_open(self._pid)
        try:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            if not poller.poll(_END_MS):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        finally:
            os.close(handle)

    def _send(self, message: bytes) -> None:
        # Without its guardian a job still runs, and the parent-death signal still works.
        with contextlib.suppress(OSError):
            self._socket.send(message, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def _guard(descriptor: int, prctl: Prctl) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for signum in _IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    name_process(prctl, b"ruedarun-guard")
    _keep_only(descriptor)
    groups: set[int] = set()
    while message := os.read(descriptor, _LONGEST_MESSAGE):
        group = int(message[1:])
        if message.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _keep_only(descriptor: int) -> None:
    """Close what was inherited: a guardian must not keep the launcher's output open."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - plain numbers are wanted
        if int(name) > 2 and int(name) != descriptor:
            with contextlib.suppress(OSError):  # The descriptor of this very listing.
                os.close(int(name))
