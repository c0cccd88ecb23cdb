"""Training on several ranks equals training in one process on all their batches, bit for bit."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_SIZES = [1, 2, 3, 4]
# SparseAdam takes no dense gradients, LBFGS needs closures, Muon only matrices: see below.
_OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and name not in ("Optimizer", "SparseAdam", "LBFGS", "Muon")
)


@pytest.fixture
def train(make_model, batch, loss):
    """Train on this rank's batches and return the model."""

    def run(make_optimizer, *, steps=4, passes=1, set_to_none=None, **options):
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            make_optimizer(model),
            named_parameters=model.named_parameters(),
            backward_passes_per_step=passes,
            **options,
        )
        for step in range(steps):
            # None alternates, so that each form meets what the other left.
            optimizer.zero_grad(bool(step % 2) if set_to_none is None else set_to_none)
            for which_pass in range(passes):
                loss(model, batch(step, hvd.rank(), which_pass)).backward()
            optimizer.step()
        return model

    return run


@pytest.mark.parametrize("size", _SIZES)
def test_every_standard_optimizer(run_ranks, train, train_alone, assert_equal, size):
    def main():
        for name in _OPTIMIZERS:

            def make(model, name=name):
                return getattr(torch.optim, name)(model.parameters(), lr=0.05)

            assert_equal(train(make), train_alone(size, make))

    run_ranks(size, main)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"momentum": 0.9, "foreach": True},
        {"maximize": True, "dampening": 0.1, "momentum": 0.5},
    ],
)
def test_options_of_sgd_and_both_ways_to_clear_gradients(
    run_ranks, train, train_alone, assert_equal, set_to_none, options
):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.1, **options)

    def main():
        assert_equal(train(make, set_to_none=set_to_none), train_alone(2, make))

    run_ranks(2, main)


def test_fused_and_amsgrad_adam(run_ranks, train, train_alone, assert_equal):
    def main():
        for options in ({"fused": True}, {"amsgrad": True}, {"foreach": True}):

            def make(model, options=options):
                return torch.optim.Adam(model.parameters(), lr=0.05, **options)

            assert_equal(train(make), train_alone(2, make))

    run_ranks(2, main)


def test_muon_on_matrices(run_ranks, batch):
    def main():
        torch.manual_seed(1)
        model = torch.nn.Linear(6, 5, bias=False)
        twin = torch.nn.Linear(6, 5, bias=False)
        twin.load_state_dict(model.state_dict())
        optimizer = hvd.DistributedOptimizer(torch.optim.Muon(model.parameters(), lr=0.05))
        alone = torch.optim.Muon(twin.parameters(), lr=0.05)
        for step in range(3):
            optimizer.zero_grad()
            model(batch(step, hvd.rank())).square().sum().backward()
            optimizer.step()
            gradients = []
            for rank in range(2):
                twin.zero_grad()
                twin(batch(step, rank)).square().sum().backward()
                gradients.append(twin.weight.grad.clone())
            twin.weight.grad = (gradients[0] + gradients[1]) / 2
            alone.step()
        assert torch.equal(model.weight, twin.weight)

    run_ranks(2, main)


@pytest.mark.parametrize("size", [2, 3])
def test_sum_leaves_out_the_division(run_ranks, train, train_alone, assert_equal, tree_sum, size):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.02)

    def main():
        assert_equal(train(make, op=hvd.Sum), train_alone(size, make, reduce=tree_sum))

    run_ranks(size, main)


def test_the_predivide_factor_splits_the_division(
    run_ranks, train, train_alone, assert_equal, tree_sum
):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.05)

    def main():
        def reduce(gradients):
            return tree_sum([one * (1 / 4.0) for one in gradients]) * (4.0 / 3)

        model = train(make, gradient_predivide_factor=4.0)
        assert_equal(model, train_alone(3, make, reduce=reduce))

    run_ranks(3, main)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("passes", [2, 3])
def test_several_backward_passes_are_summed_and_reduced_once(
    run_ranks, train, train_alone, assert_equal, passes, set_to_none
):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.05)

    def main():
        model = train(make, passes=passes, set_to_none=set_to_none)
        assert_equal(model, train_alone(2, make, passes=passes))

    run_ranks(2, main)


@pytest.mark.parametrize("bucket_bytes", ["1", "300", "26214400"])
def test_the_layout_in_buckets_does_not_change_a_bit(
    run_ranks, train, train_alone, assert_equal, bucket_bytes
):
    def make(model):
        return torch.optim.AdamW(model.parameters(), lr=0.05)

    def main():
        assert_equal(train(make), train_alone(3, make))

    env = {
        "RUEDA_REDUCER_BUCKET_BYTES": bucket_bytes,
        "RUEDA_REDUCER_FIRST_BUCKET_BYTES": bucket_bytes,
    }
    run_ranks(3, main, env=env)


