"""One worker as the launcher sees it: a process, its output, and what it left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from rueda.launch.crash import (
    MOST_BYTES,
    CrashReport,
    parse_report,
    read_available,
    recorded_traceback,
)
from rueda.launch.guardian import Guardian
from rueda.launch.lines import LineBuffer, Piece
from rueda.launch.log_files import WorkerLogs
from rueda.launch.notices import Notice, take_notices
from rueda.launch.sink import Sink
from rueda.launch.summary import Witness
from rueda.launch.tail import Tail, read_back
from rueda.launch.verdict import Exit

_READ_BYTES = 64 * 1024
# No pipe holds more than this (/proc/sys/fs/pipe-max-size for a user), so it ends the reading of
# a pipe into which somebody keeps writing.
_LEFT_OVER_BYTES = 1024 * 1024


class Stream:
    """The launcher's end of a worker's standard output or standard error; owns its descriptor.

    Attributes:
        descriptor: The pipe, non-blocking; -1 once closed.
        rank: Whose output it is.
        sink: Where lines are shown, or None.
        log_error: Why the log file could not be written, or None.
    """

    def __init__(self, rank: int, descriptor: int, sink: Sink | None, tail: Tail, log: int) -> None:
        """Take over a pipe; ``log`` is a file that gets every byte too, or -1."""
        self.descriptor = descriptor
        self.rank = rank
        self.sink = sink
        self._tail = tail
        self._log = log
        self._lines = LineBuffer()
        self.log_error: OSError | None = None

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.descriptor >= 0

    def read(self) -> bool:
        """Read once what is there; returns False at the end of the stream."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._write_log(data)
        self._pass_on(self._lines.feed(data))
        if self._lines.progress is not None and self.sink is not None:
            self.sink.show_progress(self.rank, self._lines.progress)
        return True

    def close(self) -> None:
        """Pass on an unfinished line and close; again is harmless."""
        if self.is_open:
            self._pass_on(self._lines.finish())
            os.close(self.descriptor)
            self.descriptor = -1

    def abandon(self) -> None:
        """Read what is left, then close although somebody else still holds the other end."""
        for _ in range(_LEFT_OVER_BYTES // _READ_BYTES):
            if not self.read():
                break
        self.close()

    def _pass_on(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._tail.add(piece)
            if self.sink is not None:
                self.sink.put(self.rank, piece)

    def _write_log(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._log >= 0 and self.log_error is None:
            try:
                left = left[os.write(self._log, left) :]
            except OSError as error:
                self.log_error = error


class Worker:
    """One started worker. The launcher's thread alone uses it.

    It owns the process, the pidfd, the report pipe, the error file, the streams and the log files;
    ``close`` lets go of them.

    Attributes:
        rank: Its rank.
        pid: Its process id, which is also that of its process group.
        pidfd: Readable once it has ended.
        report_fd: Where it writes notices and a crash report.
        streams: Its outputs, as far as they come through the launcher.
        report: The crash report, once it has come.
        stopped: Whether the launcher has told it to end.
        end: How it ended, once the supervisor has noted it.
    """

    def __init__(
        self,
        rank: int,
        process: subprocess.Popen[bytes],
        *,
        streams: list[Stream],
        tail: Tail,
        logs: WorkerLogs,
        report_fd: int,
        error_fd: int,
    ) -> None:
        self.rank = rank
        self.pid = process.pid
        self.pidfd = os.pidfd_open(process.pid)
        self.report_fd = report_fd
        self.streams = streams
        self.report: CrashReport | None = None
        self.stopped = False
        self.end: Exit | None = None
        self._process = process
        self._tail = tail
        self._logs = logs
        self._error_fd = error_fd
        self._report_bytes = b""
        self._notices: list[Notice] = []

    def has_ended(self) -> bool:
        """Look whether the process has ended, reaped or not."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def read_report(self) -> bool:
        """Read what came through the report pipe; returns False once nothing more is wanted.

        What arrives after the launcher told the worker to end is a consequence, not evidence.
        """
        if self.stopped or self.report is not None:
            return False
        data, ended = read_available(self.report_fd)
        notices, self._report_bytes = take_notices(self._report_bytes + data, self.rank)
        self._notices += notices
        self.report = parse_report(self._report_bytes, self.rank)
        return not ended and self.report is None and len(self._report_bytes) < MOST_BYTES

    def take_words(self) -> list[str]:
        """Return what the launcher is to say of the notices that have come, each once."""
        notices, self._notices = self._notices, []
        # The streams: standard output, if it comes through here, and standard error likewise.
        is_shown = 1 not in self._logs.only_file and self.streams[-1].sink is not None
        return [notice.words(self.rank, is_shown=is_shown) for notice in notices]

    def send(self, signum: int, *, whole_group: bool) -> None:
        """Send a signal to the worker, or to it and the processes that it started."""
        if self._process.returncode is not None:
            return
        # The process is not reaped yet, so its number cannot belong to anybody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if whole_group:
                os.killpg(self.pid, signum)
            else:
                signal.pidfd_send_signal(self.pidfd, signum)

    def tell_to_end(self, signum: int, *, whole_group: bool) -> None:
        """Send a signal that ends it; what happens to it from now on is our doing."""
        self.read_report()
        self.stopped = True
        self.send(signum, whole_group=whole_group)

    def reap(self, guardian: Guardian) -> int:
        """End the processes that it left in its group, and return its code as ``Popen`` does.

        The group is killed before the worker is reaped: until then its number is not reused.
        """
        self.send(signal.SIGKILL, whole_group=True)
        guardian.dismiss(self.pid)
        return self._process.wait()

    def witness(self) -> Witness:
        """Return what is known about it, after its end and that of its streams."""
        if self.end is None:
            raise RuntimeError(f"rank {self.rank} still runs")
        for stream in sorted(self._logs.only_file):
            read_back(self._tail, self._logs.paths[stream])
        return Witness(
            end=self.end,
            pid=self.pid,
            lines=self._tail.text_lines(),
            traceback=recorded_traceback(self._error_fd),
            logs=[self._logs.paths[stream] for stream in sorted(self._logs.paths)],
        )

    def close(self) -> None:
        """Close every descriptor, once."""
        for stream in self.streams:
            stream.close()
        self._logs.close()
        for descriptor in (self.report_fd, self._error_fd, self.pidfd):
            os.close(descriptor)
