"""PowerSGD: low-rank gradients with error feedback, equal on all ranks."""

from __future__ import annotations

import copy
import io

import pytest
import torch

import rueda as hvd


def _parameters(dtype=torch.float32):
    torch.manual_seed(2)
    shapes = [(12, 9), (10,), (8, 3, 3, 3), (2, 2), (7, 40)]
    return [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]


def _gradient(parameter, index, rank, step):
    generator = torch.Generator().manual_seed(1000 * step + 10 * rank + index)
    return torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def _backward(parameters, rank, step):
    """A loss whose gradients are the ones above."""
    pairs = [(p, _gradient(p, i, rank, step)) for i, p in enumerate(parameters)]
    sum((p * g).sum() for p, g in pairs).backward()
    return [g for _, g in pairs]


def _wrapped(parameters, **options):
    return hvd.DistributedOptimizer(
        torch.optim.SGD(parameters, lr=0.1),
        compression=hvd.PowerSGD(rank=2, min_compression_rate=1.2),
        **options,
    )


def _saved(optimizer):
    return optimizer.state_dict()["rueda"]["powersgd"]


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_what_was_sent_and_what_is_left_are_the_gradient(run_ranks, size, passes):
    def main():
        parameters = _parameters()
        optimizer = _wrapped(parameters, backward_passes_per_step=passes)
        own = [torch.zeros_like(p) for p in parameters]
        sent = [torch.zeros_like(p) for p in parameters]
        for step in range(5):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(passes):
                found = _backward(parameters, hvd.rank(), step + 100 * which_pass)
                for total, gradient in zip(own, found, strict=True):
                    total.add_(gradient)
            optimizer.step()
            for total, parameter in zip(sent, parameters, strict=True):
                total.add_(parameter.grad)
            residuals = _saved(optimizer)["residuals"]
            assert sorted(residuals) == [0, 2, 4]
            for index, (everything, arrived) in enumerate(zip(own, sent, strict=True)):
                left = residuals.get(index, torch.zeros(1))
                left = left.reshape(everything.shape) if index in residuals else 0 * everything
                expected = hvd.allreduce(everything)
                assert torch.allclose(arrived + hvd.allreduce(left), expected, atol=1e-4), index
                if index in residuals:
                    # It is truly compressed: one step does not carry everything.
                    assert left.norm() > 0.1
        return [p.detach() for p in parameters], [p.grad for p in parameters]

    first, *others = run_ranks(size, main)
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_step_is_algorithm_1_of_the_paper(run_ranks):
    def main():
        parameters = _parameters()[:1]
        optimizer = _wrapped(parameters)
        (factor,) = _saved(optimizer)["factors"].values()
        residual = [torch.zeros(12, 9) for _ in range(2)]
        for step in range(3):
            optimizer.zero_grad()
            _backward(parameters, hvd.rank(), step)
            optimizer.step()
            m = [_gradient(parameters[0], 0, r, step) + residual[r] for r in range(2)]
            basis = torch.linalg.qr((m[0] @ factor + m[1] @ factor) / 2).Q
            each = [one.T @ basis for one in m]
            factor = (each[0] + each[1]) / 2
            residual = [one - basis @ q.T for one, q in zip(m, each, strict=True)]
            assert torch.allclose(parameters[0].grad, basis @ factor.T, atol=1e-5)
            saved = _saved(optimizer)
            assert torch.allclose(saved["residuals"][0], residual[hvd.rank()], atol=1e-5)
            assert torch.linalg.matrix_rank(parameters[0].grad) == 2

    run_ranks(2, main)


def test_matrices_of_low_rank_arrive_whole_and_vectors_always(run_ranks):
    def main():
        torch.manual_seed(0)
        left, right = torch.randn(12, 2), torch.randn(2, 9)
        matrix, vector = (torch.nn.Parameter(torch.zeros(s)) for s in ((12, 9), (10,)))
        optimizer = _wrapped([matrix, vector])
        for step in range(3):
            optimizer.zero_grad()
            scale = hvd.rank() + 1 + step
            ((matrix * (left @ right)).sum() * scale + vector.sum() * scale).backward()
            optimizer.step()
            assert torch.allclose(matrix.grad, left @ right * (1.5 + step), atol=1e-4)
            assert vector.grad.eq(1.5 + step).all()

    run_ranks(2, main)


