"""Who hears of hosts that come and go: every state under ``run``, told by whoever calls in."""

from __future__ import annotations

import threading
from enum import IntFlag
from typing import Any, Protocol


class HostUpdateResult(IntFlag):
    """What became of the hosts."""

    no_update = 0
    removed = 1
    added = 2
    mixed = removed | added


class Listener(Protocol):
    """What is told; ``State`` is one."""

    def on_hosts_updated(self, timestamp: float, update_res: int) -> None:
        """Take the news; any thread."""


class WorkerNotificationManager:
    """Passes news of hosts on to its listeners. Any thread may call it.

    Nothing calls ``handle_hosts_updated`` by itself: a job keeps its ranks, so there is no driver
    that could. A program that watches its hosts may; only rank 0's news count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def init(self, *_: Any, **__: Any) -> None:
        """Accept what Horovod's takes; no service is started, for nobody would call it."""

    def register_listener(self, listener: Listener) -> None:
        """Tell this one, too, from now on."""
        with self._lock:
            self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell it no longer; do nothing if it was not told before."""
        with self._lock:
            self._listeners = [one for one in self._listeners if one is not listener]

    def handle_hosts_updated(self, timestamp: float, update_res: int) -> None:
        """Tell all listeners.

        Args:
            timestamp: When it happened; news that are not later than the last are passed over.
            update_res: A ``HostUpdateResult``.
        """
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.on_hosts_updated(timestamp, update_res)


notification_manager = WorkerNotificationManager()
