"""poll: False while a peer withholds its part, True when all is done, and it drives nothing."""

from __future__ import annotations

import os

import pytest
import torch

import rueda as hvd

_SIZE = 3


def _start(kind):
    own = torch.ones(_SIZE)
    return {
        "allreduce": lambda: hvd.allreduce_async(own, name="x"),
        "allreduce_": lambda: hvd.allreduce_async_(own, name="x"),
        "adasum": lambda: hvd.allreduce_async(own, name="x", op=hvd.Adasum),
        "grouped_allreduce": lambda: hvd.grouped_allreduce_async([own, own], name="x"),
        "allgather": lambda: hvd.allgather_async(own, "x"),
        "grouped_allgather": lambda: hvd.grouped_allgather_async([own], "x"),
        "broadcast": lambda: hvd.broadcast_async(own, 1, "x"),
        "alltoall": lambda: hvd.alltoall_async(own, name="x"),
        "alltoall with splits": lambda: hvd.alltoall_async(own, [1] * _SIZE, "x"),
        "reducescatter": lambda: hvd.reducescatter_async(own, "x"),
        "grouped_reducescatter": lambda: hvd.grouped_reducescatter_async([own], "x"),
        "reduce": lambda: hvd.reduce_async(own, 1, name="x"),
        "gather": lambda: hvd.gather_async(own, 1, "x"),
        "scatter": lambda: hvd.scatter_async(own, 1, name="x"),
    }[kind]()


_KINDS = [
    "allreduce",
    "allreduce_",
    "adasum",
    "grouped_allreduce",
    "allgather",
    "grouped_allgather",
    "broadcast",
    "alltoall",
    "alltoall with splits",
    "reducescatter",
    "grouped_reducescatter",
    "reduce",
    "gather",
    "scatter",
]


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("withholds", [0, 2])
def test_each_rank_knows_when_all_have_offered_and_the_work_is_done(
    start_ranks, withholds, backend, report_figure
):
    def main(link):
        early = late = 0
        for kind in _KINDS:
            if hvd.rank() == withholds:
                link.hear()
            handle = _start(kind)
            if hvd.rank() != withholds:
                for _ in range(20):
                    assert hvd.poll(handle) is False, kind
                    early += 1
                link.tell(kind)
            while not hvd.poll(handle):
                os.sched_yield()
            assert hvd.poll(handle) is True
            late += 1
            assert hvd.synchronize(handle) is not None
            with pytest.raises(ValueError, match=f"handle {handle} is not known"):
                hvd.poll(handle)
            assert hvd.synchronize(handle) is None
        return early, late

    job = start_ranks(_SIZE, main, env={"RUEDA_BACKEND": backend})
    for kind in _KINDS:
        for rank in range(_SIZE):
            if rank != withholds:
                assert job.hear(rank) == kind
        job.tell(withholds, "go")
    early, late = (sum(counts) for counts in zip(*job.results(), strict=True))
    report_figure(
        f"poll, rank {withholds} of {_SIZE} withholds ({backend}): {len(_KINDS)} calls, "
        f"{early} times False before it offered its part, {late} times True when all was done"
    )


def test_work_is_done_without_anybody_who_polls_or_waits(start_ranks):
    def main(link):
        if hvd.rank() == 0:
            link.hear()
        handle = hvd.allreduce_async(torch.ones(3), name="x", op=hvd.Sum)
        link.tell("offered")
        # Nobody polls until all are known to have offered long ago.
        link.hear()
        done = hvd.poll(handle)
        hvd.synchronize(handle)
        return done

    job = start_ranks(2, main)
    job.hear(1)
    job.tell(0, "go")
    job.hear(0)
    for rank in (0, 1):
        # Its engine rests when all is done.
        job.wait_until_asleep(rank)
        job.tell(rank, "poll")
    assert job.results() == [True, True]


def test_a_poll_of_failed_work_says_that_it_is_done(run_ranks):
    def main():
        handle = hvd.allreduce_async(torch.ones(2 + hvd.rank()), name="x")
        while not hvd.poll(handle):
            os.sched_yield()
        with pytest.raises(hvd.HorovodInternalError, match="shape"):
            hvd.synchronize(handle)
        with pytest.raises(ValueError, match="is not known"):
            hvd.poll(handle)
        assert hvd.synchronize(handle) is None

    run_ranks(2, main)


@pytest.mark.parametrize("handle", [-1, 10**9])
def test_an_unknown_handle_is_a_value_error(run_ranks, handle):
    def main():
        with pytest.raises(ValueError, match=f"handle {handle} is not known"):
            hvd.poll(handle)

    run_ranks(1, main)
