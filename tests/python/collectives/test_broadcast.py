"""Broadcast: one rank's tensor to all, in four forms."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_all_ranks_get_the_roots_bits(
    run_ranks, moved_dtypes, shapes, make_tensor, same, size, backend
):
    def main():
        for root in range(size):
            for dtype in moved_dtypes:
                for shape in shapes:
                    own = make_tensor(hvd.rank(), shape, dtype)
                    expected = make_tensor(root, shape, dtype)
                    what = f"{dtype} {shape} from {root}"
                    same(hvd.broadcast(own, root, name=what), expected, what)
                    same(own, make_tensor(hvd.rank(), shape, dtype), "the input is left alone")

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_all_four_forms(run_ranks, backend):
    def main():
        own = torch.full((3,), float(hvd.rank()))
        assert hvd.broadcast(own, 1).tolist() == [1.0] * 3
        assert hvd.synchronize(hvd.broadcast_async(own, root_rank=1)).tolist() == [1.0] * 3
        assert own.tolist() == [float(hvd.rank())] * 3
        assert hvd.broadcast_(own, 2) is own
        assert own.tolist() == [2.0] * 3
        own.fill_(hvd.rank())
        assert hvd.synchronize(hvd.broadcast_async_(own, 0, "named")) is own
        assert own.tolist() == [0.0] * 3

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


def test_layouts_may_differ_between_ranks(run_ranks):
    def main():
        values = torch.arange(6.0).reshape(2, 3)
        own = values.clone() if hvd.rank() == 0 else torch.zeros(3, 2).t()
        hvd.broadcast_(own, 0)
        assert torch.equal(own, values)
        assert own.stride() == ((3, 1) if hvd.rank() == 0 else (1, 2))

    run_ranks(2, main)


@pytest.mark.parametrize("root", [-1, 2, 1000])
def test_a_root_that_is_no_rank_is_refused(run_ranks, root):
    def main():
        with pytest.raises(ValueError, match=rf"root_rank={root} is no rank of this job of 2"):
            hvd.broadcast(torch.ones(1), root)
        with pytest.raises(ValueError, match=f"root_rank={root}"):
            hvd.broadcast_object("x", root)
        hvd.barrier()

    run_ranks(2, main)


def test_nan_payloads_and_signed_zeros_survive(run_ranks, same):
    def main():
        odd = torch.tensor([0x7FC12345, -0x80000000, 0x7F800001], dtype=torch.int32)
        own = odd.view(torch.float32) if hvd.rank() == 1 else torch.zeros(3)
        same(hvd.broadcast(own, 1).view(torch.int32), odd)

    run_ranks(2, main)
