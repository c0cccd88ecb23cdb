"""An idle job burns no CPU time and makes no system call (I7)."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch

import rueda as hvd

_MOST_OF_A_CORE = 0.005


@pytest.fixture
def seconds(full_size):
    """How long ranks are watched."""
    return 10.0 if full_size else 2.0


@pytest.fixture
def idle_job(start_ranks):
    """Start two ranks and let them come to rest: idle, or rank 0 in a barrier."""

    def main(link, in_barrier):
        hvd.allreduce(torch.ones(1000))
        link.tell("ready")
        if in_barrier and hvd.rank() == 0:
            hvd.barrier()
            return
        link.hear()
        if in_barrier:
            hvd.barrier()

    def start(backend, in_barrier):
        job = start_ranks(2, main, in_barrier, env={"RUEDA_BACKEND": backend})
        for rank in range(2):
            assert job.hear(rank) == "ready"
        for rank in range(2):
            job.wait_until_asleep(rank)
        return job

    return start


def _cpu_seconds(pid):
    """What all threads of a process have used; exact, unlike the clock ticks in /proc/pid/stat."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("in_barrier", [False, True])
def test_waiting_uses_no_cpu_time(idle_job, seconds, backend, in_barrier):
    job = idle_job(backend, in_barrier)
    before = [(time.monotonic(), _cpu_seconds(pid)) for pid in job.pids]
    threading.Event().wait(seconds)  # what is watched is that nothing happens
    for pid, (since, used) in zip(job.pids, before, strict=True):
        share = (_cpu_seconds(pid) - used) / (time.monotonic() - since)
        assert share < _MOST_OF_A_CORE
    job.tell(1, "go")
    if not in_barrier:
        job.tell(0, "go")
    job.results()


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_an_idle_rank_makes_no_system_call(idle_job, seconds, backend):
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    job = idle_job(backend, in_barrier=False)
    watched = [word for pid in job.pids for word in ("-p", str(pid))]
    # It ends by itself: the threads it watches do not.
    traced = subprocess.run(
        ["timeout", "-s", "INT", str(seconds), "strace", "-f", "-c", *watched],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert traced.stderr.count(" attached with ") == 2, traced.stderr
    # The table is left out when there is nothing to put into it. Calls that were under way when
    # strace came may be counted as restarted, once a thread.
    rows = [line.split() for line in traced.stderr.splitlines() if line[:1] in " 0123456789"]
    calls = {
        row[-1]: int(row[3]) for row in rows if row and row[0][0].isdigit() and row[3].isdigit()
    }
    calls.pop("total", None)
    assert set(calls) <= {"restart_syscall"}, traced.stderr
    job.tell(0, "go")
    job.tell(1, "go")
    job.results()
