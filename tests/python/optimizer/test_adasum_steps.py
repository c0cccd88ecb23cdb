"""op=Adasum in the optimizer: each rank steps by its own gradients and the steps are combined."""

from __future__ import annotations

import copy

import pytest
import torch

import rueda as hvd
from rueda._adasum import combine


def _train_alone(make_model, loss, batch, make_optimizer, size, *, steps, passes=1, wire=None):
    """All ranks' steps in one process, each with an optimizer of its own."""
    model = make_model()
    models = [copy.deepcopy(model) for _ in range(size)]
    optimizers = [make_optimizer(one) for one in models]
    for step in range(steps):
        start = [p.detach().clone() for p in models[0].parameters()]
        for rank, (one, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            one.zero_grad()
            for which_pass in range(passes):
                loss(one, batch(step, rank, which_pass)).backward()
            optimizer.step()
        for index, before in enumerate(start):
            deltas = [list(m.parameters())[index].detach() - before for m in models]
            if wire is not None:
                deltas = [d.to(wire) for d in deltas]
            combined = before + combine(deltas).to(deltas[0].dtype).to(before.dtype)
            for one in models:
                list(one.parameters())[index].data.copy_(combined)
    return [p.detach() for p in models[0].parameters()]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_steps_are_combined(run_ranks, make_model, batch, loss, assert_equal, size, passes, kind):
    def make(model):
        return getattr(torch.optim, kind)(model.parameters(), lr=0.05)

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            make(model), model.named_parameters(), op=hvd.Adasum, backward_passes_per_step=passes
        )
        for step in range(3):
            optimizer.zero_grad()
            for which_pass in range(passes):
                loss(model, batch(step, hvd.rank(), which_pass)).backward()
            optimizer.synchronize()
            optimizer.step()
        expected = _train_alone(make_model, loss, batch, make, size, steps=3, passes=passes)
        assert_equal(model, expected)

    run_ranks(size, main)


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_steps_may_travel_as_16_bits(run_ranks, make_model, batch, loss, assert_equal, kind):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.05)

    wire = {"fp16": torch.float16, "bf16": torch.bfloat16}[kind]

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            make(model), op=hvd.Adasum, compression=getattr(hvd.Compression, kind)
        )
        for step in range(2):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        assert_equal(model, _train_alone(make_model, loss, batch, make, 2, steps=2, wire=wire))

    run_ranks(2, main)


def test_one_rank_is_the_plain_optimizer(run_ranks, make_model, batch, loss, train_alone):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.05)

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(make(model), op=hvd.Adasum)
        for step in range(3):
            optimizer.zero_grad()
            loss(model, batch(step, 0)).backward()
            optimizer.step()
        for found, wanted in zip(model.parameters(), train_alone(1, make, steps=3), strict=True):
            assert torch.equal(found, wanted)

    run_ranks(1, main)


def test_closures_frozen_parameters_and_copies(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        model[0].bias.requires_grad_(False)
        bias = model[0].bias.detach().clone()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.05), op=hvd.Adasum
        )
        model, optimizer = copy.deepcopy((model, optimizer))

        def closure():
            optimizer.zero_grad()
            value = loss(model, batch(0, hvd.rank()))
            value.backward()
            return value

        first = optimizer.step(closure)
        assert optimizer.step(closure) < first
        assert torch.equal(model[0].bias, bias)
        return [p.detach() for p in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_what_horovod_refuses_is_refused(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.05), model.named_parameters(), op=hvd.Adasum
        )
        refused = pytest.raises(AssertionError, match="skip_synchronize cannot be used")
        with refused, optimizer.skip_synchronize():
            optimizer.step()
        loss(model, batch(0, 0)).backward()
        with pytest.raises(AssertionError, match=r"parameter '2\.bias'"):
            loss(model, batch(0, 0)).backward()
        with pytest.raises(AssertionError, match="zero_grad"):
            optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()

    run_ranks(2, main)


def test_a_failed_combination_leaves_the_parameters_alone(run_ranks):
    def main():
        parameter = torch.nn.Parameter(torch.ones(3 + hvd.rank()))
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD([parameter], lr=0.5), op=hvd.Adasum)
        parameter.sum().backward()
        with pytest.raises(hvd.HorovodInternalError, match="ranks disagree on the shape"):
            optimizer.step()
        assert parameter.eq(1).all()
        hvd.barrier()

    run_ranks(2, main)
