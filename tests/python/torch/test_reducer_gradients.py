"""Whatever a user does to `.grad` and to parameters, the reduced gradients are right."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch


def _layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 13), torch.nn.ReLU(), torch.nn.Linear(13, 3))


def _inputs(seed, columns=7):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, columns, generator=generator) for _ in range(2)]


@pytest.fixture
def job(pair, replicas):
    """Two ranks of a small model in two buckets."""
    return replicas(pair, _layers, bucket_bytes=300, first_bucket_bytes=200)


@pytest.fixture
def step(job, plain_gradients, average):
    """One step of ``job`` whose gradients are compared with PyTorch's own."""

    def run(seed, before_synchronize=lambda: None):
        inputs = _inputs(seed)
        expected = average([plain_gradients(job.models[0], one) for one in inputs])
        job.backward(inputs)
        before_synchronize()
        job.synchronize()
        job.assert_all_ranks_have(expected)

    return run


def _each_parameter(job):
    return [p for model in job.models for p in model.parameters()]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_in_both_forms(job, step, set_to_none):
    for seed in range(3):
        step(seed)
        for model in job.models:
            model.zero_grad(set_to_none=set_to_none)
    assert job.reducers[0].copies_in == (12 if set_to_none else 4)


def test_gradients_accumulate_where_nobody_zeroes_them(job, plain_gradients, average):
    first, second = _inputs(1), _inputs(2)
    job.backward(first)
    job.synchronize()
    reduced = {name: gradient.clone() for name, gradient in job.gradients().items()}
    job.backward(second)
    job.synchronize()
    expected = []
    for one in second:
        model = copy.deepcopy(job.models[0])
        for name, parameter in model.named_parameters():
            parameter.grad = reduced[name].clone()
        model(one).square().sum().backward()
        expected.append({name: p.grad for name, p in model.named_parameters()})
    job.assert_all_ranks_have(average(expected))


def test_a_gradient_that_was_replaced_before_the_backward_pass(job, step):
    step(1)
    for parameter in _each_parameter(job):
        parameter.grad = torch.zeros_like(parameter)
    step(2)


def test_a_gradient_whose_data_was_replaced(job, step):
    step(1)
    for parameter in _each_parameter(job):
        parameter.grad.data = torch.zeros_like(parameter)
    step(2)
    for model in job.models:
        model.zero_grad(set_to_none=False)
    step(3)


def test_a_gradient_that_another_storage_was_set_into(job, step):
    step(1)
    for parameter in _each_parameter(job):
        parameter.grad.set_(torch.zeros_like(parameter.data))
    step(2)


def test_a_gradient_that_was_removed_before_synchronize_comes_back_reduced(job, step):
    def remove():
        for parameter in _each_parameter(job):
            parameter.grad = None

    step(1, before_synchronize=remove)


def test_a_gradient_that_was_replaced_before_synchronize_is_replaced_again(job, step):
    """What was counted in is reduced; what is put there afterwards is not, as in Horovod."""

    def replace():
        for parameter in _each_parameter(job):
            parameter.grad = torch.full_like(parameter, 77.0)

    step(1, before_synchronize=replace)


def test_parameters_whose_data_was_replaced(job, step):
    step(1)
    for model in job.models:
        model.zero_grad()
        for parameter in model.parameters():
            parameter.data = parameter.data.clone() * 2
    step(2)


def test_gradients_kept_from_an_earlier_step_do_not_change(job, step):
    step(1)
    kept = [parameter.grad for parameter in _each_parameter(job)]
    pieces = [gradient.view(-1)[:2] for gradient in kept]
    values = [gradient.clone() for gradient in kept]
    for model in job.models:
        model.zero_grad(set_to_none=True)
    step(2)
    for gradient, piece, value in zip(kept, pieces, values, strict=True):
        assert torch.equal(gradient, value)
        assert torch.equal(piece, value.view(-1)[:2])


def test_the_gradient_of_an_unused_parameter_that_somebody_kept_does_not_change(pair):
    def main(rank):
        model = torch.nn.Linear(3, 2)
        reducer = pair.reducer(rank, model)
        model(torch.ones(1, 3)).sum().backward()
        reducer.synchronize()
        kept = model.weight.grad
        model.zero_grad()
        reducer.synchronize()
        assert torch.equal(kept, torch.ones(2, 3))
        assert torch.equal(model.weight.grad, torch.zeros(2, 3))

    pair.run(main)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_create_graph(job, plain_gradients, average):
    inputs = _inputs(1)
    expected = average([plain_gradients(job.models[0], one) for one in inputs])

    def main(rank):
        loss = job.models[rank](inputs[rank]).square().sum()
        loss.backward(create_graph=True)
        job.reducers[rank].synchronize()
        assert all(not p.grad.requires_grad for p in job.models[rank].parameters())

    job.world.run(main)
    job.assert_all_ranks_have(expected)


def test_a_graph_that_saved_a_gradient_notices_that_it_was_reduced(job):
    def main(rank):
        model = job.models[rank]
        model(_inputs(1)[rank]).sum().backward()
        weight = torch.ones_like(model[0].weight, requires_grad=True)
        loss = (weight * model[0].weight.grad).sum()
        job.reducers[rank].synchronize()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()

    job.world.run(main)


