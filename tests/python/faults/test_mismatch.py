"""Ranks that disagree: the same error on all, with everyone's value, and the job goes on."""

from __future__ import annotations

import time

import pytest
import torch

import rueda as hvd

_SECONDS = 1.0


# What the odd one and the others do, and words that the error must have.
_CASES = {
    "shape": (
        lambda odd: hvd.allreduce(torch.ones(3 if odd else 2), name="x"),
        ["shape of 'x'", "[3]", "[2]"],
    ),
    "dimensions": (
        lambda odd: hvd.allreduce(torch.ones((2, 1) if odd else (2,)), name="x"),
        ["shape of 'x'", "[2, 1]", "[2]"],
    ),
    "dtype": (
        lambda odd: hvd.allreduce(
            torch.ones(2).to(torch.float64 if odd else torch.int32), name="x"
        ),
        ["dtype of 'x'", "float64", "int32"],
    ),
    "op": (
        lambda odd: hvd.allreduce(torch.ones(2), name="x", op=hvd.Sum if odd else hvd.Max),
        ["op of allreduce 'x'", "Sum", "Max"],
    ),
    "prescale factor": (
        lambda odd: hvd.allreduce(torch.ones(2), name="x", prescale_factor=0.5 if odd else 1.0),
        ["prescale factor", "0.5", "1"],
    ),
    "postscale factor": (
        lambda odd: hvd.allreduce(torch.ones(2), name="x", postscale_factor=0.25 if odd else 1.0),
        ["postscale factor", "0.25", "1"],
    ),
    "root": (
        lambda odd: hvd.broadcast(torch.ones(2), 2 if odd else 0, name="x"),
        ["root rank of broadcast 'x'", "2", "0"],
    ),
    "operation": (
        lambda odd: (hvd.allgather if odd else hvd.allreduce)(torch.ones(2), name="x"),
        ["operation on 'x'", "allgather", "allreduce"],
    ),
    "group": (
        lambda odd: hvd.grouped_allreduce([torch.ones(2)] * (3 if odd else 2), name="x"),
        ["number of tensors in allreduce 'x'", "3", "2"],
    ),
    "rows": (
        lambda odd: hvd.allgather(torch.ones(2, 5 if odd else 4), name="x"),
        ["shape of 'x'", "[*, 5]", "[*, 4]"],
    ),
    "broadcast shape": (
        lambda odd: hvd.broadcast(torch.ones(3 if odd else 2), 0, name="x"),
        ["shape of 'x'", "[3]", "[2]"],
    ),
    "unnamed": (
        lambda odd: hvd.allreduce(torch.ones(3 if odd else 2)),
        ["shape of 'allreduce.noname.", "[3]", "[2]"],
    ),
}


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("odd", [0, 1, 2])
def test_every_rank_gets_the_same_error_with_everyones_value(run_ranks, odd, backend):
    def main():
        told = {}
        for what, (call, _) in _CASES.items():
            # Twice, so that the second meets what the first one left in the cache; then right.
            for attempt in range(2):
                hvd.barrier()
                started = time.monotonic()
                with pytest.raises(hvd.HorovodInternalError) as caught:
                    call(hvd.rank() == odd)
                assert time.monotonic() - started < _SECONDS, what
                assert (caught.value.code, caught.value.rank) == ("R201", odd), what
                told[what, attempt] = str(caught.value)
            call(False)
        return told, hvd.allreduce(torch.ones(1), op=hvd.Sum).item()

    results = run_ranks(3, main, env={"RUEDA_BACKEND": backend})
    assert results[0] == results[1] == results[2]
    told, after = results[0]
    assert after == 3.0
    others = " and ".join(str(rank) for rank in range(3) if rank != odd)
    for (what, _), text in told.items():
        for word in [*_CASES[what][1], f"rank {odd} (pid ", f"ranks {others}"]:
            assert word in text, what


def test_all_different_values_are_all_told(run_ranks):
    def main():
        with pytest.raises(hvd.HorovodInternalError) as caught:
            hvd.allreduce(torch.ones(hvd.rank() + 1), name="x")
        assert caught.value.rank is None
        return str(caught.value)

    first, *others = run_ranks(4, main)
    assert all(other == first for other in others)
    for rank in range(4):
        assert f"rank {rank} (pid " in first
        assert f"[{rank + 1}]" in first


def test_tensors_in_flight_beside_a_mismatch_are_not_touched_by_it(run_ranks):
    def main():
        before = hvd.allreduce_async(torch.ones(1000), name="before", op=hvd.Sum)
        wrong = hvd.allreduce_async(torch.ones(2 + (hvd.rank() == 1)), name="wrong")
        after = hvd.allreduce_async(torch.ones(1000), name="after", op=hvd.Sum)
        with pytest.raises(hvd.HorovodInternalError):
            hvd.synchronize(wrong)
        assert hvd.synchronize(wrong) is None
        assert hvd.synchronize(before).eq(3.0).all()
        assert hvd.synchronize(after).eq(3.0).all()

    run_ranks(3, main)


def test_a_cached_name_offered_with_another_shape_by_one_rank(run_ranks):
    def main():
        for _ in range(3):
            assert hvd.allreduce(torch.ones(2), name="x", op=hvd.Sum).tolist() == [2.0, 2.0]
        with pytest.raises(hvd.HorovodInternalError, match=r"\[3\]"):
            hvd.allreduce(torch.ones(3 if hvd.rank() else 2), name="x")
        for _ in range(3):
            assert hvd.allreduce(torch.ones(2), name="x", op=hvd.Sum).tolist() == [2.0, 2.0]

    run_ranks(2, main)
