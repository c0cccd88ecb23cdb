"""All-to-all: equal and unequal splits, element types, layouts, and every wrong call."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _sent(source, dest, size):
    """Rows from one rank to another: also none, and on no two ways as many."""
    return (source * size + dest) % 5


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_rows_go_where_the_splits_say(run_ranks, moved_dtypes, make_tensor, same, size, backend):
    def main():
        own = hvd.rank()
        for dtype in moved_dtypes:
            for shape in [(), (3,), (2, 5)]:
                parts = {}
                for source in range(size):
                    counts = [_sent(source, dest, size) for dest in range(size)]
                    tensor = make_tensor(source, (sum(counts), *shape), dtype)
                    parts[source] = (tensor, counts, tensor.split(counts))
                tensor, counts, _ = parts[own]
                expected = torch.cat([parts[source][2][own] for source in range(size)])
                splits = torch.tensor(counts, dtype=torch.int32)
                found, received = hvd.alltoall(tensor, splits, name=f"{dtype} {shape}")
                same(found, expected)
                assert received.dtype == torch.int32
                assert received.tolist() == [_sent(source, own, size) for source in range(size)]

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_without_splits_each_rank_gets_as_many_rows_and_there_is_one_result(run_ranks, backend):
    def main():
        own = torch.arange(6.0).reshape(6, 1) + 10 * hvd.rank()
        first = 2.0 * hvd.rank()
        expected = [[first + step + 10 * rank] for rank in range(3) for step in range(2)]
        assert hvd.alltoall(own).tolist() == expected
        assert hvd.synchronize(hvd.alltoall_async(own, name="x")).tolist() == expected
        assert hvd.alltoall(torch.zeros(0, 4)).shape == (0, 4)

    run_ranks(3, main, env={"RUEDA_BACKEND": backend})


def test_the_asynchronous_form_with_splits_returns_both(run_ranks):
    def main():
        own = torch.arange(5) + 10 * hvd.rank()
        splits = [1, 4] if hvd.rank() == 0 else torch.tensor([0, 2], dtype=torch.int32)
        found, received = hvd.synchronize(hvd.alltoall_async(own, splits))
        # Rank 1's rows beyond its splits stay at home.
        assert found.tolist() == ([0] if hvd.rank() == 0 else [1, 2, 3, 4, 10, 11])
        assert received.tolist() == ([1, 0] if hvd.rank() == 0 else [4, 2])

    run_ranks(2, main)


def test_layouts_of_any_kind_are_taken(run_ranks):
    def main():
        base = torch.arange(8.0).reshape(2, 4) + 10 * hvd.rank()
        for own in (base.t(), base[:, :1].expand(2, 4), base[:, ::2], base[:0]):
            plain = own.contiguous()
            half = plain.shape[0] // 2
            mine = slice(hvd.rank() * half, (hvd.rank() + 1) * half)
            shift = 10.0 * (1 - 2 * hvd.rank())
            pair = [plain[mine], plain[mine] + shift]
            assert torch.equal(
                hvd.alltoall(own), torch.cat(pair if hvd.rank() == 0 else pair[::-1])
            )

    run_ranks(2, main)


@pytest.mark.parametrize(
    ("tensor", "splits", "text"),
    [
        (torch.ones(3), None, "3 rows cannot be divided equally among 2 ranks"),
        (torch.tensor(1.0), None, r"no rows to send; use tensor.reshape\(1\)"),
        (torch.ones(4), [4], "splits has 1 entries; pass one for each of the 2 ranks"),
        (torch.ones(4), [1, 1, 1], "splits has 3 entries"),
        (torch.ones(4), [3, 2], r"splits=\[3, 2\] needs 5 rows, but the tensor has 4"),
        (torch.ones(4), [5, -1], "negative"),
        (torch.ones(4), torch.tensor([2, 2]), "splits is a tensor of torch.int64"),
        (torch.ones(4), torch.tensor([2.0, 2.0]), "splits is a tensor of torch.float32"),
        (torch.ones(4), torch.ones(2, 1, dtype=torch.int32), "with 2 dimensions"),
        (torch.ones(4), [2.0, 2.0], "whole numbers"),
    ],
)
def test_wrong_splits_are_refused_before_anything_starts(run_ranks, tensor, splits, text):
    def main():
        for call in (hvd.alltoall, hvd.alltoall_async):
            with pytest.raises(ValueError, match=text):
                call(tensor, splits, name="x")
        # Only one rank's mistake: the other waits for its second try.
        if hvd.rank() == 0:
            with pytest.raises(ValueError, match=text):
                hvd.alltoall(tensor, splits)
        assert hvd.alltoall(torch.ones(2)).tolist() == [1.0, 1.0]

    run_ranks(2, main)
