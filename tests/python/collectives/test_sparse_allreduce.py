"""sparse_allreduce_async: a callable that waits and returns the sum."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _sparse(rows, values, size, dtype=torch.float32):
    return torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.int64), torch.tensor(values, dtype=dtype), size
    )


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
)
@pytest.mark.parametrize("op", [hvd.Sum, hvd.Average])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_rows_of_all_ranks_are_added(run_ranks, size, op, dtype):
    def main():
        own = hvd.rank()
        # A row that all have, one of its own, and one twice.
        tensor = _sparse([0, own + 1, own + 1], [[2, 4], [size, 0], [0, size]], (7, 2), dtype)
        wait = hvd.sparse_allreduce_async(tensor, "rows", op)
        reduced = wait()
        expected = torch.zeros(7, 2, dtype=dtype)
        expected[0] = torch.tensor([2 * size, 4 * size], dtype=dtype)
        expected[1 : size + 1] = size
        if op == hvd.Average:
            expected = expected // size
        assert reduced.is_sparse
        assert reduced.is_coalesced()
        assert reduced.dtype == dtype
        assert torch.equal(reduced.to_dense(), expected)
        assert wait() is reduced
        assert tensor._nnz() == 3

    run_ranks(size, main)


def test_ranks_may_have_nothing_and_more_sparse_dimensions_than_one(run_ranks):
    def main():
        empty = torch.sparse_coo_tensor(torch.empty((2, 0), dtype=torch.int64), [], (3, 4))
        own = torch.eye(3, 4).to_sparse() if hvd.rank() == 1 else empty
        waits = [hvd.sparse_allreduce_async(t, None, hvd.Sum) for t in (own, empty)]
        first, second = (wait() for wait in waits)
        assert torch.equal(first.to_dense(), torch.eye(3, 4))
        assert second._nnz() == 0
        assert second.shape == (3, 4)

    run_ranks(3, main)


def test_results_have_the_same_bits_on_all_ranks(run_ranks):
    def main():
        generator = torch.Generator().manual_seed(hvd.rank())
        rows = torch.randint(0, 50, (1, 200), generator=generator)
        values = torch.randn(200, 5, generator=generator)
        tensor = torch.sparse_coo_tensor(rows, values, (50, 5))
        reduced = hvd.sparse_allreduce_async(tensor, "x", hvd.Average)().to_dense()
        dense = hvd.allreduce(tensor.to_dense())
        assert torch.allclose(reduced, dense, rtol=1e-5, atol=1e-6)
        return reduced

    first, *others = run_ranks(4, main)
    assert all(torch.equal(first, other) for other in others)


def test_ranks_with_other_shapes_are_told_on_all_of_them(run_ranks):
    def main():
        wait = hvd.sparse_allreduce_async(
            _sparse([0], [[1.0]], (7 + hvd.rank() // 2, 1)), "odd", hvd.Sum
        )
        with pytest.raises(hvd.HorovodInternalError, match=r"'odd': .*rank 2 \[8\]") as caught:
            wait()
        assert caught.value.code == "R201"
        wide = hvd.sparse_allreduce_async(
            _sparse([0], [[1.0] * (hvd.rank() + 1)], (7, hvd.rank() + 1)), "wide", hvd.Sum
        )
        with pytest.raises(hvd.HorovodInternalError, match="R201"):
            wide()
        assert hvd.sparse_allreduce_async(_sparse([0], [[1.0]], (7, 1)), "odd", hvd.Sum)()[0] == 3

    run_ranks(3, main)


def test_wrong_arguments(run_ranks):
    def main():
        sparse = _sparse([0], [[1.0]], (7, 1))
        cases = [
            (torch.ones(3), hvd.Sum, "takes a tensor of layout torch.sparse_coo"),
            (sparse.to_dense().to_sparse_csr(), hvd.Sum, "not torch.sparse_csr"),
            ([1], hvd.Sum, "not list"),
            (sparse, hvd.Max, "can be reduced with rueda.Average or Sum"),
        ]
        for tensor, op, text in cases:
            with pytest.raises(ValueError, match=text):
                hvd.sparse_allreduce_async(tensor, "x", op)
        with pytest.raises(ValueError, match="not registered"):
            hvd.sparse_allreduce_async(sparse, "x", hvd.Sum, hvd.ProcessSet([0]))
        hvd.barrier()

    run_ranks(2, main)
