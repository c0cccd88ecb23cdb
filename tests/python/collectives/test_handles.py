"""Handles, names, submission orders, barriers and threads."""

from __future__ import annotations

import os
import random
import threading

import pytest
import torch

import rueda as hvd


def test_poll_tells_when_an_operation_is_done_and_synchronize_forgets_it(start_ranks):
    def main(link):
        own = torch.ones(2)
        if hvd.rank() == 1:
            link.hear()
            hvd.allreduce(own, name="late", op=hvd.Sum)
            return
        handle = hvd.allreduce_async(own, name="late", op=hvd.Sum)
        assert isinstance(handle, int)
        assert hvd.poll(handle) is False
        link.tell("offered")
        while not hvd.poll(handle):
            os.sched_yield()
        assert hvd.synchronize(handle).tolist() == [2.0, 2.0]
        assert hvd.synchronize(handle) is None
        with pytest.raises(ValueError, match=f"handle {handle} is not known"):
            hvd.poll(handle)

    job = start_ranks(2, main)
    job.hear(0)
    job.tell(1, "go")
    job.results()


@pytest.mark.parametrize("handle", [0, -1, 123456789])
def test_unknown_handles(run_ranks, handle):
    def main():
        assert hvd.synchronize(handle) is None
        with pytest.raises(ValueError, match=f"handle {handle} is not known"):
            hvd.poll(handle)

    run_ranks(1, main)


def test_handles_of_an_earlier_job_are_unknown(run_ranks):
    def main():
        old = hvd.allreduce_async(torch.ones(1))
        hvd.shutdown()
        hvd.init()
        assert hvd.synchronize(old) is None
        assert hvd.allreduce_async(torch.ones(1)) > old

    run_ranks(2, main)


