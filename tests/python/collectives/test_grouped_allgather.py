"""Grouped all-gather: several tensors, agreed on and run as a whole."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_group_of_several_dtypes_and_row_counts(run_ranks, make_tensor, same, size, backend):
    def main():
        def tensors_of(rank):
            return [
                make_tensor(rank, (rank + 1, 2), torch.float32),
                make_tensor(rank, (3,), torch.int64),
                make_tensor(rank, (2 - rank % 3, 0, 3), torch.bfloat16),
                make_tensor(rank, (rank,), torch.complex64),
            ]

        by_rank = [tensors_of(rank) for rank in range(size)]
        expected = [torch.cat(list(one)) for one in zip(*by_rank, strict=True)]
        own = by_rank[hvd.rank()]
        for found in (
            hvd.grouped_allgather(own, name="group"),
            hvd.grouped_allgather(tuple(own)),
            hvd.synchronize(hvd.grouped_allgather_async(own)),
        ):
            assert isinstance(found, list)
            for one, wanted in zip(found, expected, strict=True):
                same(one, wanted)

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


def test_no_member_runs_before_all_ranks_offer_the_group(start_ranks):
    def main(link):
        if hvd.rank() == 0:
            handle = hvd.grouped_allgather_async([torch.ones(1), torch.ones(2)], name="group")
            link.tell("offered")
            link.hear()
            assert not hvd.poll(handle)
            link.tell("not done")
            return [one.numel() for one in hvd.synchronize(handle)]
        link.hear()
        return [one.numel() for one in hvd.grouped_allgather([torch.ones(3)] * 2, name="group")]

    job = start_ranks(2, main)
    job.hear(0)
    job.tell(0, "look")
    assert job.hear(0) == "not done"
    job.tell(1, "go")
    assert job.results() == [[4, 5], [4, 5]]


def test_a_member_without_dimensions_is_an_index_error(run_ranks):
    def main():
        with pytest.raises(IndexError, match=r"tensor.reshape\(1\)"):
            hvd.grouped_allgather([torch.ones(1), torch.tensor(1.0)])
        assert hvd.grouped_allgather([]) == []
        hvd.barrier()

    run_ranks(2, main)
