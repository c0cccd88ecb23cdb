"""Calls of ``rueda.run``, after which no process and no descriptor may be left."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

MARK = "RUN_TEST_MARK"
END_S = 20.0  # of a loaded machine


def _processes(mark: str) -> dict[int, str]:
    """Return the commands of what runs under a mark, but not this process, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = command
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fail when a test leaves a process or an open file; the value is the mark of its processes."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "RUEDA_RANK"):
        monkeypatch.delenv(name, raising=False)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - plain numbers are wanted
    yield mark
    until = time.monotonic() + END_S
    while _processes(mark) and time.monotonic() < until:
        select.select([], [], [], 0.01)
    strays = _processes(mark)
    for pid in strays:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert strays == {}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
