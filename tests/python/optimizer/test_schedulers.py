"""Learning-rate schedulers and step hooks beside a distributed optimizer."""

from __future__ import annotations

import warnings

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("made", ["before wrapping", "after wrapping"])
def test_a_scheduler_works_without_a_warning(run_ranks, make_model, batch, loss, made):
    def main():
        warnings.simplefilter("error")
        model = make_model()
        plain = torch.optim.SGD(model.parameters(), lr=1.0)
        if made == "before wrapping":
            scheduler = torch.optim.lr_scheduler.StepLR(plain, 1, 0.1)
        optimizer = hvd.DistributedOptimizer(plain)
        if made == "after wrapping":
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
        for step in range(3):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
            scheduler.step()
            assert optimizer.param_groups[0]["lr"] == pytest.approx(10.0 ** -(step + 1))
        # Loading replaces the groups; the scheduler must change the new ones.
        optimizer.load_state_dict(optimizer.state_dict())
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_schedulers_of_every_kind_take_the_optimizer(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=1.0))
        kinds = torch.optim.lr_scheduler
        warmup = kinds.LinearLR(optimizer, start_factor=0.1, total_iters=2)
        cosine = kinds.CosineAnnealingLR(optimizer, T_max=4)
        schedulers = [
            kinds.SequentialLR(optimizer, [warmup, cosine], milestones=[2]),
            kinds.ReduceLROnPlateau(optimizer, patience=0),
        ]
        rates = []
        for step in range(4):
            optimizer.zero_grad()
            value = loss(model, batch(step, hvd.rank()))
            value.backward()
            optimizer.step()
            schedulers[0].step()
            schedulers[1].step(hvd.allreduce(value.detach()).item())
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    first, second = run_ranks(2, main)
    assert first == second
    assert len(set(first)) > 1


def test_step_hooks_run_once_also_after_loading(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        calls = []

        def before(_, arguments, options):
            # Gradients are reduced by then.
            calls.append(("before", model[0].weight.grad.sum().item()))

        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(lambda *_: calls.append(("after", 0)))
        for _ in range(2):
            loss(model, batch(0, hvd.rank())).backward()
            optimizer.step()
            assert [name for name, _ in calls] == ["before", "after"]
            assert calls[0][1] == model[0].weight.grad.sum().item()
            calls.clear()
            optimizer.zero_grad()
            optimizer.load_state_dict(optimizer.state_dict())

    run_ranks(2, main)