@pytest.mark.parametrize("elements", [2, 40_000])
def test_a_gradient_that_pytorch_conjugates_lazily(pair, elements):
    """Its memory holds the conjugates of its values."""

    def main(rank):
        parameter = torch.nn.Parameter(torch.zeros(elements, dtype=torch.complex64))
        reducer = pair.reducer(rank, torch.nn.ParameterList([parameter]))
        factor = torch.full((elements,), 2 + 1j) * (rank + 1)
        torch.view_as_real(parameter.conj() * factor).sum().backward()
        reducer.synchronize()
        assert torch.equal(parameter.grad, torch.full((elements,), 4.5 - 1.5j))
        parameter.grad = torch.full((elements,), 1 + 2j).conj()
        assert parameter.grad.is_conj()
        reducer.synchronize()
        assert torch.equal(parameter.grad, torch.full((elements,), 1 - 2j))

    pair.run(main)


def test_saving_one_gradient_writes_one_gradient(job, step):
    step(1)
    gradient = job.models[0][0].bias.grad
    file = io.BytesIO()
    torch.save(gradient, file)
    assert gradient.untyped_storage().nbytes() == 13 * 4
    assert len(file.getvalue()) < 2000
    assert torch.equal(pickle.loads(pickle.dumps(gradient)), gradient)
    assert torch.equal(copy.deepcopy(gradient), gradient)
    for model in job.models:
        model.zero_grad()
    step(2)


def test_a_copied_or_saved_model_leaves_the_reducer_behind(job, step):
    step(1)
    twin = copy.deepcopy(job.models[0])
    file = io.BytesIO()
    torch.save(job.models[0], file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (twin, loaded):
        for _ in range(3):  # more passes than announced: nobody counts them
            other(_inputs(2)[0]).sum().backward()
    assert not job.reducers[0].pending()


def test_parameters_that_no_rank_used_get_zeros_as_in_horovod(job):
    job.synchronize()
    job.assert_all_ranks_have(
        {name: torch.zeros_like(p) for name, p in job.models[0].named_parameters()}
    )


def test_parameters_that_one_rank_used(pair, replicas, plain_gradients, average):
    class Branches(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.left(x) if x.sum() > 0 else self.right(x)

    job = replicas(pair, Branches, bucket_bytes=100, first_bucket_bytes=1)
    inputs = [torch.ones(2, 4), -torch.ones(2, 4)]
    for _ in range(3):
        job.backward(inputs)
        job.synchronize()
        job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))
        for model in job.models:
            model.zero_grad()


def test_a_model_that_became_double(job, step):
    step(1)
    for model in job.models:
        model.double()
        model.zero_grad()
    double = torch.randn(5, 7, dtype=torch.float64)
    twin = copy.deepcopy(job.models[0])
    twin(double).square().sum().backward()
    for _ in range(2):
        job.backward([double, double])
        job.synchronize()
        job.assert_all_ranks_have({name: p.grad for name, p in twin.named_parameters()})
        for model in job.models:
            model.zero_grad(set_to_none=False)
    assert job.reducers[0].gradient_bytes == sum(p.numel() * 8 for p in twin.parameters())


def test_a_model_that_became_double_while_its_gradients_were_in_flight(pair):
    models = [torch.nn.Linear(3, 1, bias=False) for _ in range(2)]
    reducers = [pair.reducer(rank, models[rank]) for rank in range(2)]
    for rank in range(2):
        models[rank](torch.full((1, 3), 1.0 + rank)).sum().backward()
        # Rank 0's gradient waits for rank 1's; rank 1's may be reduced already or not.
        models[rank].double()
    pair.run(lambda rank: reducers[rank].synchronize())
    for model in models:
        assert torch.equal(model.weight.grad, torch.full((1, 3), 1.5, dtype=torch.float64))


def test_parameters_that_are_frozen_and_thawed(job, step):
    def set_first_layer(trainable):
        for model in job.models:
            model.zero_grad()
            model[0].requires_grad_(trainable)

    step(1)
    set_first_layer(False)
    # The first frozen step still carries the parameter, as zeros that nobody sees.
    kept = torch.full_like(job.models[0][0].bias, 3.0)
    job.models[0][0].bias.grad = kept
    for _ in range(2):
        job.backward(_inputs(2))
        job.synchronize()
        assert job.models[0][0].weight.grad is None
        assert torch.equal(job.models[0][0].bias.grad, torch.full((13,), 3.0))
    assert job.models[0][0].bias.grad is kept
    assert job.reducers[0].gradient_bytes == (13 * 3 + 3) * 4
    set_first_layer(True)
    step(3)
    assert job.reducers[0].gradient_bytes == sum(p.numel() * 4 for p in job.models[0].parameters())
    for model in job.models:
        model.zero_grad()
    step(4)


def test_parameters_that_were_frozen_from_the_start_cost_nothing(pair, replicas):
    def partly_frozen():
        model = _layers()
        model[0].requires_grad_(False)
        return model

    job = replicas(pair, partly_frozen)
    assert job.reducers[0].gradient_bytes == (13 * 3 + 3) * 4
    job.backward(_inputs(1))
    job.synchronize()
    assert job.models[0][0].weight.grad is None


def test_frozen_parameters_may_be_of_any_type(make_world):
    model = torch.nn.Linear(3, 1)
    model.codes = torch.nn.Parameter(torch.ones(4).to(torch.float8_e4m3fn), requires_grad=False)
    reducer = make_world(1).reducer(0, model)
    reducer.synchronize()
    model.codes.requires_grad_(True)
    with pytest.raises(ValueError, match=r"parameter 'codes'.*float8_e4m3fn"):
        reducer.synchronize()
    model.codes.requires_grad_(False)
    reducer.synchronize()
    assert model.codes.grad is None
