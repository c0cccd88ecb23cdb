"""Embeddings with sparse gradients: reduced as rows, or made dense."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _make(sparse=True):
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.EmbeddingBag(20, 4, sparse=sparse, mode="sum"), torch.nn.Linear(4, 2)
    )


def _words(step, rank, which_pass=0):
    generator = torch.Generator().manual_seed(1000 * which_pass + 10 * step + rank)
    return torch.randint(0, 12, (5, 3), generator=generator)


def _loss(model, words):
    return model(words).square().mean()


def _train_alone(size, make_optimizer, *, sparse, steps=4, passes=1, unused=()):
    """In one process; each step's gradients are those of all ranks, averaged."""
    model = _make(sparse)
    optimizer = make_optimizer(model)
    for step in range(steps):
        total = {}
        for rank in range(size):
            model.zero_grad()
            for which_pass in range(passes):
                if (step, rank) not in unused:
                    _loss(model, _words(step, rank, which_pass)).backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is None:
                    continue
                own = parameter.grad.clone()
                total[name] = total[name] + own if name in total else own
        for name, parameter in model.named_parameters():
            parameter.grad = (total[name] / size) if name in total else None
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
        optimizer.step()
    return model


def _assert_close(model, other, atol=1e-6):
    for (name, found), wanted in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=atol), name


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("as_dense", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_training_equals_one_process(run_ranks, size, as_dense, passes):
    def make_optimizer(model):
        return torch.optim.SGD(model.parameters(), lr=0.5)

    def main():
        model = _make()
        optimizer = hvd.DistributedOptimizer(
            make_optimizer(model),
            model.named_parameters(),
            backward_passes_per_step=passes,
            sparse_as_dense=as_dense,
        )
        for step in range(4):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(passes):
                _loss(model, _words(step, hvd.rank(), which_pass)).backward()
            optimizer.step()
            if size > 1:
                assert model[0].weight.grad.is_sparse
        _assert_close(model, _train_alone(size, make_optimizer, sparse=True, passes=passes))
        return [p.detach() for p in model.parameters()]

    first, *others = run_ranks(size, main)
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_predivide_factor": 3.0},
        {"compression": hvd.Compression.bf16},
        {"op": hvd.Sum},
        {"groups": 2},
    ],
)
def test_options_count_for_sparse_gradients_too(run_ranks, options):
    def main():
        gradients = []
        for as_dense in (True, False):
            model = _make()
            optimizer = hvd.DistributedOptimizer(
                torch.optim.SGD(model.parameters(), lr=0.5), sparse_as_dense=as_dense, **options
            )
            _loss(model, _words(0, hvd.rank())).backward()
            optimizer.synchronize()
            gradients.append(model[0].weight.grad.to_dense())
        # Rows that a rank has several times are added before they are rounded, or after.
        bound = 1e-2 if "compression" in options else 1e-6
        assert gradients[0].abs().max() > 0
        assert torch.allclose(*gradients, rtol=bound, atol=bound)

    run_ranks(3, main)


def test_a_rank_without_a_gradient_takes_part_with_no_rows(run_ranks):
    def main():
        model = _make()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.5))
        unused = {(0, 1), (2, 0), (2, 1), (2, 2)}
        for step in range(4):
            optimizer.zero_grad()
            if (step, hvd.rank()) not in unused:
                _loss(model, _words(step, hvd.rank())).backward()
            optimizer.step()
            assert model[0].weight.grad.is_sparse

        def make_optimizer(m):
            return torch.optim.SGD(m.parameters(), lr=0.5)

        _assert_close(model, _train_alone(3, make_optimizer, sparse=True, unused=unused))

    run_ranks(3, main)


@pytest.mark.parametrize("compression", [hvd.Compression.none, hvd.Compression.fp16])
def test_what_was_reduced_as_dense_is_sparse_again(run_ranks, compression):
    def main():
        model = torch.nn.Embedding(6, 2, sparse=True)
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.5),
            compression=compression,
            sparse_as_dense=True,
        )
        for clears in (True, False):
            optimizer.zero_grad(set_to_none=clears)
            model(torch.tensor([1, 2 + hvd.rank()])).sum().backward()
            optimizer.synchronize()
            gradient = model.weight.grad
            assert (gradient.is_sparse, gradient.sparse_dim(), gradient.dtype) == (
                True,
                1,
                torch.float32,
            )
            assert gradient.coalesce().indices().tolist() == [[1, 2, 3]]
            rows = torch.tensor([[0.0, 1.0, 0.5, 0.5, 0.0, 0.0]]).t().expand(6, 2)
            assert torch.equal(gradient.to_dense(), rows)
            with optimizer.skip_synchronize():
                optimizer.step()

    run_ranks(2, main)


