"""Grouped all-reduce: several tensors, agreed on and run as a whole."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_group_of_several_dtypes_and_shapes_in_all_four_forms(
    run_ranks, make_tensor, reduced, same, size, backend
):
    kinds = [((3,), torch.float32), ((), torch.float64), ((0, 2), torch.int32), ((5,), torch.int64)]

    def main():
        def tensors_of(rank):
            return [make_tensor(rank, shape, dtype) for shape, dtype in kinds]

        by_rank = [tensors_of(rank) for rank in range(size)]
        expected = [reduced("Sum", list(members)) for members in zip(*by_rank, strict=True)]

        def check(found):
            assert isinstance(found, list)
            for one, wanted in zip(found, expected, strict=True):
                if backend == "shm" or size <= 2:
                    same(one, wanted)
                else:
                    assert torch.allclose(one, wanted)

        own = by_rank[hvd.rank()]
        check(hvd.grouped_allreduce(own, op=hvd.Sum, name="group"))
        check(hvd.grouped_allreduce(tuple(own), op=hvd.Sum))
        check(hvd.synchronize(hvd.grouped_allreduce_async(own, op=hvd.Sum, name="group")))
        in_place = tensors_of(hvd.rank())
        found = hvd.grouped_allreduce_(in_place, op=hvd.Sum)
        check(found)
        assert all(one is other for one, other in zip(found, in_place, strict=True))
        in_place = tensors_of(hvd.rank())
        found = hvd.synchronize(hvd.grouped_allreduce_async_(in_place, op=hvd.Sum))
        check(found)
        assert all(one is other for one, other in zip(found, in_place, strict=True))

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


def test_a_group_may_be_empty_or_have_one_member(run_ranks):
    def main():
        assert hvd.grouped_allreduce([]) == []
        assert hvd.grouped_allreduce([torch.ones(1)], op=hvd.Sum)[0].item() == 2.0

    run_ranks(2, main)


def test_no_member_runs_before_all_ranks_offer_the_group(start_ranks):
    def main(link):
        if hvd.rank() == 0:
            handle = hvd.grouped_allreduce_async([torch.ones(2)] * 3, name="group", op=hvd.Sum)
            # Others may use the job meanwhile.
            hvd.allreduce(torch.ones(1), name="other")
            link.tell(hvd.poll(handle))
            return hvd.synchronize(handle)
        hvd.allreduce(torch.ones(1), name="other")
        link.hear()
        return hvd.grouped_allreduce([torch.ones(2)] * 3, name="group", op=hvd.Sum)

    job = start_ranks(2, main)
    assert job.hear(0) is False
    job.tell(1, "go")
    for found in job.results():
        assert [one.tolist() for one in found] == [[2.0, 2.0]] * 3


def test_compression_and_average_apply_to_each_member(run_ranks):
    def main():
        own = [torch.tensor([1.0 + hvd.rank()]), torch.tensor([10], dtype=torch.int64)]
        found = hvd.grouped_allreduce(own, compression=hvd.Compression.fp16)
        assert [one.dtype for one in found] == [torch.float32, torch.int64]
        assert [one.item() for one in found] == [1.5, 10]

    run_ranks(2, main)


def test_members_that_share_memory_cannot_be_written_in_place(run_ranks):
    def main():
        whole = torch.ones(6)
        with pytest.raises(ValueError, match=r"share memory, of which one is written"):
            hvd.grouped_allreduce_([whole[:4], whole[2:]])
        # Only read, they may overlap.
        found = hvd.grouped_allreduce([whole[:4], whole[2:]], op=hvd.Sum)
        assert [one.tolist() for one in found] == [[2.0] * 4] * 2

    run_ranks(2, main)


def test_a_wrong_member_is_named_and_nothing_starts(run_ranks):
    def main():
        with pytest.raises(ValueError, match="tensor 1 of 'group' is on device meta"):
            hvd.grouped_allreduce([torch.ones(1), torch.ones(1, device="meta")], name="group")
        hvd.grouped_allreduce([torch.ones(1), torch.ones(1)], name="group")

    run_ranks(2, main)