def test_the_same_name_twice_in_flight_is_refused_and_the_first_goes_on(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
            return hvd.allreduce(torch.ones(1), name="same", op=hvd.Sum).item()
        handle = hvd.allreduce_async(torch.ones(1), name="same", op=hvd.Sum)
        for again in (hvd.allreduce_async, hvd.allreduce, hvd.allgather):
            with pytest.raises(ValueError, match="'same' is already in flight on this rank"):
                again(torch.ones(1), name="same")
        link.tell("checked")
        return hvd.synchronize(handle).item()

    job = start_ranks(2, main)
    job.hear(0)
    job.tell(1, "go")
    assert job.results() == [2.0, 2.0]


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_may_submit_in_any_order(run_ranks, size, backend):
    def main():
        shuffle = random.Random(hvd.rank()).shuffle
        for _ in range(20):
            numbers = list(range(40))
            shuffle(numbers)
            handles = {}
            for number in numbers:
                own = torch.full((number * 37,), float(hvd.rank() + number))
                name = f"tensor {number}"
                if number % 3 == 0:
                    handles[number] = hvd.broadcast_async(own, number % size, name)
                elif number % 3 == 1:
                    handles[number] = hvd.allreduce_async(own, name=name, op=hvd.Sum)
                else:
                    handles[number] = hvd.allgather_async(own, name)
            shuffle(numbers)
            for number in numbers:
                found = hvd.synchronize(handles[number])
                values = [float(rank + number) for rank in range(size)]
                if number % 3 == 0:
                    expected = torch.full((number * 37,), values[number % size])
                elif number % 3 == 1:
                    expected = torch.full((number * 37,), sum(values))
                else:
                    expected = torch.tensor(values).repeat_interleave(number * 37)
                assert torch.equal(found, expected), number

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


def test_a_name_may_come_back_with_another_shape_dtype_or_operation(run_ranks):
    def main():
        for _ in range(3):
            assert hvd.allreduce(torch.ones(3), name="x", op=hvd.Sum).tolist() == [2.0] * 3
            assert hvd.allreduce(torch.ones(2, 2), name="x", op=hvd.Max).sum().item() == 4.0
            whole = torch.ones(3, dtype=torch.int64)
            assert hvd.allreduce(whole, name="x", op=hvd.Sum).tolist() == [2] * 3
            assert hvd.broadcast(whole, 1, name="x").tolist() == [1] * 3
            assert hvd.allgather(whole, name="x").tolist() == [1] * 6

    run_ranks(2, main)


def test_more_names_than_the_cache_holds(run_ranks):
    def main():
        for step in range(3):
            for number in range(40):
                found = hvd.allreduce(torch.tensor([float(step)]), name=f"n{number}", op=hvd.Sum)
                assert found.item() == 2.0 * step

    for capacity in (0, 1, 16):
        run_ranks(2, main, env={"RUEDA_CACHE_CAPACITY": str(capacity)})


def test_names_of_any_text_match(run_ranks):
    def main():
        for name in ("", " ", "a/b.c[0]", "ünïcode ☃", "allreduce.noname.0", "x" * 4000):
            assert hvd.allreduce(torch.ones(1), name=name, op=hvd.Sum).item() == 2.0

    run_ranks(2, main)


def test_unnamed_operations_of_each_kind_match_by_their_own_count(run_ranks):
    def main():
        own = torch.ones(1)
        kinds = [
            lambda: hvd.allreduce_async(own, op=hvd.Sum),
            lambda: hvd.broadcast_async(own, 0),
            lambda: hvd.allgather_async(own),
        ]
        if hvd.rank() == 1:
            kinds.reverse()
        return sorted(hvd.synchronize(handle).numel() for handle in [kind() for kind in kinds])

    assert run_ranks(2, main) == [[1, 1, 2]] * 2


def test_a_wrong_call_does_not_use_up_a_number(run_ranks):
    def main():
        if hvd.rank() == 0:
            with pytest.raises(ValueError, match="sparse"):
                hvd.allreduce(torch.ones(2).to_sparse())
        assert hvd.allreduce(torch.ones(1), op=hvd.Sum).item() == 2.0

    run_ranks(2, main)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_nobody_passes_the_barrier_before_all_have_come(start_ranks, size, backend):
    def main(link):
        for step in range(3):
            if hvd.rank() == size - 1:
                link.hear()
            link.tell(("before", step))
            hvd.barrier()
            link.tell(("after", step))

    job = start_ranks(size, main, env={"RUEDA_BACKEND": backend})
    for step in range(3):
        for rank in range(size - 1):
            assert job.hear(rank) == ("before", step)
        assert not any(job.has_word(rank) for rank in range(size))
        job.tell(size - 1, "go")
        assert job.hear(size - 1) == ("before", step)
        assert [job.hear(rank) for rank in range(size)] == [("after", step)] * size
    job.results()


def test_several_threads_use_the_job_at_once(run_ranks):
    def main():
        failures = []

        def use(number):
            try:
                for step in range(100):
                    own = torch.full((number * 1000 + 1,), float(step))
                    found = hvd.allreduce(own, name=f"thread {number}", op=hvd.Sum)
                    assert found.eq(2.0 * step).all()
                    assert hvd.allgather(own[:1], name=f"gather {number}").tolist() == [step] * 2
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    run_ranks(2, main)


def test_two_threads_may_wait_for_one_handle(run_ranks):
    def main():
        results = []
        handle = hvd.allreduce_async(torch.ones(1), name="x", op=hvd.Sum)
        waiter = threading.Thread(target=lambda: results.append(hvd.synchronize(handle)))
        waiter.start()
        results.append(hvd.synchronize(handle))
        waiter.join()
        # One gets the result; for the other the handle may be forgotten already.
        assert [one.item() for one in results if one is not None] == [2.0]

    run_ranks(2, main)


def test_waiting_releases_the_interpreter_lock(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
            hvd.barrier()
            return
        waiter = threading.Thread(target=hvd.barrier)
        waiter.start()
        # This thread would not get here while the other held the lock in its wait.
        link.tell("still alive")
        waiter.join()

    job = start_ranks(2, main)
    assert job.hear(0) == "still alive"
    job.tell(1, "go")
    job.results()


def test_handles_never_waited_for_do_no_harm(run_ranks):
    def main():
        for number in range(50):
            hvd.allreduce_async(torch.ones(1000), name=f"forgotten {number}")
        hvd.barrier()

    run_ranks(2, main, full_exit=True)
