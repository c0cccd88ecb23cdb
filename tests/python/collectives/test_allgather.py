"""All-gather: equal and unequal first dimensions, dtypes, layouts."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_tensors_are_joined_in_rank_order(
    run_ranks, moved_dtypes, shapes, make_tensor, same, size, backend
):
    def main():
        for dtype in moved_dtypes:
            for shape in shapes[1:]:
                tensors = [make_tensor(rank, shape, dtype) for rank in range(size)]
                found = hvd.allgather(tensors[hvd.rank()], name=f"{dtype} {shape}")
                assert found.shape == (size * shape[0], *shape[1:])
                for rank, tensor in enumerate(tensors):
                    same(found[rank * shape[0] : (rank + 1) * shape[0]], tensor)

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("rows", [[0, 1], [3, 0, 2], [0, 0, 0], [1, 0, 5, 70000]])
def test_first_dimensions_may_differ_and_be_zero(run_ranks, make_tensor, same, rows, backend):
    def main():
        tensors = [make_tensor(rank, (count, 2), torch.float32) for rank, count in enumerate(rows)]
        own = tensors[hvd.rank()]
        same(hvd.allgather(own, name="rows"), torch.cat(tensors))
        same(hvd.synchronize(hvd.allgather_async(own, name="rows")), torch.cat(tensors))
        # The same name with other row counts: they are agreed on each time.
        same(hvd.allgather(own[:1], name="rows"), torch.cat([one[:1] for one in tensors]))

    run_ranks(len(rows), main, env={"RUEDA_BACKEND": backend})


def test_inputs_of_any_layout_are_taken(run_ranks, same):
    def main():
        base = torch.arange(12.0).reshape(3, 4) + hvd.rank()
        other = torch.arange(12.0).reshape(3, 4) + 1 - hvd.rank()
        first, second = (base, other) if hvd.rank() == 0 else (other, base)
        same(hvd.allgather(base.t()), torch.cat([first.t(), second.t()]))
        same(hvd.allgather(base[:, ::2]), torch.cat([first[:, ::2], second[:, ::2]]))
        same(
            hvd.allgather(base[:, :1].expand(3, 4)), torch.cat([first, second])[:, :1].expand(6, 4)
        )

    run_ranks(2, main)


def test_the_result_is_an_ordinary_tensor(run_ranks):
    def main():
        found = hvd.allgather(torch.ones(2))
        found.add_(1).resize_(3)
        del found
        kept = hvd.allgather(torch.ones(1000))
        hvd.shutdown()
        assert kept.sum().item() == 2000.0
        assert not kept.requires_grad

    run_ranks(2, main)


def test_a_tensor_without_dimensions_is_an_index_error(run_ranks):
    def main():
        with pytest.raises(IndexError, match=r"tensor.reshape\(1\)"):
            hvd.allgather(torch.tensor(1.0))
        with pytest.raises(IndexError):
            hvd.allgather_async(torch.tensor(1.0))
        assert hvd.allgather(torch.tensor(1.0).reshape(1)).tolist() == [1.0, 1.0]

    run_ranks(2, main)
