"""Signals to the launcher, turned into bytes that its loop can wait for."""

from __future__ import annotations

import os
import signal
from types import FrameType

# These end the job. One that is ignored when we start (nohup, a background job) stays ignored.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# These mean whatever the user's program makes of them, such as "write a checkpoint".
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


class SignalPipe:
    """Collects signals while it is open; one at a time, in the main thread."""

    def __init__(self) -> None:
        """Take over the handling of all signals that concern a job."""
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._before = {}
        for signum in (*ENDING, *PASSED_ON, signal.SIGTSTP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, _only_wake)

    def read(self) -> list[int]:
        """Return the signals that came since the last call, in order."""
        try:
            return list(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back to whoever handled them before."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.descriptor)
        os.close(self._write_end)


def _only_wake(signum: int, frame: FrameType | None) -> None:
    """Do nothing: the byte that the interpreter wrote to the pipe is what counts."""
