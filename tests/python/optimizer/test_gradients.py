"""What a user may do to parameters and gradients, and that ranks stay alike in spite of it."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


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


@pytest.mark.parametrize("compression", [hvd.Compression.none, hvd.Compression.bf16])
def test_complex_gradients_are_reduced_as_they_are(run_ranks, compression):
    def main():
        weight = torch.nn.Parameter(torch.arange(5) * (1 + 2j))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD([weight], lr=1.0), [("weight", weight)], compression=compression
        )
        ours = [torch.full((5,), complex(rank + 1, 3 * rank)) for rank in range(hvd.size())]
        (weight * ours[hvd.rank()]).real.sum().backward()
        optimizer.synchronize()
        # The gradient of Re(w z) is the conjugate of z.
        assert torch.equal(weight.grad, torch.stack(ours).conj().mean(0).resolve_conj())

    run_ranks(2, main)
