"""Small synchronous calls, which ranks of one host agree on and add up in one meeting."""

from __future__ import annotations

import os
import random
import threading

import pytest
import torch

import rueda as hvd


def _check(value, count, name=None):
    """Sum ``count`` elements of every rank, of which each tells rank and place."""
    places = torch.arange(count, dtype=torch.float32)
    mine = places * hvd.size() + hvd.rank() + value
    summed = hvd.allreduce(mine, name=name, op=hvd.Sum)
    ranks = hvd.size()
    assert torch.equal(summed, places * ranks * ranks + ranks * (ranks - 1) / 2 + value * ranks)


@pytest.mark.parametrize("settings", [("16384", "16384"), ("0", "0"), ("0", "16384"), ("64", "4K")])
@pytest.mark.parametrize("size", [2, 3])
def test_every_size_with_equal_and_other_settings(run_ranks, size, settings):
    def main():
        of_others, of_last = settings
        is_last = int(os.environ["RANK"]) == size - 1
        os.environ["RUEDA_ONE_SHOT_BYTES"] = of_last if is_last else of_others
        hvd.init()
        counts = [0, 1, 12, 13, 17, 1023, 1024, 1025, 4095, 4096, 4097, 20_011]
        for step in range(3):
            random.Random(step).shuffle(counts)
            for count in counts:
                _check(step, count, name=f"of {count}")
                _check(step, count)  # without a name
                hvd.barrier()

    run_ranks(size, main, init=False)


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_call_the_same_in_different_ways(run_ranks, size):
    def main():
        own = random.Random(hvd.rank())
        for step in range(200):
            tensor = torch.full((1 + step % 7,), float(hvd.rank() + step))
            if own.random() < 0.2:
                summed = hvd.synchronize(hvd.allreduce_async(tensor, name="x", op=hvd.Sum))
            else:
                summed = hvd.allreduce(tensor, name="x", op=hvd.Sum)
            expected = hvd.size() * (hvd.size() - 1) / 2 + step * hvd.size()
            assert torch.equal(summed, torch.full_like(tensor, expected)), step

    run_ranks(size, main)


def test_other_work_is_in_flight(run_ranks):
    def main():
        for step in range(100):
            large = torch.full((50_000,), float(hvd.rank()))
            handle = hvd.allreduce_async_(large, name="large", op=hvd.Sum)
            _check(step, 1 + step % 50, name="small")
            if step % 3 == hvd.rank():
                hvd.poll(handle)
            assert torch.equal(hvd.synchronize(handle), torch.full_like(large, 3.0))
            _check(step, 3, name="after")

    run_ranks(3, main)


def test_threads_call_in_any_order(run_ranks):
    def main():
        wrong = []

        def call(thread):
            try:
                for step in range(60):
                    _check(step + thread, 1 + step, name=f"thread {thread}")
            except BaseException as error:  # told in the main thread
                wrong.append(error)

        threads = [threading.Thread(target=call, args=[i]) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong

    run_ranks(3, main)


def test_a_rank_that_is_late_and_one_that_calls_something_else(run_ranks):
    def main():
        _check(1, 4, name="x")
        if hvd.rank() == 1:
            threading.Event().wait(0.05)  # longer than the others wait at a meeting
        _check(2, 4, name="x")
        tensor = torch.ones(5 if hvd.rank() == 1 else 4)
        with pytest.raises(
            hvd.HorovodInternalError, match=r"rank 1 .*offered \[5\], ranks 0 and 2 \[4\]"
        ):
            hvd.allreduce(tensor, name="x")
        _check(3, 4, name="x")

    run_ranks(3, main)


def test_joined_ranks_are_left_out(run_ranks):
    def main():
        if hvd.rank() > 0:
            for step in range(40):
                summed = hvd.allreduce(torch.tensor([1.0 + step]), op=hvd.Sum, name="x")
                assert summed.item() == 2 + 2 * step
        assert hvd.join() in (1, 2)

    run_ranks(3, main)
