"""Interpreters that end with a job at work, and with threads that wait for it."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_a_script_may_end_without_shutdown(run_ranks, backend):
    def main():
        hvd.init()
        hvd.allreduce(torch.ones(1))

    run_ranks(2, main, init=False, full_exit=True, env={"RUEDA_BACKEND": backend})


def _wait_until_it_waits(thread):
    """Return once a thread sleeps, and stays where it is while anybody may have the GIL."""
    before, looks = None, 0
    while looks < 5:
        select.select([], [], [], 0.01)
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
        frame = sys._current_frames()[thread.ident]
        place = (stat.rpartition(")")[2].split()[0], frame.f_code, frame.f_lasti)
        looks = looks + 1 if place == before and place[0] == "S" else 0
        before = place


@pytest.mark.parametrize("work", ["barrier", "optimizer"])
def test_interpreters_that_end_while_daemon_threads_wait_end_well(start_ranks, work):
    def main(link):
        hvd.init()
        model = torch.nn.Linear(30, 30)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))

        # The thread computes nothing and frees no tensor once the interpreter ends: PyTorch itself
        # would not survive either (it gives the GIL away in destructors).
        sys.kept = model, optimizer

        def wait():
            model(torch.ones(2, 30)).sum().backward()
            link.tell("at work")
            hvd.barrier() if work == "barrier" else optimizer.step()

        if hvd.rank() == 0:
            thread = threading.Thread(target=wait, daemon=True)
            thread.start()
        link.hear()
        if hvd.rank() == 0:
            _wait_until_it_waits(thread)

    job = start_ranks(2, main, init=False, full_exit=True)
    assert job.hear(0) == "at work"
    job.tell(0, "go")
    assert job.ended(0).code == 0, job.describe()
    job.tell(1, "go")
    assert job.ended(1).code == 0, job.describe()


_DAEMON_THREAD_LETS_GO_LAST = """
import atexit, sys, threading
import rueda as hvd
import rueda._context

asked, at_it = threading.Event(), threading.Event()
through = threading.Lock()
through.acquire()


class Late:
    # When the interpreter is nearly gone: the GIL is free, and the thread comes for it.
    def __del__(self, through=through):
        through.acquire(timeout=0.3)


def let_go():
    asked.wait()
    at_it.set()
    for _ in range(500_000):  # the GIL goes only when the job does, and then to who ends
        pass
    held.clear()
    through.release()


def end():
    sys.setswitchinterval(1000)
    asked.set()
    at_it.wait()
    sys.setswitchinterval(0.005)


sys.late = Late()
atexit.register(end)  # called after what init() registers
hvd.init()
held = [rueda._context.job().operations]
threading.Thread(target=let_go, daemon=True).start()
"""


def test_an_interpreter_ends_well_while_a_daemon_thread_lets_go_of_its_job():
    ended = subprocess.run(
        [sys.executable, "-c", _DAEMON_THREAD_LETS_GO_LAST],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_interpreters_that_end_with_work_in_flight_end_well(start_ranks):
    def main(link):
        hvd.init()
        model = torch.nn.Linear(50, 50)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        model(torch.ones(2, 50)).sum().backward()
        handles = [hvd.allreduce_async(torch.ones(1000), name=str(n)) for n in range(20)]
        link.tell((optimizer is not None, len(handles)))

    job = start_ranks(2, main, init=False, full_exit=True)
    assert [ended.code for ended in job.all_ended()] == [0, 0]
    job.wait_until_empty()
