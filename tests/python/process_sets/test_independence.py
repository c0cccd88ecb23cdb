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


@pytest.mark.parametrize("shuts_down", [False, True])
def test_rank_0_may_end_before_sets_without_it(run_ranks, shuts_down):
    """It agrees for all sets, so its process stays until they are done."""

    def main():
        hvd.init()
        others = hvd.add_process_set([1, 2])
        if others.included():
            # Once rank 0 has left.
            with pytest.raises(hvd.HorovodInternalError, match=r"R202.*rank 0"):
                hvd.allreduce(torch.ones(1), name="of all")
            for step in range(50):
                own = torch.full((step * 100 + 1,), float(step))
                assert hvd.allreduce(own, op=hvd.Sum, process_set=others).eq(2 * step).all()
        elif shuts_down:
            hvd.shutdown()
            hvd.shutdown()
            assert not hvd.is_initialized()

    run_ranks(3, main, init=False, env=_DYNAMIC)


def test_after_an_exception_rank_0_does_not_stay(start_ranks):
    def main():
        others = hvd.add_process_set([1, 2])
        if not others.included():
            raise ValueError("a label is out of range")
        with pytest.raises(hvd.HorovodInternalError, match=r"R202.*rank 0.*a label is out of"):
            while True:
                hvd.allreduce(torch.ones(1), process_set=others)

    job = start_ranks(3, main, interactive=False, env=_DYNAMIC)
    assert [ended.code for ended in job.all_ended()] == [1, 0, 0], job.describe()
