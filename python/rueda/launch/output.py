"""Moves the workers' output to the launcher's own, without ever waiting for a slow reader."""

from __future__ import annotations

import functools
import selectors
from collections.abc import Callable, Sequence

from rueda.launch.console import Console
from rueda.launch.sink import Sink
from rueda.launch.worker import Stream

# Order in which the events of one wake-up are handled: signals, output, crash reports, ends. So
# a worker's last words are known when its end is looked at.
SIGNALS_FIRST, OUTPUT, REPORTS, ENDS = range(4)

# When a slow reader lets this much pile up, workers' pipes are left unread until it has drained:
# the workers then wait in their own writes, as they would without a launcher.
_HIGH_BYTES = 512 * 1024
_LOW_BYTES = 64 * 1024
# Time for a pipe to reach its end after its worker has ended. A process that left the worker's
# group may hold it open for ever.
_LAST_WORDS_S = 0.5


class OutputPump:
    """Reads streams and writes sinks by way of the supervisor's selector."""

    def __init__(self, selector: selectors.BaseSelector, console: Console) -> None:
        self._selector = selector
        self._console = console
        self._streams: list[Stream] = []
        self._deadlines: dict[Stream, float] = {}
        self._paused: set[Sink] = set()
        self._writing: set[Sink] = set()
        self._told: set[object] = set()

    @property
    def reading(self) -> bool:
        """Whether any stream is still open."""
        return bool(self._streams)

    @property
    def next_deadline(self) -> float | None:
        """When ``settle`` has to be called at the latest, or None."""
        return min(self._deadlines.values(), default=None)

    def add(self, streams: Sequence[Stream]) -> None:
        """Begin to read streams."""
        for stream in streams:
            self._streams.append(stream)
            self._watch(stream.descriptor, selectors.EVENT_READ, self._on_readable, stream)

    def worker_ended(self, streams: Sequence[Stream], now: float) -> None:
        """Give the streams of an ended worker a last moment."""
        for stream in streams:
            if stream.is_open:
                self._deadlines[stream] = now + _LAST_WORDS_S

    def settle(self, now: float) -> None:
        """After each wake-up: let go of what is overdue, and wait for what is wanted next."""
        for stream in [late for late, at in self._deadlines.items() if at <= now]:
            self._forget(stream)
            stream.abandon()
        self._settle_sinks()
        if self._say_what_is_lost():
            self._settle_sinks()

    def _settle_sinks(self) -> None:
        for sink in self._console.distinct:
            self._settle_sink(sink)

    def _settle_sink(self, sink: Sink) -> None:
        while sink.pending and not sink.pollable:
            sink.flush()  # A file takes all of it, or fails.
        if bool(sink.pending) != (sink in self._writing):
            self._writing ^= {sink}
            if sink.pending:
                self._watch(sink.descriptor, selectors.EVENT_WRITE, sink.flush)
            else:
                self._selector.unregister(sink.descriptor)
        if sink not in self._paused and sink.pending > _HIGH_BYTES:
            self._paused.add(sink)
            for stream in self._of(sink):
                self._selector.unregister(stream.descriptor)
        elif sink in self._paused and sink.pending < _LOW_BYTES:
            self._paused.remove(sink)
            for stream in self._of(sink):
                self._watch(stream.descriptor, selectors.EVENT_READ, self._on_readable, stream)

    def _of(self, sink: Sink) -> list[Stream]:
        return [stream for stream in self._streams if stream.sink is sink]

    def _on_readable(self, stream: Stream) -> None:
        if not stream.read():
            self._forget(stream)
            stream.close()

    def _forget(self, stream: Stream) -> None:
        self._streams.remove(stream)
        self._deadlines.pop(stream, None)
        if stream.sink not in self._paused:
            self._selector.unregister(stream.descriptor)

    def _watch(self, descriptor: int, event: int, call: Callable[..., None], *args: object) -> None:
        self._selector.register(descriptor, event, (OUTPUT, functools.partial(call, *args)))

    def _say_what_is_lost(self) -> bool:
        """Say once for each output that it takes no more; the job itself goes on."""
        told_before = len(self._told)
        for stream in self._streams:
            if stream.log_error is not None and stream not in self._told:
                self._told.add(stream)
                self._console.say(
                    f"ruedarun: the log of rank {stream.rank} cannot be written "
                    f"({stream.log_error.strerror}); it ends here"
                )
        for sink, name in zip(self._console.sinks, ("output", "error"), strict=True):
            if sink.error is not None and not sink.broken_pipe and sink not in self._told:
                self._told.add(sink)
                self._console.say(
                    f"ruedarun: standard {name} cannot be written ({sink.error.strerror}); "
                    "what the workers write there is dropped"
                )
        return len(self._told) > told_before
