"""A rank that hangs without dying: stopped by a signal, or busy elsewhere."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("stopped", [1, 2])
def test_a_rank_stopped_in_the_middle_of_its_work_ends_the_job_by_name(
    start_ranks, stopped, backend
):
    def main(link):
        own = torch.ones(1_000_000)
        link.tell("go")
        while True:
            hvd.allreduce_(own, name="x")

    # Whether it stops inside a bucket, which is timed, or before its next offer, which is a stall.
    env = {"RUEDA_TIMEOUT_SECONDS": "0.5", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "0.5"}
    job = start_ranks(3, main, env={"RUEDA_BACKEND": backend, **env})
    for rank in range(3):
        job.hear(rank)
    stopped_at = job.stop(stopped)
    for rank in {0, 1, 2} - {stopped}:
        ended = job.ended(rank)
        assert isinstance(ended.error, hvd.HorovodInternalError), job.describe()
        assert ended.error.code in ("R302", "R304")
        # Over Gloo's ring those between wait for each other, too: then all are named, none blamed.
        assert ended.error.rank == stopped or (backend == "gloo" and ended.error.rank is None)
        assert f"rank {stopped} (pid {job.pids[stopped]}" in str(ended.error)
        # Half a second is the limit; loaded machines get more, but not as much as the default.
        assert ended.raised_at - stopped_at < 5.0
    # When it goes on it learns that the job is over.
    job.signal(stopped, signal.SIGCONT)
    assert isinstance(job.ended(stopped).error, hvd.HorovodInternalError)
    job.wait_until_empty()


def test_a_rank_that_is_late_is_waited_for_and_reported(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
        return hvd.allreduce(torch.ones(1), name="late", op=hvd.Sum).item()

    env = {"RUEDA_STALL_CHECK_TIME_SECONDS": "0.3", "RUEDA_TIMEOUT_SECONDS": "0.2"}
    job = start_ranks(2, main, env=env)
    job.wait_for_output(0, "allreduce 'late' waits for rank 1")
    text = job.output(0)
    assert "[rueda, rank 0] warning: stalled for " in text
    assert f"rank 1 (pid {job.pids[1]} on {os.uname().nodename})" in text
    job.tell(1, "go")
    assert job.results() == [2.0, 2.0]


def test_the_stall_limit_ends_the_job_on_all_ranks(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
        hvd.allreduce(torch.ones(1), name="late")

    env = {"RUEDA_STALL_CHECK_TIME_SECONDS": "0.1", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "0.4"}
    job = start_ranks(3, main, env=env)
    texts = []
    for rank in (0, 2):
        ended = job.ended(rank)
        assert (ended.error.code, ended.error.rank) == ("R304", 1)
        texts.append(str(ended.error))
    assert texts[0] == texts[1]
    assert "'late'" in texts[0]
    assert "Rank 1 is in _receive (" in texts[0]
    job.tell(1, "go")
    assert job.ended(1).error.code == "R304"


@pytest.mark.parametrize("rank_with_the_lock", [0, 1])
def test_a_rank_that_holds_the_interpreter_lock_still_takes_part(start_ranks, rank_with_the_lock):
    def main(link):
        if hvd.rank() != rank_with_the_lock:
            link.tell(hvd.allreduce(torch.ones(1000), name="x", op=hvd.Sum).sum().item())
            return
        handle = hvd.allreduce_async(torch.ones(1000), name="x", op=hvd.Sum)
        # PyDLL keeps the lock during the call, which ends when the test sends a word.
        waited_for = ctypes.create_string_buffer(
            struct.pack("ihh", link.fileno(), select.POLLIN, 0)
        )
        ctypes.PyDLL(None).poll(waited_for, 1, -1)
        link.tell(hvd.synchronize(handle).sum().item())

    job = start_ranks(2, main)
    assert job.hear(1 - rank_with_the_lock) == 2000.0
    job.tell(rank_with_the_lock, "go on")
    assert job.hear(rank_with_the_lock) == 2000.0
    job.results()
