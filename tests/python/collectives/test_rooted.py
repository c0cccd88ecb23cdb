"""Reduce, gather and scatter: one rank gets, or gives, what the others do not."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_reduction_is_that_of_allreduce_at_the_root_and_empty_elsewhere(
    run_ranks, all_dtypes, shapes, make_tensor, reduced, same, size
):
    def main():
        for root in {0, size - 1}:
            for dtype in all_dtypes:
                for shape in shapes[:-1]:
                    tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                    for op in ("Sum", "Average", "Min", "Max", "Product"):
                        what = f"{op} of {dtype} {shape} at {root}"
                        own = tensors[hvd.rank()]
                        found = hvd.reduce(own, root, getattr(hvd, op), what)
                        if hvd.rank() == root:
                            same(found, reduced(op, tensors), what)
                        else:
                            assert found.shape == (0,)
                            assert found.dtype == dtype

    run_ranks(size, main)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_reduce_takes_factors_and_has_an_asynchronous_form(run_ranks, backend):
    def main():
        own = torch.full((3,), hvd.rank() + 1.0)
        found = hvd.reduce(own, 1, hvd.Sum, prescale_factor=2.0, postscale_factor=0.5)
        assert found.tolist() == ([6.0] * 3 if hvd.rank() == 1 else [])
        handle = hvd.reduce_async(own, 2)
        assert hvd.synchronize(handle).tolist() == ([2.0] * 3 if hvd.rank() == 2 else [])
        assert hvd.synchronize(handle) is None

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_gather_joins_rows_at_the_root(run_ranks, moved_dtypes, make_tensor, same, size, backend):
    def main():
        for root in {0, size - 1}:
            for dtype in moved_dtypes:
                tensors = [make_tensor(rank, (2 * rank % 5, 3), dtype) for rank in range(size)]
                own = tensors[hvd.rank()]
                expected = torch.cat(tensors) if hvd.rank() == root else own[:0]
                same(hvd.gather(own, root, f"{dtype} at {root}"), expected)
                same(hvd.synchronize(hvd.gather_async(own, root)), expected)

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_scatter_divides_the_roots_rows(run_ranks, moved_dtypes, make_tensor, same, size, backend):
    def main():
        for root in {0, size - 1}:
            for dtype in moved_dtypes:
                whole = make_tensor(root, (2 * size, 3), dtype)
                own = whole if hvd.rank() == root else whole[:0]
                expected = whole.split(2)[hvd.rank()]
                same(hvd.scatter(own, root, name=f"{dtype} from {root}"), expected)
                counts = [rank % 3 for rank in range(size)]
                splits = torch.tensor(counts, dtype=torch.int32) if hvd.rank() == root else None
                expected = whole[: sum(counts)].split(counts)[hvd.rank()]
                same(hvd.synchronize(hvd.scatter_async(own, root, splits)), expected)

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: hvd.reduce(t, 2), ValueError, "root_rank=2 is no rank of this job of 2"),
        (lambda t: hvd.reduce(t, 0, hvd.Adasum), ValueError, "op=rueda.Adasum"),
        (lambda t: hvd.reduce_async(t, -1), ValueError, "root_rank=-1"),
        (lambda t: hvd.gather(t, "0"), ValueError, "root_rank='0'"),
        (lambda t: hvd.gather(t[0], 0), IndexError, r"tensor.reshape\(1\)"),
        (lambda t: hvd.scatter(t[:3], hvd.rank()), ValueError, "3 rows cannot be divided equally"),
        (lambda t: hvd.scatter(t, hvd.rank(), [5, 0]), ValueError, "needs 5 rows"),
        (lambda t: hvd.scatter(t, 7), ValueError, "root_rank=7"),
    ],
)
def test_wrong_calls_are_refused_before_anything_starts(run_ranks, call, error, text):
    def main():
        with pytest.raises(error, match=text):
            call(torch.ones(4))
        assert hvd.gather(torch.ones(1), 1).numel() == (2 if hvd.rank() == 1 else 0)

    run_ranks(2, main)


def test_ranks_that_disagree_on_the_root_are_told_each_others(run_ranks):
    def main():
        for call in (hvd.reduce, hvd.gather, hvd.scatter):
            with pytest.raises(hvd.HorovodInternalError, match="root rank"):
                call(torch.ones(2), hvd.rank(), name="x")
        hvd.barrier()

    run_ranks(2, main)
