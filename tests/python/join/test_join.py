"""join: ranks that are out of data, and what the others can do without them."""

from __future__ import annotations

import resource

import pytest
import torch

import rueda as hvd

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}
_BACKENDS = pytest.mark.parametrize("backend", ["shm", "gloo"])


def _steps(rank):
    return [1, 3, 2, 5][rank]


@_BACKENDS
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_uneven_steps_add_up_as_if_joined_ranks_gave_zeros(run_ranks, size, backend):
    def main():
        for named in (True, False):
            for step in range(_steps(hvd.rank())):
                present = [rank for rank in range(size) if _steps(rank) > step]
                own = torch.full((1000,), hvd.rank() + 1.0)
                total = sum(rank + 1.0 for rank in present)
                name = f"step {step}" if named else None
                assert hvd.allreduce(own, op=hvd.Sum, name=name).eq(total).all()
                # Averages are over all ranks, as in Horovod.
                average = hvd.allreduce(own, name=name)
                assert torch.allclose(average, torch.full((1000,), total / size))
            last = hvd.join()
            assert last == max(range(size), key=_steps)

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


@_BACKENDS
def test_every_operation_runs_without_the_joined(start_ranks, backend):
    def main(link):
        if hvd.rank() == 1:
            link.tell("joins")
            return hvd.join()
        link.hear()
        own = torch.tensor([[hvd.rank() + 2.0, -1.0], [4.0, 8.0], [1.0, 1.0]])
        other = torch.tensor([[4.0 - hvd.rank(), -1.0], [4.0, 8.0], [1.0, 1.0]])
        assert torch.equal(hvd.allreduce(own, op=hvd.Sum), own + other)
        assert torch.allclose(hvd.allreduce(own), (own + other) / 3)
        assert torch.equal(hvd.allreduce(own, op=hvd.Min), torch.minimum(own, other))
        assert torch.equal(hvd.allreduce(own, op=hvd.Max), torch.maximum(own, other))
        assert torch.equal(hvd.allreduce(own, op=hvd.Product), own * other)
        group = hvd.grouped_allreduce([own, own.to(torch.int32)], op=hvd.Sum)
        assert torch.equal(group[1], (own + other).to(torch.int32))
        in_place = own.clone()
        hvd.allreduce_(in_place, op=hvd.Sum, prescale_factor=2.0)
        assert torch.equal(in_place, (own + other) * 2)
        pair = [own, other] if hvd.rank() == 0 else [other, own]
        assert torch.equal(hvd.allgather(own), torch.cat(pair))
        assert torch.equal(hvd.grouped_allgather([own, own[:1]])[1], torch.cat(pair)[[0, 3]])
        assert torch.equal(hvd.broadcast(own, 2), pair[1])
        found = hvd.reducescatter(own, op=hvd.Sum)
        # The row of rank 1 is nobody's.
        assert torch.equal(found, (own + other)[hvd.rank()].unsqueeze(0))
        at_root = hvd.reduce(own, 2, hvd.Sum)
        assert torch.equal(at_root, own + other) if hvd.rank() == 2 else at_root.numel() == 0
        at_root = hvd.gather(own, 0)
        assert torch.equal(at_root, torch.cat(pair)) if hvd.rank() == 0 else at_root.numel() == 0
        hvd.barrier()
        _, received = hvd.alltoall(own, [1, 0, 2])
        assert received.tolist() == ([1, 0, 1] if hvd.rank() == 0 else [2, 0, 2])
        assert hvd.scatter(own, 2, [2, 0, 1]).shape[0] == (2 if hvd.rank() == 0 else 1)
        return hvd.join()

    job = start_ranks(3, main, env={"RUEDA_BACKEND": backend})
    job.hear(1)
    job.wait_until_asleep(1)
    job.tell(0, "go")
    job.tell(2, "go")
    results = job.results()
    assert results[0] == results[1] == results[2]
    assert results[0] in (0, 2)


@_BACKENDS
def test_what_needs_the_joined_rank_is_an_error_on_the_others_and_the_job_goes_on(
    start_ranks, backend
):
    def main(link):
        own = torch.ones(3)
        if hvd.rank() == 1:
            link.tell("joins")
            hvd.join()
        else:
            link.hear()
            calls = {
                "broadcast": (lambda: hvd.broadcast(own, 1), "which has joined"),
                "reduce": (lambda: hvd.reduce(own, 1), "which has joined"),
                "gather": (lambda: hvd.gather(own, 1), "which has joined"),
                "scatter": (lambda: hvd.scatter(own, 1), "which has joined"),
                "alltoall": (lambda: hvd.alltoall(own), "rank 1, which has joined"),
                "add": (lambda: hvd.add_process_set([0, 1]), "join"),
            }
            for name, (call, text) in calls.items():
                with pytest.raises((hvd.HorovodInternalError, ValueError), match=text):
                    call()
                    pytest.fail(name)
                assert hvd.allreduce(own, op=hvd.Sum).tolist() == [2.0] * 3
            hvd.join()
        assert hvd.allreduce(own, op=hvd.Sum).tolist() == [3.0] * 3
        assert hvd.add_process_set([0, 1]).process_set_id == 1

    job = start_ranks(3, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})
    job.hear(1)
    job.wait_until_asleep(1)
    job.tell(0, "go")
    job.tell(2, "go")
    job.results()


def test_the_last_to_join_is_named_on_all_ranks(start_ranks):
    def main(link):
        lasts = []
        for _ in range(3):
            link.hear()
            link.tell("joins")
            lasts.append(hvd.join())
            link.tell("joined")
        return lasts

    job = start_ranks(3, main)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        for rank in order:
            job.tell(rank, "go")
            assert job.hear(rank) == "joins"
            if rank != order[-1]:
                job.wait_until_asleep(rank)
        for rank in order:
            assert job.hear(rank) == "joined"
    assert job.results() == [[2, 0, 0]] * 3


