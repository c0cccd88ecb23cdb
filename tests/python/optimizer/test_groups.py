"""Gradients that are communicated as a unit: ``groups`` and its deprecated form."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def _groups(model, kind):
    parameters = list(model.parameters())
    return {
        "one": 1,
        "two": 2,
        "more than parameters": 9,
        "lists": [[parameters[3], parameters[0]], [parameters[1]]],
        "a list with an empty one": [[], parameters[1:3]],
        "all in one list": [parameters],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["one", "two", "more than parameters", "lists", "a list with an empty one", "all in one list"],
)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_groups_do_not_change_a_bit(
    run_ranks, make_model, batch, loss, train_alone, assert_equal, size, kind
):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model), backward_passes_per_step=2, groups=_groups(model, kind)
        )
        for step in range(4):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(2):
                loss(model, batch(step, hvd.rank(), which_pass)).backward()
            optimizer.step()
        assert_equal(model, train_alone(size, _sgd, passes=2))

    run_ranks(size, main)


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("compression", ["none", "bf16"])
def test_the_predivide_factor_counts_on_grouped_paths(
    run_ranks, make_model, batch, loss, train_alone, assert_equal, tree_sum, groups, compression
):
    wire = torch.bfloat16 if compression == "bf16" else torch.float32

    def reduce(gradients):
        total = tree_sum([one.to(wire).float() * (1 / 4.0) for one in gradients]) * (4.0 / 3)
        return total.to(wire).float()

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model),
            groups=groups,
            gradient_predivide_factor=4.0,
            compression=getattr(hvd.Compression, compression),
        )
        for step in range(3):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        assert_equal(model, train_alone(3, _sgd, steps=3, reduce=reduce))

    run_ranks(3, main)


def test_a_group_may_mix_element_types(run_ranks, tree_sum):
    dtypes = [torch.float16, torch.float64, torch.float32, torch.bfloat16]

    def main():
        parameters = [torch.nn.Parameter(torch.ones(5, dtype=dtype)) for dtype in dtypes]
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(parameters, lr=0.5), groups=1)
        for step in range(3):
            optimizer.zero_grad(set_to_none=step == 1)
            sum((p * (hvd.rank() + step)).sum() for p in parameters).backward()
            optimizer.step()
            expected = sum(rank + step for rank in range(3)) / 3
            assert all(p.grad.eq(expected).all() for p in parameters)

    run_ranks(3, main)


def test_unused_frozen_and_added_parameters_of_a_group(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        model[0].bias.requires_grad_(False)
        own = list(model[0].parameters())
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(own, lr=0.1), groups=[own])
        loss(model, batch(0, hvd.rank())).backward()
        optimizer.step()
        model[0].bias.requires_grad_(True)
        optimizer.zero_grad()
        if hvd.rank() == 0:
            loss(model, batch(1, hvd.rank())).backward()
        optimizer.step()
        assert own[1].grad is not None
        optimizer.zero_grad()
        optimizer.add_param_group({"params": model[2].parameters()})
        for step in (2, 3):
            model.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_copies_keep_the_groups(run_ranks, make_model, batch, loss, train_alone, assert_equal):
    import copy

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model), groups=[list(model[2].parameters()), list(model[0].parameters())]
        )
        model, optimizer = copy.deepcopy((model, optimizer))
        for step in range(2):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        assert_equal(model, train_alone(2, _sgd, steps=2))

    run_ranks(2, main)


def test_num_groups_works_and_warns(run_ranks, make_model, batch, loss, train_alone, assert_equal):
    def main():
        model = make_model()
        with pytest.warns(DeprecationWarning, match="num_groups is deprecated: use groups"):
            optimizer = hvd.DistributedOptimizer(_sgd(model), num_groups=2)
        for step in range(2):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        assert_equal(model, train_alone(2, _sgd, steps=2))

    run_ranks(2, main)


def test_a_parameter_in_two_groups_is_refused(run_ranks, make_model):
    def main():
        model = make_model()
        weight = model[0].weight
        with pytest.raises(ValueError, match="the optimizer's parameter 0 twice"):
            hvd.DistributedOptimizer(_sgd(model), groups=[[weight], [weight]])

    run_ranks(2, main)
