"""Watches the workers of one job from start to end: the launcher's only loop.

It sleeps in one place, on the workers' pipes and pidfds and on a pipe of signals, with a time
limit only while something is being ended. So a launcher whose workers are quiet makes no system
call. It is, and must stay, the only thread of its process (child.py says why).
"""

from __future__ import annotations

import functools
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence

from rueda.launch import ending
from rueda.launch.console import Console
from rueda.launch.guardian import Guardian
from rueda.launch.oom import oom_kills
from rueda.launch.output import ENDS, REPORTS, SIGNALS_FIRST, OutputPump
from rueda.launch.signals import ENDING, PASSED_ON, SignalPipe
from rueda.launch.verdict import Exit, signal_of
from rueda.launch.worker import Worker

# Pressing Ctrl-C twice takes longer than this; timeout(1) sends one signal twice at once.
_TWICE_S = 0.25


class Supervisor:
    """Runs until every worker has ended and everything they wrote is passed on.

    Attributes:
        signum: The signal that ended the job, or None.
        failed: Whether a worker failed before anybody asked the job to end.
        reader_lost: Whether the job was ended because nobody reads its output any more.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        console: Console,
        guardian: Guardian,
        signals: SignalPipe,
        *,
        started: float,
        oom_kills_before: int | None,
        grace_s: float,
        signal_groups: bool,
    ) -> None:
        """Prepare to watch.

        Args:
            workers: All workers of the job, just started.
            console: Where their output goes.
            guardian: Where they are enrolled.
            signals: The launcher's signals.
            started: When the first worker was started, on the monotonic clock.
            oom_kills_before: What ``oom_kills`` counted before that.
            grace_s: Time between a signal that ends the job and SIGKILL.
            signal_groups: Whether signals go to the workers' whole process groups.
        """
        self.signum: int | None = None
        self.failed = False
        self.reader_lost = False
        self._workers = workers
        self._running = {worker.rank: worker for worker in workers}
        self._console = console
        self._guardian = guardian
        self._signals = signals
        self._grace_s = grace_s
        self._signal_groups = signal_groups
        self._started = started
        self._oom_kills_before = oom_kills_before
        self._steps: list[ending.Step] = []
        self._first_interrupt: float | None = None
        self._seen: set[int] = set()
        self._told_to_leave = False
        self._selector = selectors.DefaultSelector()
        self._output = OutputPump(self._selector, console)

    def run(self) -> None:
        """Watch the job to its end."""
        self._watch(self._signals.descriptor, SIGNALS_FIRST, self._on_signals)
        for worker in self._workers:
            self._output.add(worker.streams)
            self._watch(worker.report_fd, REPORTS, functools.partial(self._on_report, worker))
            self._watch(worker.pidfd, ENDS, functools.partial(self._on_end, worker))
        # What was said while the workers were started is waiting.
        self._output.settle(time.monotonic())
        while self._running or self._output.reading:
            self._turn()

    def drain(self) -> None:
        """After ``run``: write what is queued; a signal that ends jobs gives up on it."""
        self._output.settle(time.monotonic())
        while self._console.pending and not self._told_to_leave:
            self._turn()

    def close(self) -> None:
        """Close the selector; the descriptors in it belong to others."""
        self._selector.close()

    def _watch(self, descriptor: int, priority: int, call: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, (priority, call))

    def _turn(self) -> None:
        """Sleep until something happens, and deal with it."""
        events = self._selector.select(self._seconds_to_deadline())
        watched = self._selector.get_map()
        for key, _ in sorted(events, key=lambda event: event[0].data[0]):
            if watched.get(key.fd) is key:  # Not if a call before this one ended the watch.
                key.data[1]()
        now = time.monotonic()
        if any(sink.broken_pipe for sink in self._console.distinct):
            self._on_lost_reader(now)
        self._advance(now)
        self._output.settle(now)

    def _seconds_to_deadline(self) -> float | None:
        deadlines = [self._output.next_deadline, self._steps[0].at if self._steps else None]
        nearest = min((at for at in deadlines if at is not None), default=None)
        return None if nearest is None else max(0.0, nearest - time.monotonic())

    def _advance(self, now: float) -> None:
        """Carry out the steps of the plan to end the job that are due."""
        while self._running and self._steps and self._steps[0].at <= now:
            step = self._steps.pop(0)
            if step.signum is None:
                self._give_up()
            else:
                self._end_all(step.signum)
        if not self._running:
            self._steps.clear()

    def _end_all(self, signum: int) -> None:
        """Send a signal that is meant to end a worker to all that still run."""
        whole_group = self._signal_groups or signum == signal.SIGKILL
        for worker in list(self._running.values()):
            # One that is dead already died by itself; its end only waits to be looked at.
            if worker.has_ended():
                self._on_end(worker)
            else:
                worker.tell_to_end(signum, whole_group=whole_group)

    def _give_up(self) -> None:
        for worker in list(self._running.values()):
            self._console.say(
                f"ruedarun: rank {worker.rank}, pid {worker.pid}, does not end even by SIGKILL: "
                "it hangs in the kernel; ruedarun waits no longer"
            )
            self._leave(worker, -signal.SIGKILL)

    def _on_report(self, worker: Worker) -> None:
        if not worker.read_report():
            self._selector.unregister(worker.report_fd)
        for words in worker.take_words():
            self._console.say(words)
        # A forked child of a worker may fail without its parent.
        if worker.report is not None and worker.report.pid == worker.pid:
            self._on_failure(time.monotonic())

    def _on_end(self, worker: Worker) -> None:
        worker.read_report()
        code = worker.reap(self._guardian)
        self._leave(worker, code)
        if code != 0 and not worker.stopped:
            self._on_failure(time.monotonic())

    def _leave(self, worker: Worker, code: int) -> None:
        """Note how a worker ended and stop watching it."""
        now = time.monotonic()
        killed = signal_of(code) == signal.SIGKILL and not worker.stopped
        worker.end = Exit(
            rank=worker.rank,
            code=code,
            seconds=now - self._started,
            stopped=worker.stopped,
            report=worker.report,
            out_of_memory=killed and self._out_of_memory(),
        )
        for descriptor in (worker.pidfd, worker.report_fd):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        del self._running[worker.rank]
        self._output.worker_ended(worker.streams, now)

    def _out_of_memory(self) -> bool:
        after = oom_kills()
        before = self._oom_kills_before
        return after is not None and before is not None and after > before

    def _on_failure(self, now: float) -> None:
        if self.signum is None and not self.reader_lost and not self.failed:
            self.failed = True
            self._steps = ending.after_failure(now, self._grace_s)

    def _on_lost_reader(self, now: float) -> None:
        if self.signum is None and not self.failed and not self.reader_lost and self._running:
            self.reader_lost = True
            self._steps = ending.after_lost_reader(now, self._grace_s)

    def _on_signals(self) -> None:
        for signum in self._signals.read():
            if signum in PASSED_ON:
                for worker in self._running.values():
                    worker.send(signum, whole_group=self._signal_groups)
            elif signum == signal.SIGTSTP:
                self._suspend()
            elif signum in ENDING:
                self._on_ending_signal(signum, time.monotonic())

    def _suspend(self) -> None:
        """Stop the workers and ourselves, and go on together: Ctrl-Z and fg."""
        for worker in self._running.values():
            worker.send(signal.SIGSTOP, whole_group=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        for worker in self._running.values():
            worker.send(signal.SIGCONT, whole_group=True)

    def _on_ending_signal(self, signum: int, now: float) -> None:
        if not self._running:
            self._told_to_leave = True
            return
        if signum == signal.SIGINT:
            if self._first_interrupt is None:
                self._first_interrupt = now
            elif now - self._first_interrupt > _TWICE_S:
                self._steps = ending.at_once(now)
                return
        if signum in self._seen:
            return
        self._seen.add(signum)
        if self.signum is None and (not self.failed or self._all_died_of(signum)):
            self.signum = signum
            self.failed = False
            self._steps = ending.after_signal(now, signum, self._grace_s)
        else:
            self._end_all(signum)

    def _all_died_of(self, signum: int) -> bool:
        """Say whether what looked like a failure was this signal, sent to everybody at once."""
        ends = [worker.end for worker in self._workers if worker.end is not None]
        return all(end.code in (0, -signum) for end in ends)
