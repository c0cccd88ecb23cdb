"""Starts the ranks of a run, as ``rueda.run`` does, and hands their results on as they come."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence

from rueda._bench import task
from rueda._bench.plan import Case
from rueda._bench.rows import Measured, measured_from
from rueda._bench.settings import Settings
from rueda._run.call import run as run_function

Began = Callable[[Case], None]
Told = Callable[[Case, list[Measured]], None]


def run_cases(settings: Settings, cases: Sequence[Case], began: Began, told: Told) -> None:
    """Measure cases on new ranks and call back, from a thread of its own, for each of them.

    The board is memory without a name and the events come through a pipe; the ranks open both
    through this process's descriptors, so nothing is left when it ends.

    Raises:
        Exception: As ``rueda.run``.
    """
    from rueda._bench_core import BOARD_BYTES  # noqa: PLC0415 - ``--help`` works without a build

    with contextlib.ExitStack() as stack:
        board = os.memfd_create("rueda-bench-board", os.MFD_CLOEXEC)
        stack.callback(os.close, board)
        os.ftruncate(board, BOARD_BYTES)
        # Short: sockets lie in it. Only this user can enter it.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rueda-bench-"))
        reading, writing = os.pipe2(os.O_CLOEXEC)
        listener = threading.Thread(target=_listen, args=(reading, cases, began, told))
        listener.start()
        try:
            work = task.Work(
                cases=tuple(cases),
                rounds=settings.rounds,
                sample_seconds=settings.sample_seconds,
                board_path=f"/proc/{os.getpid()}/fd/{board}",
                events_path=f"/proc/{os.getpid()}/fd/{writing}",
                folder=folder,
            )
            run_function(task.do, (work,), num_proc=settings.ranks)
        finally:
            # The ranks are gone, so this is the last writing end, and the listener sees the end.
            os.close(writing)
            listener.join()


def _listen(reading: int, cases: Sequence[Case], began: Began, told: Told) -> None:
    with open(reading, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            case = cases[event["case"]]
            if event["event"] == "begins":
                began(case)
            else:
                told(case, [measured_from(result) for result in event["results"]])
