"""Process sets do not wait for each other."""

from __future__ import annotations

import signal

import pytest
import torch

import rueda as hvd

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_a_member_that_withholds_its_part_holds_up_its_own_set_alone(start_ranks, backend):
    def main(link):
        slow, quick = hvd.add_process_set([1, 3]), hvd.add_process_set([1, 2])
        if hvd.rank() == 3:
            link.hear()
            hvd.allreduce(torch.ones(1000), op=hvd.Sum, process_set=slow)
        if hvd.rank() == 1:
            held = hvd.allreduce_async(torch.ones(1000), op=hvd.Sum, process_set=slow)
        if quick.included():
            for step in range(50):
                own = torch.full((100,), float(step))
                assert hvd.allreduce(own, op=hvd.Sum, process_set=quick).eq(2 * step).all()
        if hvd.rank() == 1:
            assert not hvd.poll(held)
            link.tell("others went on")
            assert hvd.synchronize(held).eq(2.0).all()
        hvd.barrier()

    job = start_ranks(4, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})
    assert job.hear(1) == "others went on"
    job.tell(3, "go")
    job.results()


def test_a_member_that_stops_while_it_sums_holds_up_its_own_set_alone(start_ranks):
    def main(link):
        slow, quick = hvd.add_process_set([1, 3]), hvd.add_process_set([1, 2])
        if hvd.rank() == 3:
            handle = hvd.allreduce_async(torch.ones(1 << 20), op=hvd.Sum, process_set=slow)
            link.tell("offered")
            link.hear()
            hvd.synchronize(handle)
        elif quick.included():
            if hvd.rank() == 1:
                link.hear()
                handle = hvd.allreduce_async(torch.ones(1 << 20), op=hvd.Sum, process_set=slow)
            for step in range(50):
                own = torch.full((100,), float(step))
                assert hvd.allreduce(own, op=hvd.Sum, process_set=quick).eq(2 * step).all()
            if hvd.rank() == 1:
                assert not hvd.poll(handle)
                link.tell("others went on")
                assert hvd.synchronize(handle).eq(2.0).all()
        hvd.barrier()

    job = start_ranks(4, main, env=_DYNAMIC)
    assert job.hear(3) == "offered"
    # Its engine has offered by the time that it sleeps; the bucket begins with rank 1's offer.
    job.wait_until_asleep(3)
    job.stop(3)
    job.tell(1, "go")
    try:
        assert job.hear(1) == "others went on"
    finally:
        job.signal(3, signal.SIGCONT)
    job.tell(3, "go")
    job.results()


def test_adding_a_set_does_not_wait_for_work_of_others(start_ranks):
    def main(link):
        pair = hvd.add_process_set([0, 1])
        handle = None
        if hvd.rank() == 0:
            handle = hvd.allreduce_async(torch.ones(1), op=hvd.Sum, process_set=pair)
        other = hvd.add_process_set([0, 2])
        if hvd.rank() == 0:
            assert not hvd.poll(handle)
            link.tell(other.process_set_id)
            return hvd.synchronize(handle).item()
        if hvd.rank() == 1:
            link.hear()
            return hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=pair).item()
        return None

    job = start_ranks(3, main, env=_DYNAMIC)
    assert job.hear(0) == 2
    job.tell(1, "go")
    assert job.results() == [2.0, 2.0, None]