@pytest.mark.parametrize("size", [2, 3])
def test_over_gloo_parameters_are_equal_on_all_ranks_and_close_to_one_process(
    run_ranks, train, train_alone, size
):
    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def main():
        model = train(make)
        for found, expected in zip(model.parameters(), train_alone(size, make), strict=True):
            assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
        return [parameter.detach() for parameter in model.parameters()]

    first, *others = run_ranks(size, main, env={"RUEDA_BACKEND": "gloo"})
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_parameters_of_every_floating_dtype(run_ranks, tree_sum):
    dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

    def main():
        parameters = [torch.nn.Parameter(torch.ones(5, dtype=dtype)) for dtype in dtypes]
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(parameters, lr=0.5))
        for step in range(2):
            optimizer.zero_grad()
            scale = 1 / 3 + hvd.rank() + step
            sum((p * scale).sum() for p in parameters).backward()
            optimizer.step()
            for parameter, dtype in zip(parameters, dtypes, strict=True):
                wide = torch.float32 if dtype.itemsize == 2 else dtype
                scales = torch.tensor([1 / 3 + r + step for r in range(3)], dtype=torch.float64)
                each = list(scales.to(dtype).to(wide))
                expected = (tree_sum(each) / 3).to(dtype)
                assert parameter.grad.eq(expected).all(), dtype

    run_ranks(3, main)


@pytest.mark.parametrize("size", [1, 2])
def test_param_groups_keep_their_options(run_ranks, train, train_alone, assert_equal, size):
    def make(model):
        return torch.optim.SGD(
            [
                {"params": model[0].parameters(), "lr": 0.1},
                {"params": model[2].parameters(), "momentum": 0.9},
            ],
            lr=0.01,
        )

    def main():
        assert_equal(train(make), train_alone(size, make))

    run_ranks(size, main)


def test_parameters_added_later_are_reduced_from_then_on(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model[0].parameters(), lr=0.1))
        loss(model, batch(0, hvd.rank())).backward()
        with pytest.raises(ValueError, match=r"add_param_group\(\) between backward\(\) and step"):
            optimizer.add_param_group({"params": model[2].parameters()})
        optimizer.step()
        optimizer.zero_grad()
        optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.01})
        tiny = torch.nn.Parameter(torch.ones(2).to(torch.float8_e4m3fn))
        with pytest.raises(ValueError, match="float8_e4m3fn"):
            optimizer.add_param_group({"params": [tiny]})
        assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
        for step in (1, 2):
            model.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    # The last layer moved alike although it was not reduced in the first step.
    assert torch.equal(first[2], second[2])
    assert torch.equal(first[0], second[0])


def test_step_with_a_closure_reduces_what_the_closure_computes(
    run_ranks, make_model, batch, loss, train_alone, assert_equal
):
    def make(model):
        return torch.optim.Adam(model.parameters(), lr=0.05)

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(make(model))
        for step in range(4):

            def closure(step=step):
                optimizer.zero_grad()
                value = loss(model, batch(step, hvd.rank()))
                value.backward()
                return value

            assert optimizer.step(closure).item() > 0
        assert_equal(model, train_alone(2, make))

    run_ranks(2, main)


def test_lbfgs_runs_its_closure_with_reduced_gradients(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        # One evaluation a step: the loss, by which LBFGS would stop, is each rank's own.
        optimizer = hvd.DistributedOptimizer(
            torch.optim.LBFGS(model.parameters(), max_iter=1, lr=0.1)
        )
        for step in range(3):

            def closure(step=step):
                optimizer.zero_grad()
                value = loss(model, batch(step, hvd.rank()))
                value.backward()
                return value

            optimizer.step(closure)
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_step_after_synchronize_warns_that_it_reduces_again(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        loss(model, batch(0, hvd.rank())).backward()
        optimizer.synchronize()
        with pytest.warns(UserWarning, match=r"without optimizer.skip_synchronize\(\)"):
            optimizer.step()

    run_ranks(2, main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_training_with_a_gradient_scaler(run_ranks, make_model, batch, loss, size):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(3):
            optimizer.zero_grad()
            scaler.scale(loss(model, batch(step, hvd.rank()))).backward()
            optimizer.synchronize()
            scaler.unscale_(optimizer)
            with optimizer.skip_synchronize():
                scaler.step(optimizer)
            scaler.update()
        return [parameter.detach() for parameter in model.parameters()]

    first, *others = run_ranks(size, main)
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