@pytest.mark.parametrize("op", ["Sum", "Average"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_operations_and_element_types(run_ranks, dtype, op):
    def main():
        matrix = torch.nn.Parameter(torch.zeros(12, 9, dtype=dtype))
        optimizer = _wrapped([matrix], op=getattr(hvd, op))
        optimizer.zero_grad()
        (matrix * (hvd.rank() + 1.0)).sum().backward()
        optimizer.step()
        assert matrix.grad.dtype == dtype
        expected = torch.full((12, 9), 3.0 if op == "Sum" else 1.5, dtype=dtype)
        assert torch.allclose(matrix.grad, expected, rtol=1e-2)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert _saved(optimizer)["residuals"][0].dtype == wide

    run_ranks(2, main)


def test_gradients_of_zero_and_unused_and_frozen_parameters(run_ranks):
    def main():
        parameters = _parameters()
        parameters[4].requires_grad_(False)
        optimizer = _wrapped(parameters)
        optimizer.step()
        assert not parameters[0].grad.any()
        assert parameters[4].grad is None
        optimizer.zero_grad()
        if hvd.rank() == 0:
            (parameters[0] * 3.0).sum().backward()
        optimizer.step()
        assert torch.allclose(parameters[0].grad, torch.full((12, 9), 1.5), atol=1e-5)

    run_ranks(2, main)


def test_a_net_converges_with_an_eighth_of_the_bytes(run_ranks):
    def train(compression):
        torch.manual_seed(4)
        net = torch.nn.Sequential(
            torch.nn.Linear(20, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh()
        )
        net.append(torch.nn.Linear(64, 1))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), compression=compression
        )
        generator = torch.Generator().manual_seed(hvd.rank())
        inputs = torch.randn(64, 20, generator=generator)
        wanted = (inputs[:, :1] * inputs[:, 1:2]).tanh()
        losses = []
        for _ in range(150):
            optimizer.zero_grad()
            loss = (net(inputs) - wanted).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(hvd.allreduce(loss.detach()).item())
        return losses

    def main():
        plain = train(hvd.Compression.none)
        low_rank = train(hvd.PowerSGD(rank=2, min_compression_rate=2.0))
        assert plain[-1] < 0.1 * plain[0]
        assert low_rank[-1] < 0.2 * low_rank[0]

    run_ranks(2, main)


def test_checkpoints_go_on_where_they_were_and_open_in_the_plain_optimizer(run_ranks):
    def main():
        parameters = _parameters()
        optimizer = _wrapped(parameters)
        for step in range(2):
            optimizer.zero_grad()
            _backward(parameters, hvd.rank(), step)
            optimizer.step()
        file = io.BytesIO()
        torch.save((optimizer.state_dict(), [p.detach() for p in parameters]), file)
        file.seek(0)
        state, values = torch.load(file)
        other = [torch.nn.Parameter(v.clone()) for v in values]
        resumed = _wrapped(other)
        resumed.load_state_dict(state)
        plain = torch.optim.SGD(_parameters(), lr=0.7)
        plain.load_state_dict(state)
        assert plain.param_groups[0]["lr"] == 0.1
        assert plain.state_dict().keys() == {"state", "param_groups"}
        twin_parameters, twin = copy.deepcopy((parameters, optimizer))
        runs = [(parameters, optimizer), (other, resumed), (twin_parameters, twin)]
        for own, one in runs:
            one.zero_grad()
            _backward(own, hvd.rank(), 2)
            one.step()
        for a, b, c in zip(*(own for own, _ in runs), strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)

    run_ranks(2, main)


def test_a_state_of_another_rank_brings_its_factors_and_no_residual(run_ranks):
    def main():
        parameters = _parameters()
        optimizer = _wrapped(parameters)
        _backward(parameters, hvd.rank(), 0)
        optimizer.step()
        roots = hvd.broadcast_object(optimizer.state_dict(), 0)
        own = copy.deepcopy(_saved(optimizer)["residuals"])
        hvd.broadcast_optimizer_state(optimizer, 0)
        for index, residual in _saved(optimizer)["residuals"].items():
            assert torch.equal(residual, own[index])
        optimizer.load_state_dict(roots)
        saved = _saved(optimizer)
        for index, residual in saved["residuals"].items():
            expected = roots["rueda"]["powersgd"]["residuals"][index]
            assert torch.equal(residual, expected if hvd.rank() == 0 else 0 * expected)
        for index, factor in saved["factors"].items():
            assert torch.equal(factor, roots["rueda"]["powersgd"]["factors"][index])

    run_ranks(2, main)


def test_added_parameters_keep_the_others_state(run_ranks):
    def main():
        parameters = _parameters()
        optimizer = _wrapped(parameters[:2])
        _backward(parameters[:2], hvd.rank(), 0)
        optimizer.step()
        before = _saved(optimizer)["residuals"][0]
        optimizer.zero_grad()
        optimizer.add_param_group({"params": parameters[2:]})
        assert torch.equal(_saved(optimizer)["residuals"][0], before)
        _backward(parameters, hvd.rank(), 1)
        optimizer.step()
        return [p.detach() for p in parameters]

    first, second = run_ranks(2, main)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 0}, "the rank is a whole number from 1"),
        ({"rank": 1.5}, "the rank is a whole number"),
        ({"min_compression_rate": 0.5}, "a factor from 1"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        hvd.PowerSGD(**options)
