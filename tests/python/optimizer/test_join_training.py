"""Training with join: ranks that step, or begin to, when others are out of data."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_BACKENDS = pytest.mark.parametrize("backend", ["shm", "gloo"])
_LIMITS = {"RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "30"}


def _embedding_and_head():
    torch.manual_seed(3)
    return torch.nn.EmbeddingBag(9, 4, sparse=True, mode="sum"), torch.nn.Linear(4, 2)


def _rows(step, rank):
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randint(0, 9, (3, 2), generator=generator)


def _loss(model, step, rank):
    embedding, head = model
    return head(embedding(_rows(step, rank))).square().mean()


def _parameters(model):
    return [p for module in model for p in module.parameters()]


def _alone(size, rounds):
    """Plain SGD in one process; ranks that have joined give zeros."""
    model = _embedding_and_head()
    optimizer = torch.optim.SGD(_parameters(model), lr=0.1)
    for steps in rounds:
        for step in range(max(steps)):
            optimizer.zero_grad()
            for rank in range(size):
                if step < steps[rank]:
                    (_loss(model, step, rank) / size).backward()
            optimizer.step()
    return model


def _wrapped(model, **options):
    return hvd.DistributedOptimizer(torch.optim.SGD(_parameters(model), lr=0.1), **options)


@_BACKENDS
@pytest.mark.parametrize("as_dense", [False, True])
def test_a_rank_without_a_step_learns_later_what_the_others_agreed_on(run_ranks, backend, as_dense):
    rounds = [(0, 2, 0), (3, 0, 1), (1, 2, 2), (1, 1, 1)]

    def main():
        model = _embedding_and_head()
        optimizer = _wrapped(model, sparse_as_dense=as_dense)
        for steps in rounds:
            for step in range(steps[hvd.rank()]):
                optimizer.zero_grad()
                _loss(model, step, hvd.rank()).backward()
                optimizer.step()
                assert model[0].weight.grad.layout == torch.sparse_coo
            last = hvd.join()
            for module in model:
                hvd.broadcast_parameters(module.state_dict(), last)
        for found, expected in zip(_parameters(model), _parameters(_alone(3, rounds)), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)

    run_ranks(3, main, env={"RUEDA_BACKEND": backend, **_LIMITS})


def test_optimizers_that_some_ranks_have_not_used_yet_match_after_a_join(run_ranks):
    def main():
        models = [_embedding_and_head() for _ in range(2)]
        optimizers = [_wrapped(model) for model in models]
        # In the first round ranks 0 and 1 step one each; rank 2 has no data.
        rounds = [[(1, 0), (0, 1), (0, 0)], [(1, 1), (1, 1), (1, 1)], [(0, 1), (2, 1), (1, 0)]]
        for plan in rounds:
            for which, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
                for step in range(plan[hvd.rank()][which]):
                    optimizer.zero_grad()
                    _loss(model, step, hvd.rank()).backward()
                    optimizer.step()
                last = hvd.join()
                for module in model:
                    hvd.broadcast_parameters(module.state_dict(), last)
        for which, model in enumerate(models):
            steps = [tuple(of_rank[which] for of_rank in plan) for plan in rounds]
            expected = _parameters(_alone(3, steps))
            for found, wanted in zip(_parameters(model), expected, strict=True):
                assert torch.allclose(found, wanted, atol=1e-6)

    run_ranks(3, main, env=_LIMITS)


def test_accumulation_clipping_and_groups_go_on_without_the_joined(run_ranks):
    def main():
        size, steps = hvd.size(), (1, 3, 2)
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        plain = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        plain.load_state_dict(model.state_dict())

        def backward(module, step, which, rank, scale):
            generator = torch.Generator().manual_seed(100 * step + 10 * which + rank)
            (module(torch.randn(4, 5, generator=generator)).square().mean() * scale).backward()

        optimizer = hvd.DistributedOptimizer(
            torch.optim.Adam(model.parameters(), lr=0.05),
            model.named_parameters(),
            backward_passes_per_step=2,
            groups=2,
        )
        for step in range(steps[hvd.rank()]):
            optimizer.zero_grad()
            for which in range(2):
                backward(model, step, which, hvd.rank(), 1.0)
            optimizer.synchronize()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            with optimizer.skip_synchronize():
                optimizer.step()
        last = hvd.join()
        assert last == 1
        hvd.broadcast_parameters(model.state_dict(), last)
        expected = torch.optim.Adam(plain.parameters(), lr=0.05)
        for step in range(max(steps)):
            expected.zero_grad()
            for rank in range(size):
                for which in range(2):
                    if step < steps[rank]:
                        backward(plain, step, which, rank, 1.0 / size)
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.05)
            expected.step()
        for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(found, wanted, atol=1e-5)

    run_ranks(3, main, env=_LIMITS)


@pytest.mark.parametrize("compression", ["powersgd", "own"])
def test_compression_in_python_goes_on_without_the_joined(run_ranks, compression):
    def main():
        class Own(hvd.Compression.fp16):
            """A user's own, by derivation."""

        torch.manual_seed(0)
        model = torch.nn.Linear(8, 8, bias=False)
        start = model.weight.detach().clone()
        chosen = hvd.PowerSGD(rank=8) if compression == "powersgd" else Own
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=1.0), compression=chosen
        )
        rounds, total = [(0, 2), (2, 1), (1, 1)], torch.zeros(8, 8)
        for steps in rounds:
            for _ in range(steps[hvd.rank()]):
                optimizer.zero_grad()
                (model(torch.eye(8)).sum() * (hvd.rank() + 1.0)).backward()
                optimizer.step()
            hvd.broadcast_parameters(model.state_dict(), hvd.join())
            for step in range(max(steps)):
                present = [rank for rank in range(2) if step < steps[rank]]
                total += sum(rank + 1.0 for rank in present) / 2
        # Of rank 1, so eight columns of it hold all of such a gradient.
        assert torch.allclose(model.weight, start - total, atol=2e-2)

    run_ranks(2, main, env=_LIMITS)


def test_an_optimizer_of_a_set_is_plain_outside_and_disturbs_nobody_once_the_set_is_gone(run_ranks):
    def main():
        pair = hvd.add_process_set([0, 2])
        models = [_embedding_and_head() for _ in range(2)]
        of_pair = _wrapped(models[0], process_set=pair)
        of_all = _wrapped(models[1])
        _loss(models[0], 0, hvd.rank()).backward()
        own = [p.grad.to_dense().clone() for p in _parameters(models[0])]
        of_pair.step()  # its gradients stay
        sums = [hvd.allreduce(g, op=hvd.Sum, process_set=pair) for g in own if pair.included()]
        divisor = 2 if pair.included() else 1
        for parameter, total in zip(_parameters(models[0]), sums or own, strict=True):
            assert torch.allclose(parameter.grad.to_dense(), total / divisor, atol=1e-6)
        hvd.remove_process_set(pair)
        for _ in range(2):
            of_all.zero_grad()
            _loss(models[1], 0, hvd.rank()).backward()
            of_all.step()
            hvd.join()
        expected = _parameters(_alone(3, [(1, 1, 1), (1, 1, 1)]))
        for found, wanted in zip(_parameters(models[1]), expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-6)

    run_ranks(3, main, env={**_LIMITS, "RUEDA_DYNAMIC_PROCESS_SETS": "1"})