@pytest.mark.parametrize("as_dense", [False, True])
@pytest.mark.parametrize("size", [2, 3])
def test_sparse_adam_has_the_same_rows_as_one_process(run_ranks, size, as_dense):
    def main():
        model, alone = (torch.nn.EmbeddingBag(20, 4, sparse=True, mode="sum") for _ in range(2))
        alone.load_state_dict(hvd.broadcast_object(alone.state_dict()))
        model.load_state_dict(alone.state_dict())
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SparseAdam(model.parameters(), lr=0.1), sparse_as_dense=as_dense
        )
        plain = torch.optim.SparseAdam(alone.parameters(), lr=0.1)
        hvd.broadcast_optimizer_state(optimizer, 0)
        for step in range(3):
            optimizer.zero_grad()
            model(_words(step, hvd.rank())).square().mean().backward()
            optimizer.step()
            plain.zero_grad()
            sum(alone(_words(step, r)).square().mean() for r in range(size)).backward()
            alone.weight.grad = (alone.weight.grad / size).coalesce()
            plain.step()
        assert torch.allclose(model.weight, alone.weight, rtol=1e-4, atol=1e-5)

    run_ranks(size, main)


def test_what_is_sparse_here_and_dense_there_is_dense_everywhere(run_ranks):
    def main():
        torch.manual_seed(0)
        model = torch.nn.Embedding(6, 3, sparse=True)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.5))
        for step in range(3):
            optimizer.zero_grad()
            if (hvd.rank() + step) % 2:
                model(torch.tensor([1, 1, 4])).sum().backward()
            else:
                model.weight.sum().backward()
            optimizer.step()
            rows = torch.ones(6, 3)
            rows[1] += 2
            rows[4] += 1
            assert not model.weight.grad.is_sparse
            assert torch.equal(model.weight.grad, rows / 2)

    run_ranks(2, main)


def test_what_becomes_sparse_late_is_made_dense(run_ranks):
    def main():
        model = torch.nn.ModuleList([torch.nn.Linear(3, 1), torch.nn.Embedding(6, 3, sparse=True)])
        torch.nn.init.ones_(model[1].weight)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.5))
        for step in range(3):
            optimizer.zero_grad()
            output = model[0](torch.ones(1, 3)).sum()
            if step:
                output = output + model[1](torch.tensor([hvd.rank(), 4])).sum()
            output.backward()
            optimizer.step()
        rows = torch.zeros(6, 3)
        rows[:2] = 0.5
        rows[4] = 1
        assert torch.equal(model[1].weight.grad, rows)

    run_ranks(2, main)


def test_clipping_and_unscaling_of_sparse_gradients(run_ranks):
    def main():
        model = _make()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.5))
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        for step in range(2):
            optimizer.zero_grad()
            scaler.scale(_loss(model, _words(step, hvd.rank()))).backward()
            optimizer.synchronize()
            scaler.unscale_(optimizer)
            with optimizer.skip_synchronize():
                scaler.step(optimizer)
            scaler.update()

        def make_optimizer(m):
            return torch.optim.SGD(m.parameters(), lr=0.5)

        _assert_close(model, _train_alone(2, make_optimizer, sparse=True, steps=2))

    run_ranks(2, main)


def test_too_many_passes_of_a_sparse_parameter_are_refused_by_name(run_ranks):
    def main():
        model = _make()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.5), model.named_parameters()
        )
        _loss(model, _words(0, 0)).backward()
        optimizer.step()
        model[0](_words(0, 0)).sum().backward()
        with pytest.raises(AssertionError, match=r"parameter '0.weight'.*backward_passes_per_step"):
            model[0](_words(0, 0)).sum().backward()

    run_ranks(2, main)


def test_ranks_may_step_optimizers_with_sparse_gradients_in_different_orders(run_ranks):
    def main():
        models = [_make(), _make()]
        optimizers = [
            hvd.DistributedOptimizer(torch.optim.SGD(model[1].parameters(), lr=0.5))
            for model in models
        ]
        for step in range(2):
            for model in models:
                model.zero_grad()
                _loss(model, _words(step, hvd.rank())).backward()
            for optimizer in optimizers if hvd.rank() else reversed(optimizers):
                optimizer.step()
        return [p.detach() for model in models for p in model[1].parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
