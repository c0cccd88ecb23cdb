"""What a user may do to parameters and gradients, and that ranks stay alike in spite of it."""

from __future__ import annotations

import copy
import gc

import pytest
import torch

import rueda as hvd


@pytest.fixture
def plain_gradients():
    """The gradients of a copy of a model that no optimizer knows, by name."""

    def compute(model, backward):
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.grad = None
        backward(twin)
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in twin.named_parameters()
        }

    return compute


@pytest.fixture
def assert_averaged(tree_sum):
    """Assert that a model's gradients are the average of all ranks' own."""

    def check(model, own):
        everyones = hvd.allgather_object(own)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            expected = tree_sum([one[name] for one in everyones]) / len(everyones)
            assert torch.equal(parameter.grad, expected), name

    return check


def _sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@pytest.mark.parametrize("size", [2, 3])
def test_a_parameter_that_some_or_all_ranks_do_not_use(
    run_ranks, plain_gradients, assert_averaged, size
):
    class Branches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left = torch.nn.Linear(4, 3)
            self.right = torch.nn.Linear(4, 3)
            self.never = torch.nn.Linear(4, 3)

        def forward(self, x, use_left):
            return self.left(x) if use_left else self.right(x)

    def main():
        torch.manual_seed(1)
        model = Branches()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        for step in range(4):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            use_left = (hvd.rank() + step) % 2 == 0

            def backward(m, use_left=use_left, step=step):
                m(torch.ones(2, 4) * (step + hvd.rank() + 1), use_left).square().sum().backward()

            own = plain_gradients(model, backward)
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            assert model.never.weight.grad.eq(0).all()

    run_ranks(size, main)


def test_no_backward_at_all_on_one_rank(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        if hvd.rank() == 0:
            loss(model, batch(0, 0)).backward()
        optimizer.step()
        return [parameter.grad.clone() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert first[0].ne(0).any()


def test_tied_parameters(run_ranks, plain_gradients, assert_averaged):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 6)
            self.output = torch.nn.Linear(6, 11, bias=False)
            self.output.weight = self.embedding.weight

        def forward(self, x):
            return self.output(self.embedding(x))

    def main():
        torch.manual_seed(1)
        model = Tied()
        optimizer = hvd.DistributedOptimizer(_sgd(model), model.named_parameters())
        for _ in range(3):
            optimizer.zero_grad()
            words = torch.tensor([1, 2 + hvd.rank(), 5])

            def backward(m, words=words):
                m(words).square().sum().backward()

            own = plain_gradients(model, backward)
            backward(model)
            optimizer.step()
            assert_averaged(model, own)

    run_ranks(2, main)


@pytest.mark.parametrize("compression", ["none", "fp16"])
def test_a_second_backward_names_the_parameter_and_leaves_the_job_usable(
    run_ranks, make_model, batch, loss, compression
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model), model.named_parameters(), compression=getattr(hvd.Compression, compression)
        )
        for _ in range(2):
            loss(model, batch(0, hvd.rank())).backward()
            with pytest.raises(
                AssertionError,
                match=r"parameter '2.bias': .*backward_passes_per_step=1 before step",
            ):
                loss(model, batch(1, hvd.rank())).backward()
            optimizer.step()
            optimizer.zero_grad()
        loss(model, batch(2, hvd.rank())).backward()
        optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_more_passes_than_announced(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model), backward_passes_per_step=2)
        for _ in range(2):
            loss(model, batch(0, hvd.rank())).backward()
        with pytest.raises(AssertionError, match="backward_passes_per_step=2"):
            loss(model, batch(0, hvd.rank())).backward()
        optimizer.step()
        optimizer.zero_grad()
        with pytest.raises(ValueError, match="must be a whole number from 1"):
            optimizer.set_backward_passes_per_step(0)
        optimizer.set_backward_passes_per_step(3)
        for _ in range(3):
            loss(model, batch(0, hvd.rank())).backward()
        optimizer.step()

    run_ranks(2, main)


