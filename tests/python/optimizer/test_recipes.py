"""Recipes of training scripts: gradient scaling, clipping, several optimizers and passes."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def _same(results):
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": hvd.Compression.fp16},
        {"groups": 2},
        {"compression": hvd.PowerSGD(rank=1, min_compression_rate=1.0)},
    ],
)
@pytest.mark.parametrize("size", [2, 3])
def test_what_is_not_finite_on_one_rank_skips_the_step_on_all(
    run_ranks, make_model, batch, loss, size, options, bad
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model), **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        scales, moved = [], []
        for step in range(4):
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            value = loss(model, batch(step, hvd.rank()))
            if step == 1 and hvd.rank() == 1:
                value = value * bad
            scaler.scale(value).backward()
            optimizer.synchronize()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            with optimizer.skip_synchronize():
                scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
            pairs = zip(model.parameters(), before, strict=True)
            moved.append(any(not torch.equal(p, b) for p, b in pairs))
        assert scales == [64.0, 32.0, 32.0, 32.0]
        assert moved == [True, False, True, True]
        assert all(p.isfinite().all() for p in model.parameters())
        return [p.detach() for p in model.parameters()]

    _same(run_ranks(size, main))


@pytest.mark.parametrize("how", ["norm", "value", "own"])
def test_clipping(run_ranks, make_model, batch, loss, train_alone, assert_equal, how):
    def clip(model):
        if how == "norm":
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        elif how == "value":
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
        else:
            for parameter in model.parameters():
                parameter.grad = parameter.grad.clamp(-0.01, 0.01)

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        for step in range(4):
            optimizer.zero_grad(set_to_none=step == 2)
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.synchronize()
            clip(model)
            with optimizer.skip_synchronize():
                optimizer.step()
        assert_equal(model, train_alone(3, _sgd, before_step=clip))

    run_ranks(3, main)


def test_two_optimizers_each_with_passes_of_its_own(run_ranks, make_model, batch, loss):
    def main():
        model, reference = make_model(), make_model()
        often = hvd.DistributedOptimizer(torch.optim.SGD(model[0].parameters(), lr=0.1))
        seldom = hvd.DistributedOptimizer(
            torch.optim.SGD(model[2].parameters(), lr=0.1), backward_passes_per_step=2
        )
        for step in range(4):
            often.zero_grad()
            if step % 2 == 0:
                seldom.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            often.step()
            if step % 2 == 1:
                seldom.step()
        _train_reference(reference, batch, loss)
        for found, expected in zip(model.parameters(), reference.parameters(), strict=True):
            assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
        return [p.detach() for p in model.parameters()]

    _same(run_ranks(2, main))


def _train_reference(model, batch, loss):
    for step in range(4):
        kept = [p.grad for p in model[2].parameters()]
        model.zero_grad()
        if step % 2:
            for parameter, gradient in zip(model[2].parameters(), kept, strict=True):
                parameter.grad = gradient
        (sum(loss(model, batch(step, rank)) for rank in range(2)) / 2).backward()
        for layer in (model[0], *([model[2]] if step % 2 else [])):
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.sub_(parameter.grad, alpha=0.1)


def test_passes_change_between_steps_and_the_extra_one_is_named(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model), model.named_parameters())
        for passes in (1, 3, 2, 1):
            optimizer.set_backward_passes_per_step(passes)
            optimizer.zero_grad()
            for which_pass in range(passes):
                loss(model, batch(passes, hvd.rank(), which_pass)).backward()
            with pytest.raises(AssertionError, match=rf"parameter '2\.bias'.*per_step={passes} "):
                loss(model, batch(0, 0)).backward()
            optimizer.step()
        return [p.detach() for p in model.parameters()]

    _same(run_ranks(2, main))


def test_a_closure_inside_skip_synchronize_computes_local_gradients(
    run_ranks, make_model, batch, loss
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))

        def closure():
            optimizer.zero_grad()
            value = loss(model, batch(0, hvd.rank()))
            value.backward()
            optimizer.synchronize()
            return value

        with optimizer.skip_synchronize():
            assert optimizer.step(closure).item() > 0
        return [p.detach() for p in model.parameters()]

    _same(run_ranks(2, main))


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_state_of_lbfgs_is_refused_in_words(run_ranks, make_model, wrapped):
    def main():
        optimizer = torch.optim.LBFGS(make_model().parameters())
        if wrapped:
            optimizer = hvd.DistributedOptimizer(optimizer)
        with pytest.raises(ValueError, match="the state of LBFGS cannot be broadcast"):
            hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    run_ranks(2, main)
