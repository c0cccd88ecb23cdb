"""Ctrl-C while waiting: KeyboardInterrupt at once, and the job stays usable or ends in order."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

import rueda as hvd


@pytest.fixture
def interrupt():
    """Interrupt a rank until it says that it was interrupted while waiting.

    A signal that arrives just before the wait is a KeyboardInterrupt, too, but of another line; so
    the rank tells that it is about to wait, and is interrupted when it sleeps.
    """

    def send(job, rank):
        assert job.hear(rank) == "about to wait"
        job.wait_until_asleep(rank)
        job.signal(rank, signal.SIGINT)

    return send


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_an_interrupted_wait_can_be_resumed(start_ranks, interrupt, backend):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
            hvd.allreduce(torch.ones(2), name="x", op=hvd.Sum)
            return hvd.allreduce(torch.ones(2), name="y", op=hvd.Sum).tolist()
        handle = hvd.allreduce_async(torch.ones(2), name="x", op=hvd.Sum)
        for _ in range(2):
            link.tell("about to wait")
            with pytest.raises(KeyboardInterrupt):
                hvd.synchronize(handle)
        link.tell("interrupted")
        assert hvd.synchronize(handle).tolist() == [2.0, 2.0]
        return hvd.allreduce(torch.ones(2), name="y", op=hvd.Sum).tolist()

    job = start_ranks(2, main, env={"RUEDA_BACKEND": backend})
    interrupt(job, 0)
    interrupt(job, 0)
    assert job.hear(0) == "interrupted"
    job.tell(1, "go")
    assert job.results() == [[2.0, 2.0]] * 2


@pytest.mark.parametrize(
    "wait",
    [
        hvd.barrier,
        lambda: hvd.allreduce(torch.ones(3)),
        lambda: hvd.broadcast_object("x", 1),
        lambda: hvd.allgather_object("x"),
    ],
)
def test_every_wait_can_be_interrupted_and_the_others_hear_why(start_ranks, interrupt, wait):
    def main(link):
        link.tell("about to wait")
        if hvd.rank() == 1:
            link.hear()
        wait()

    job = start_ranks(2, main)
    assert job.hear(1) == "about to wait"
    interrupt(job, 0)
    ended = job.ended(0)
    assert "KeyboardInterrupt" in ended.output
    assert ended.code in (1, -signal.SIGINT)
    job.tell(1, "go")
    other = job.ended(1)
    assert isinstance(other.error, hvd.HorovodInternalError)
    assert other.error.rank == 0
    job.wait_until_empty()


def test_an_interrupted_step_can_be_made_again(start_ranks, interrupt):
    def main(link):
        model = torch.nn.Linear(3, 2)
        with torch.no_grad():
            model.weight.fill_(1)
            model.bias.fill_(1)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        model(torch.ones(1, 3) * (hvd.rank() + 1)).sum().backward()
        if hvd.rank() == 1:
            link.hear()
        else:
            link.tell("about to wait")
            # Rank 1's gradients are there; its part of the next all-reduce is not.
            with pytest.raises(KeyboardInterrupt):
                hvd.barrier()
            link.tell("interrupted")
        optimizer.step()
        return model.weight.tolist(), model.bias.tolist()

    job = start_ranks(2, main)
    interrupt(job, 0)
    assert job.hear(0) == "interrupted"
    job.tell(1, "go")
    first, second = (job.ended(rank).value for rank in range(2))
    assert first == second
    assert first[0][0][0] == pytest.approx(1 - 0.1 * 1.5)


def test_an_interrupted_init_leaves_nothing(start_ranks, interrupt):
    def main(link):
        if int(os.environ["RANK"]) == 1:
            link.hear()
            hvd.init()
            hvd.barrier()
            hvd.shutdown()
            return
        before = sorted(Path("/proc/self/fd").iterdir())
        link.tell("about to wait")
        with pytest.raises(KeyboardInterrupt):
            hvd.init()
        assert not hvd.is_initialized()
        assert sorted(Path("/proc/self/fd").iterdir()) == before
        assert threading.active_count() == 1
        link.tell("interrupted")
        hvd.init()
        hvd.barrier()
        hvd.shutdown()

    job = start_ranks(2, main, init=False)
    interrupt(job, 0)
    assert job.hear(0) == "interrupted"
    job.tell(1, "go")
    job.results()
