"""Every collective in a process set: its ranks alone, global roots, names of their own."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("ranks", [[0, 1, 2, 3], [1, 3], [2], [0, 2, 3]])
def test_only_the_ranks_of_the_set_take_part(run_ranks, ranks, backend):
    def main():
        # A set of all ranks is the global one.
        some = hvd.global_process_set if len(ranks) == 4 else hvd.add_process_set(ranks)
        if some.included():
            use(some)
        hvd.barrier()

    def use(some):
        size, last, own_rank = len(ranks), ranks[-1], hvd.rank()
        own = torch.full((size, 2), float(own_rank))
        each = [torch.full((size, 2), float(rank)) for rank in ranks]
        whole = sum(each)
        arguments = {"process_set": some}
        assert torch.equal(hvd.allreduce(own, op=hvd.Sum, **arguments), whole)
        assert torch.equal(hvd.allreduce(own, **arguments), whole / size)
        assert torch.equal(hvd.allreduce_(own.clone(), op=hvd.Max, **arguments), each[-1])
        assert torch.equal(hvd.grouped_allreduce([own, own], op=hvd.Sum, **arguments)[1], whole)
        assert torch.equal(hvd.allgather(own, **arguments), torch.cat(each))
        assert torch.equal(hvd.grouped_allgather([own], **arguments)[0], torch.cat(each))
        assert torch.equal(hvd.broadcast(own, last, **arguments), each[-1])
        rows = hvd.alltoall(own, **arguments)
        assert torch.equal(rows, torch.cat([one[:1] for one in each]))
        _, received = hvd.alltoall(own, [1] * size, **arguments)
        assert received.tolist() == [1] * size
        assert torch.equal(hvd.reducescatter(own, op=hvd.Sum, **arguments), whole[:1])
        grouped = hvd.grouped_reducescatter([own], op=hvd.Sum, **arguments)
        assert torch.equal(grouped[0], whole[:1])
        at_root = hvd.reduce(own, last, hvd.Sum, **arguments)
        assert torch.equal(at_root, whole) if own_rank == last else at_root.numel() == 0
        at_root = hvd.gather(own, last, **arguments)
        assert torch.equal(at_root, torch.cat(each)) if own_rank == last else at_root.numel() == 0
        assert torch.equal(hvd.scatter(own, last, **arguments), each[-1][:1])
        hvd.barrier(some)
        assert hvd.join(process_set=some) in ranks
        assert hvd.broadcast_object(own_rank, last, process_set=some) == last
        assert hvd.allgather_object(own_rank, process_set=some) == ranks
        if size & (size - 1) == 0:
            assert hvd.allreduce(own + 1, op=hvd.Adasum, **arguments).shape == own.shape
        sparse = torch.sparse_coo_tensor([[0]], [float(own_rank)], (3,))
        total = hvd.sparse_allreduce_async(sparse, None, hvd.Sum, some)().to_dense()
        assert total.tolist() == [float(sum(ranks)), 0.0, 0.0]

    run_ranks(4, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})


def test_a_rank_outside_is_refused_at_once_by_every_collective(run_ranks):
    def main():
        some = hvd.add_process_set([0])
        own = torch.ones(2)
        calls = {
            "allreduce": lambda: hvd.allreduce(own, process_set=some),
            "allreduce_async_": lambda: hvd.allreduce_async_(own, process_set=some),
            "adasum": lambda: hvd.allreduce(own, op=hvd.Adasum, process_set=some),
            "grouped_allreduce": lambda: hvd.grouped_allreduce([own], process_set=some),
            "sparse": lambda: hvd.sparse_allreduce_async(own.to_sparse(), "s", hvd.Sum, some),
            "allgather": lambda: hvd.allgather(own, process_set=some),
            "grouped_allgather": lambda: hvd.grouped_allgather([own], process_set=some),
            "broadcast": lambda: hvd.broadcast(own, 0, process_set=some),
            "alltoall": lambda: hvd.alltoall(own, process_set=some),
            "reducescatter": lambda: hvd.reducescatter(own, process_set=some),
            "grouped_reducescatter": lambda: hvd.grouped_reducescatter([own], process_set=some),
            "reduce": lambda: hvd.reduce(own, 0, process_set=some),
            "gather": lambda: hvd.gather(own, 0, process_set=some),
            "scatter": lambda: hvd.scatter(own, 0, process_set=some),
            "barrier": lambda: hvd.barrier(some),
            "join": lambda: hvd.join(process_set=some),
        }
        if hvd.rank() == 1:
            for name, call in calls.items():
                with pytest.raises(ValueError, match=r"rank 1 is not in ProcessSet.*ranks=\[0\]"):
                    call()
                    pytest.fail(name)
        hvd.barrier()

    run_ranks(2, main, env=_DYNAMIC)


def test_roots_are_ranks_of_the_job_and_have_to_be_members(run_ranks):
    def main():
        some = hvd.add_process_set([1, 2])
        if some.included():
            own = torch.full((2,), float(hvd.rank()))
            assert hvd.broadcast(own, 2, process_set=some).tolist() == [2.0, 2.0]
            for call in (hvd.broadcast, hvd.reduce, hvd.gather, hvd.scatter):
                with pytest.raises(ValueError, match=r"root_rank=0 is not in ProcessSet"):
                    call(own, 0, process_set=some)
                with pytest.raises(ValueError, match="root_rank=3 is no rank of this job of 3"):
                    call(own, 3, process_set=some)
        hvd.barrier()

    run_ranks(3, main, env=_DYNAMIC)


def test_one_name_may_be_in_flight_in_several_sets(run_ranks):
    def main():
        sets = [hvd.global_process_set, hvd.add_process_set([0, 1]), hvd.add_process_set([1, 2])]
        own = torch.ones(1)
        handles = [
            hvd.allreduce_async(own, op=hvd.Sum, name="same", process_set=one)
            for one in sets
            if one.included()
        ]
        totals = [hvd.synchronize(handle).item() for handle in handles]
        assert totals == {0: [3.0, 2.0], 1: [3.0, 2.0, 2.0], 2: [3.0, 2.0]}[hvd.rank()]

    run_ranks(3, main, env=_DYNAMIC)


def test_ranks_that_use_different_sets_in_different_orders_still_match(run_ranks):
    def main():
        sets = [hvd.add_process_set(ranks) for ranks in ([0, 1], [1, 2], [0, 2])]
        own = [one for one in sets if one.included()]
        if hvd.rank() == 2:
            own.reverse()
        for step in range(20):
            handles = [
                (one, hvd.allreduce_async(torch.tensor([step]), op=hvd.Sum, process_set=one))
                for one in own
            ]
            for _, handle in handles:
                assert hvd.synchronize(handle).item() == 2 * step

    run_ranks(3, main, env=_DYNAMIC)
