"""Distributed optimizers over shutdown and init: they follow, whatever kind they are."""

from __future__ import annotations

import gc

import pytest
import torch

import rueda as hvd


def _model():
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(6, 17), torch.nn.Tanh(), torch.nn.Linear(17, 3))


def _embedding():
    torch.manual_seed(6)
    return torch.nn.Embedding(9, 3, sparse=True)


def _backward(model, step):
    generator = torch.Generator().manual_seed(100 * step + hvd.rank())
    if isinstance(model, torch.nn.Embedding):
        inputs = torch.randint(0, 9, (4,), generator=generator)
    else:
        inputs = torch.randn(4, 6, generator=generator)
    model(inputs).square().mean().backward()


class _Halves:
    """A user's own compression."""

    @staticmethod
    def compress(tensor):
        return tensor.half(), tensor.dtype

    @staticmethod
    def decompress(tensor, dtype):
        return tensor.to(dtype)


def _sgd(model, **options):
    inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return hvd.DistributedOptimizer(inner, model.named_parameters(), **options)


_KINDS = {
    "plain": _sgd,
    "predivided": lambda model: _sgd(model, gradient_predivide_factor=2.0),
    "groups": lambda model: _sgd(model, groups=2),
    "two passes": lambda model: _sgd(model, backward_passes_per_step=2),
    "bf16": lambda model: _sgd(model, compression=hvd.Compression.bf16),
    "own compression": lambda model: _sgd(model, compression=_Halves),
    "PowerSGD": lambda model: _sgd(model, compression=hvd.PowerSGD(rank=1)),
    "Adasum": lambda model: _sgd(model, op=hvd.Adasum),
    "sparse": lambda model: hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.5), op=hvd.Sum
    ),
}


def _again():
    hvd.shutdown()
    hvd.init()


@pytest.mark.parametrize("kind", _KINDS)
def test_training_goes_on_in_another_job_as_if_it_were_the_same(run_ranks, kind):
    def main():
        def train(between):
            model = _embedding() if kind == "sparse" else _model()
            optimizer = _KINDS[kind](model)
            for step in range(6):
                for which_pass in range(2 if kind == "two passes" else 1):
                    _backward(model, 10 * step + which_pass)
                optimizer.step()
                optimizer.zero_grad(set_to_none=step % 2 == 0)
                if step in (1, 2):
                    between()
            return torch.cat([p.detach().flatten() for p in model.parameters()])

        expected = train(lambda: None)
        assert torch.equal(train(_again), expected)
        return expected.tolist()

    first, second = run_ranks(2, main)
    assert first == second


def test_gradients_are_on_their_way_during_backward_again(run_ranks):
    def main():
        model = _model()
        optimizer = _sgd(model)
        _again()
        optimizer.zero_grad()
        _backward(model, 0)
        with pytest.raises(AssertionError, match="while gradients are being reduced"):
            optimizer.zero_grad()
        optimizer.step()

    run_ranks(2, main)


def test_a_step_that_was_under_way_is_forgotten(run_ranks):
    def main():
        model = _model()
        optimizer = _sgd(model)
        _backward(model, 0)  # its gradients are on their way, and nobody asks for them
        _again()
        model.zero_grad()
        _backward(model, 1)
        optimizer.step()

        other = _model()
        fresh = _sgd(other)
        _backward(other, 1)
        fresh.step()
        found, expected = ([*m.parameters()] for m in (model, other))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    run_ranks(2, main)


def test_between_two_jobs_a_step_says_that_there_is_none(run_ranks):
    def main():
        model = _model()
        optimizer = _sgd(model)
        hvd.shutdown()
        loss = model(torch.ones(1, 6)).sum()
        loss.backward()
        before = [p.detach().clone() for p in model.parameters()]
        with pytest.raises(hvd.HorovodInternalError, match="R102"):
            optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    run_ranks(2, main)


def test_wrapping_again_works_while_the_old_one_is_still_there(run_ranks):
    def main():
        model = _model()
        plain = torch.optim.SGD(model.parameters(), lr=0.1)
        first = hvd.DistributedOptimizer(plain)
        _backward(model, 0)
        first.step()
        _again()
        second = hvd.DistributedOptimizer(plain)
        second.zero_grad()
        _backward(model, 1)
        second.step()
        del first
        gc.collect()
        second.zero_grad()
        _backward(model, 2)
        second.step()
        return [p.tolist() for p in model.parameters()]

    first, second = run_ranks(2, main)
    assert first == second


def test_ranks_need_not_come_back_to_their_optimizers_in_one_order(run_ranks):
    def main():
        models = [_model(), _embedding()]
        optimizers = [_sgd(models[0]), _KINDS["sparse"](models[1])]
        lost = _sgd(_model()) if hvd.rank() == 0 else None
        _again()
        third = _model()
        order = [0, 1] if hvd.rank() == 0 else [1, 0]
        for index in order:
            optimizers[index].zero_grad()
        newest = _sgd(third)
        for model, optimizer in zip([*models, third], [*optimizers, newest], strict=True):
            _backward(model, 3)
            optimizer.step()
        assert lost is None or hvd.rank() == 0
        return [p.tolist() for model in (*models, third) for p in model.parameters()]

    first, second = run_ranks(2, main)
    assert first == second


def test_a_set_that_was_not_registered_again_is_named(run_ranks):
    def main():
        pair = hvd.ProcessSet([0, 1])
        hvd.init(process_sets=[pair])
        model = _model()
        optimizer = _sgd(model, process_set=pair)
        _again()
        if pair.included():
            with pytest.raises(ValueError, match="is not registered"):
                optimizer.step()
        hvd.barrier()
        hvd.shutdown()
        hvd.init(process_sets=[pair])
        optimizer.zero_grad()
        _backward(model, 0)
        optimizer.step()
        return model[0].weight.tolist()

    first, second, _ = run_ranks(3, main, init=False)
    assert first == second


def test_a_copy_of_an_optimizer_follows_too(run_ranks):
    def main():
        import copy

        model = _model()
        optimizer = _sgd(model)
        model, optimizer = copy.deepcopy((model, optimizer))
        _again()
        _backward(model, 0)
        optimizer.step()
        model, optimizer = copy.deepcopy((model, optimizer))
        optimizer.zero_grad()
        _backward(model, 1)
        optimizer.step()
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
        _again()
        _backward(model, 2)
        optimizer.step()
        return [p.tolist() for p in model.parameters()]

    first, second = run_ranks(2, main)
    assert first == second