@pytest.mark.parametrize("clear", ["optimizer", "model"])
def test_gradients_cannot_be_cleared_while_they_are_reduced(
    run_ranks, make_model, batch, loss, clear
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        loss(model, batch(0, hvd.rank())).backward()
        if clear == "optimizer":
            with pytest.raises(
                AssertionError, match=r"optimizer.zero_grad\(\) while gradients are"
            ):
                optimizer.zero_grad()
        else:
            # PyTorch does not ask; the bucket keeps what is under way.
            model.zero_grad()
        optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert first[0].isfinite().all()


def test_model_zero_grad_between_steps(run_ranks, make_model, plain_gradients, assert_averaged):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model))
        for step in range(4):

            def backward(m, step=step):
                m(torch.ones(3, 6) * (step + hvd.rank())).square().sum().backward()

            own = plain_gradients(model, backward)
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            model.zero_grad(set_to_none=step % 2 == 0)

    run_ranks(2, main)


def test_user_code_replaces_gradients_and_data(
    run_ranks, make_model, plain_gradients, assert_averaged
):
    def replace_gradients(model, step):
        for parameter in model.parameters():
            if step == 0:
                parameter.grad = torch.zeros_like(parameter)
            elif step == 1:
                parameter.grad = None
            elif step == 2:
                parameter.grad.data = torch.zeros_like(parameter)
            elif step == 3:
                parameter.grad = parameter.grad.t().contiguous().t().mul(0)
            elif step == 4:
                parameter.data = parameter.data.clone().add_(0.25)
                parameter.grad.zero_()
            elif step == 5:
                parameter.data = parameter.data.t().contiguous().t()
                parameter.grad.zero_()
            elif step == 6:
                parameter.grad.set_(torch.zeros(parameter.shape))
            elif step == 7:
                parameter.grad.detach_().zero_()
            else:
                parameter.grad = parameter.grad.detach().clone().zero_()

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        for step in range(10):

            def backward(m, step=step):
                m(torch.ones(3, 6) * (step + hvd.rank() + 1)).square().sum().backward()

            own = plain_gradients(model, backward)
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            replace_gradients(model, step)

    run_ranks(2, main)


def test_gradients_kept_by_the_user_keep_their_values(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        kept = []
        for step in range(4):
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
            kept.append([(p.grad, p.grad.clone()) for p in model.parameters()])
            # With set_to_none PyTorch never writes into the old gradient again.
            optimizer.zero_grad(set_to_none=True)
        for of_step in kept:
            assert all(torch.equal(gradient, copied) for gradient, copied in of_step)

    run_ranks(2, main)


def test_gradients_with_a_graph(run_ranks, make_model, plain_gradients, assert_averaged):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        for step in range(3):

            def backward(m, step=step):
                value = m(torch.ones(3, 6) * (step + hvd.rank() + 1)).square().sum()
                value.backward(create_graph=True)

            own = {n: g.detach() for n, g in plain_gradients(model, backward).items()}
            backward(model)
            optimizer.step()
            assert_averaged(model, own)
            optimizer.zero_grad()

    run_ranks(2, main)


def test_a_gradient_penalty(run_ranks, make_model, plain_gradients, assert_averaged):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))

        def backward(m):
            inputs = (torch.ones(3, 6) * (hvd.rank() + 1)).requires_grad_()
            output = m(inputs).square().sum()
            (slope,) = torch.autograd.grad(output, inputs, create_graph=True)
            (output + slope.square().sum()).backward()

        own = plain_gradients(model, backward)
        backward(model)
        optimizer.step()
        assert_averaged(model, own)

    run_ranks(2, main)


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


def test_a_sparse_gradient_is_refused_by_name(run_ranks):
    def main():
        model = torch.nn.Embedding(10, 3, sparse=True)
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1), model.named_parameters()
        )
        with pytest.raises(ValueError, match="gradient of parameter 'weight' is sparse"):
            model(torch.tensor([1, 2])).sum().backward()
        return optimizer is not None

    assert run_ranks(2, main) == [True, True]


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