def test_unnamed_calls_match_after_joins_at_different_counts(run_ranks):
    def main():
        size, own = hvd.size(), torch.tensor([1.0 + hvd.rank()])
        for turn in range(4):
            for _ in range((hvd.rank() + turn) % size * 3):
                hvd.allreduce(own)
                hvd.allgather(own)
                hvd.sparse_allreduce_async(own.to_sparse(), None, hvd.Sum)()
            hvd.join()
            assert hvd.allreduce(own, op=hvd.Sum).item() == sum(range(1, size + 1))
            assert hvd.allgather(own).numel() == size
            total = hvd.sparse_allreduce_async(own.to_sparse(), None, hvd.Sum)()
            assert total.to_dense().item() == sum(range(1, size + 1))

    run_ranks(3, main)


@_BACKENDS
def test_a_set_is_joined_alone(run_ranks, backend):
    def main():
        pair = hvd.add_process_set([0, 2])
        own = torch.tensor([1.0 + hvd.rank()])
        if hvd.rank() == 0:
            assert hvd.join(process_set=pair) == 2
        if hvd.rank() == 2:
            for _ in range(5):
                hvd.allreduce(own, op=hvd.Sum, process_set=pair)
            assert hvd.join(process_set=pair) == 2
        assert hvd.allreduce(own, op=hvd.Sum).item() == 6.0
        if pair.included():
            assert hvd.allreduce(own, op=hvd.Sum, process_set=pair).item() == 4.0
        hvd.barrier()

    run_ranks(3, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})


@_BACKENDS
def test_whoever_joins_the_job_is_absent_from_every_set(run_ranks, backend):
    def main():
        pair = hvd.add_process_set([0, 2])
        own = torch.tensor([1.0 + hvd.rank()])
        if hvd.rank() == 2:
            # Rank 0 may join before or after any of these.
            for _ in range(20):
                assert hvd.allreduce(own, op=hvd.Max, process_set=pair).item() == 3.0
        hvd.join()
        if pair.included():
            assert hvd.allreduce(own, op=hvd.Sum, process_set=pair).item() == 4.0
        hvd.barrier()

    run_ranks(3, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})


def test_training_with_an_optimizer_and_uneven_data(run_ranks):
    def main():
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        plain = torch.nn.Linear(4, 2)
        plain.load_state_dict(model.state_dict())
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1),
            named_parameters=model.named_parameters(),
            op=hvd.Sum,
        )
        steps = [2, 4, 3]
        for step in range(steps[hvd.rank()]):
            optimizer.zero_grad()
            model(torch.full((1, 4), 1.0 + hvd.rank() + step)).square().sum().backward()
            optimizer.step()
        last = hvd.join()
        assert last == 1
        hvd.broadcast_parameters(model.state_dict(), root_rank=last)
        for step in range(4):
            plain.zero_grad()
            for rank in range(3):
                if step < steps[rank]:
                    plain(torch.full((1, 4), 1.0 + rank + step)).square().sum().backward()
            with torch.no_grad():
                for parameter in plain.parameters():
                    parameter.sub_(0.1 * parameter.grad)
        for found, expected in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(found, expected, rtol=1e-4)

    run_ranks(3, main)


def test_gradients_flow_among_those_who_are_left(start_ranks):
    def main(link):
        leaf = torch.tensor([2.0, 3.0 + hvd.rank()], requires_grad=True)
        if hvd.rank() == 1:
            link.tell("joins")
            hvd.join()
            return None
        link.hear()
        found = []
        for op in (hvd.Sum, hvd.Max, hvd.Product):
            (slope,) = torch.autograd.grad(hvd.allreduce(leaf, op=op).sum(), leaf)
            found.append(slope.tolist())
        (slope,) = torch.autograd.grad(hvd.allgather(leaf).sum(), leaf)
        found.append(slope.tolist())
        hvd.join()
        return found

    job = start_ranks(3, main)
    job.hear(1)
    job.wait_until_asleep(1)
    job.tell(0, "go")
    job.tell(2, "go")
    first, _, last = job.results()
    third = pytest.approx(2 / 3)
    assert first == [[2.0, 2.0], [1.0, 0.0], [4.0, 10.0], [third, third]]
    assert last == [[2.0, 2.0], [1.0, 2.0], [4.0, 6.0], [third, third]]


def test_a_joined_rank_sleeps_while_the_others_work(start_ranks):
    def main(link):
        own = torch.ones(1 << 16)
        if hvd.rank() == 1:
            link.tell("joins")
            before = resource.getrusage(resource.RUSAGE_SELF)
            hvd.join()
            after = resource.getrusage(resource.RUSAGE_SELF)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        link.hear()
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(300):
            hvd.allreduce_(own, name="same", op=hvd.Max)
        after = resource.getrusage(resource.RUSAGE_SELF)
        hvd.join()
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    job = start_ranks(3, main)
    job.hear(1)
    job.wait_until_asleep(1)
    job.tell(0, "go")
    job.tell(2, "go")
    busy, joined, _ = job.results()
    assert joined < busy / 2


def test_a_rank_that_dies_while_others_have_joined_ends_all_of_them(start_ranks):
    def main(link):
        import os

        if hvd.rank() == 0:
            link.hear()
            os._exit(7)
        link.tell("joins")
        hvd.join()

    job = start_ranks(3, main)
    for rank in (1, 2):
        job.hear(rank)
        job.wait_until_asleep(rank)
    job.tell(0, "go")
    for rank in (1, 2):
        ended = job.ended(rank)
        assert isinstance(ended.error, hvd.HorovodInternalError)
        assert ended.error.rank == 0
