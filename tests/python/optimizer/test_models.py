"""Models and hooks of every kind under the wrapped optimizer."""

from __future__ import annotations

import gc

import pytest
import torch

import rueda as hvd


def _sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@pytest.mark.parametrize("registered", ["before wrapping", "after wrapping"])
def test_python_hooks_on_the_same_parameters(
    run_ranks, make_model, plain_gradients, assert_averaged, registered
):
    def main():
        model = make_model()
        calls = []

        def accumulated(parameter):
            calls.append("accumulated")
            # What a hook does to the gradient is reduced.
            parameter.grad.mul_(2.0)

        def computed(gradient):
            calls.append("computed")

        def register():
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(accumulated)
                parameter.register_hook(computed)

        if registered == "before wrapping":
            register()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        if registered == "after wrapping":
            register()
        for step in range(3):

            def backward(m, step=step):
                m(torch.ones(3, 6) * (step + hvd.rank() + 1)).square().sum().backward()

            own = {n: g * 2.0 for n, g in plain_gradients(model, backward).items()}
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            assert sorted(calls) == ["accumulated"] * 4 + ["computed"] * 4
            calls.clear()
            optimizer.zero_grad(set_to_none=step == 1)

    run_ranks(2, main)


def test_frozen_parameters_and_ones_that_thaw(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        model[0].requires_grad_(False)
        optimizer = hvd.DistributedOptimizer(_sgd(model), model.named_parameters())
        frozen = model[0].weight.clone()
        for step in range(6):
            if step == 2:
                model[0].requires_grad_(True)
            if step == 4:
                model[2].requires_grad_(False)
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
            assert torch.equal(model[0].weight, frozen) == (step < 2)
            assert len({str(one) for one in hvd.allgather_object(model.state_dict())}) == 1
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_a_model_that_changes_its_dtype(run_ranks, make_model, batch):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            model.to(dtype)
            for step in range(2):
                optimizer.zero_grad()
                model(batch(step, hvd.rank()).to(dtype)).square().mean().backward()
                optimizer.step()
                assert model[0].weight.grad.dtype == dtype
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_channels_last_models(run_ranks, plain_gradients, assert_averaged):
    def main():
        torch.manual_seed(2)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3)
        ).to(memory_format=torch.channels_last)
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        generator = torch.Generator().manual_seed(hvd.rank())
        for step in range(3):
            images = torch.randn(2, 3, 8, 8, generator=generator).to(
                memory_format=torch.channels_last
            )

            def backward(m, images=images):
                m(images).square().mean().backward()

            own = plain_gradients(model, backward)
            optimizer.zero_grad(set_to_none=step == 1)
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            assert model[0].weight.grad.is_contiguous(memory_format=torch.channels_last)

    run_ranks(2, main)


def test_checkpointed_and_compiled_free_graphs(
    run_ranks, make_model, plain_gradients, assert_averaged
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        for reentrant in (True, False):

            def backward(m, reentrant=reentrant):
                inputs = torch.ones(3, 6, requires_grad=True) * (hvd.rank() + 1)
                torch.utils.checkpoint.checkpoint(
                    m, inputs, use_reentrant=reentrant
                ).square().sum().backward()

            own = plain_gradients(model, backward)
            optimizer.zero_grad()
            backward(model)
            optimizer.step()
            assert_averaged(model, own)

    run_ranks(2, main)


def test_two_optimizers_of_one_model(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        first = hvd.DistributedOptimizer(torch.optim.SGD(model[0].parameters(), lr=0.1))
        second = hvd.DistributedOptimizer(torch.optim.Adam(model[2].parameters(), lr=0.1))
        for step in range(4):
            first.zero_grad()
            second.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            # Ranks may step in different orders.
            for optimizer in (first, second) if hvd.rank() else (second, first):
                optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_an_optimizer_dropped_with_gradients_under_way(run_ranks, make_model, batch, loss):
    def main():
        for step in range(20):
            model = make_model()
            optimizer = hvd.DistributedOptimizer(_sgd(model))
            loss(model, batch(step, hvd.rank())).backward()
            if step % 2:
                del optimizer
            else:
                del model
            gc.collect()
        hvd.barrier()
        # A model whose optimizer is gone is an ordinary model.
        model = make_model()
        hvd.DistributedOptimizer(_sgd(model))
        gc.collect()
        for _ in range(3):
            loss(model, batch(0, hvd.rank())).backward()

    run_ranks(2, main)


def test_backward_on_other_threads(run_ranks, make_model, batch, loss):
    import threading

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        for step in range(5):
            optimizer.zero_grad()
            thread = threading.Thread(
                target=lambda step=step: loss(model, batch(step, hvd.rank())).backward()
            )
            thread.start()
            thread.join()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
