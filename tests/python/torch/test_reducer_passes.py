"""Several backward passes a step, and more of them than were announced."""

from __future__ import annotations

import signal

import pytest
import torch
from torch.utils.checkpoint import checkpoint


def _layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 13), torch.nn.ReLU(), torch.nn.Linear(13, 3))


def _inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 7, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_the_sum_of_the_announced_passes_is_reduced_once(
    pair, replicas, plain_gradients, average, set_to_none
):
    job = replicas(pair, _layers, backward_passes_per_step=3)
    for step in range(3):
        passes = [_inputs(10 * step + i) for i in range(3)]
        for inputs in passes:
            assert job.reducers[0].pending() == (inputs is not passes[0])
            job.backward(inputs)
        job.synchronize()
        assert not job.reducers[0].pending()
        plain = [plain_gradients(job.models[0], *(one[r] for one in passes)) for r in range(2)]
        job.assert_all_ranks_have(average(plain))
        for model in job.models:
            model.zero_grad(set_to_none=set_to_none)


def test_fewer_passes_than_announced_are_reduced_by_synchronize(
    pair, replicas, plain_gradients, average
):
    job = replicas(pair, _layers, backward_passes_per_step=3)
    inputs = _inputs(1)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))


def test_gradients_of_one_pass_can_be_taken_away_between_passes(pair):
    def main(rank):
        model = torch.nn.Linear(3, 1, bias=False)
        reducer = pair.reducer(rank, model, backward_passes_per_step=2)
        for step in range(2):
            model(torch.full((1, 3), 1.0 + step)).sum().backward()
            own = model.weight.grad
            model.weight.grad = None
            model(torch.full((1, 3), 5.0)).sum().backward()
            reducer.synchronize()
            assert torch.equal(own, torch.full((1, 3), 1.0 + step))
            assert torch.equal(model.weight.grad, torch.full((1, 3), 5.0))
            model.zero_grad()

    pair.run(main)


def test_passes_can_be_changed_between_steps_only(make_world):
    world = make_world(1)
    model = _layers()
    reducer = world.reducer(0, model)
    reducer.set_backward_passes_per_step(2)
    model(torch.ones(1, 7)).sum().backward()
    with pytest.raises(ValueError, match="between backward"):
        reducer.set_backward_passes_per_step(3)
    model(torch.ones(1, 7)).sum().backward()
    reducer.synchronize()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            reducer.set_backward_passes_per_step(wrong)


def test_one_pass_too_many_is_refused_before_it_changes_anything(
    pair, replicas, plain_gradients, average
):
    job = replicas(pair, _layers)
    inputs = _inputs(1)
    expected = average([plain_gradients(job.models[0], one) for one in inputs])
    job.backward(inputs)

    def one_more(rank):
        with pytest.raises(
            AssertionError, match=r"parameter '2\.bias'.*backward_passes_per_step=1"
        ):
            job.models[rank](inputs[rank]).sum().backward()

    pair.run(one_more)
    job.synchronize()
    job.assert_all_ranks_have(expected)
    for model in job.models:
        model.zero_grad()
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(expected)


def test_a_pass_too_many_is_refused_while_peers_still_reduce(pair, plain_gradients, average):
    """Rank 0 goes wrong while its bucket waits for rank 1; rank 1 must not get half of it."""
    models = [torch.nn.Linear(40, 30) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    inputs = [torch.randn(5, 40) for _ in range(2)]
    expected = average([plain_gradients(models[0], one) for one in inputs])
    reducers = [pair.reducer(rank, models[rank]) for rank in range(2)]
    models[0](inputs[0]).square().sum().backward()
    with pytest.raises(AssertionError):
        models[0](inputs[0]).square().sum().backward()

    def main(rank):
        if rank == 1:
            models[1](inputs[1]).square().sum().backward()
        reducers[rank].synchronize()
        for name, parameter in models[rank].named_parameters():
            assert torch.equal(parameter.grad, expected[name])

    pair.run(main)


class _Interrupted(Exception):
    pass


@pytest.fixture
def interrupted():
    """Run a call that waits, on the main thread, until a signal handler raises."""

    def on_alarm(signum, frame):
        raise _Interrupted

    def call(waits):
        previous = signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(_Interrupted):
                waits()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)

    return call


def test_a_wait_that_was_interrupted_can_be_taken_up_again(
    pair, plain_gradients, average, interrupted
):
    models = [_layers(), _layers()]
    models[1].load_state_dict(models[0].state_dict())
    inputs = _inputs(1)
    expected = average([plain_gradients(models[0], one) for one in inputs])
    reducers = [pair.reducer(rank, models[rank]) for rank in range(2)]
    models[0](inputs[0]).square().sum().backward()
    interrupted(reducers[0].synchronize)
    assert reducers[0].pending()

    def main(rank):
        if rank == 1:
            models[1](inputs[1]).square().sum().backward()
        reducers[rank].synchronize()
        for name, parameter in models[rank].named_parameters():
            assert torch.equal(parameter.grad, expected[name])

    pair.run(main)


def test_a_parameter_that_was_unused_in_an_interrupted_step_is_protected_too(pair, interrupted):
    """It was submitted as zeros, so its place is in flight although no hook counted it."""

    def branches():
        return torch.nn.ModuleDict({"left": torch.nn.Linear(4, 4), "right": torch.nn.Linear(4, 4)})

    models = [branches(), branches()]
    reducers = [pair.reducer(rank, models[rank]) for rank in range(2)]
    models[0]["left"](torch.ones(1, 4)).sum().backward()
    interrupted(reducers[0].synchronize)
    with pytest.raises(AssertionError, match=r"parameter 'right\.bias'"):
        models[0]["right"](torch.ones(1, 4)).sum().backward()
    pair.run(lambda rank: reducers[rank].synchronize())
    for model in models:
        assert torch.equal(model["right"].bias.grad, torch.zeros(4))
        assert torch.equal(model["left"].bias.grad, torch.full((4,), 0.5))


def test_a_pass_too_many_that_could_not_be_refused_in_time_spoils_the_step(make_world):
    """The first pass after a change of the element type is not watched beforehand."""
    model = _layers()
    reducer = make_world(1).reducer(0, model)
    model.double()
    wide = torch.ones(1, 7, dtype=torch.float64)
    model(wide).sum().backward()
    with pytest.raises(AssertionError, match=r"parameter '2\.bias'.*more often"):
        model(wide).sum().backward()
    with pytest.raises(AssertionError, match=r"parameter '2\.bias'.*wrong"):
        reducer.synchronize()
    model.zero_grad()
    model(wide).sum().backward()
    with pytest.raises(AssertionError):
        model(wide).sum().backward()
    reducer.synchronize()
    assert torch.equal(model[2].bias.grad, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(pair, replicas, plain_gradients, average, use_reentrant):
    class Checkpointed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(7, 7), torch.nn.Linear(7, 7)

        def forward(self, x):
            x = self.first(x)
            return checkpoint(self.second, x, use_reentrant=use_reentrant)

    job = replicas(pair, Checkpointed)
    inputs = _inputs(1)
    for _ in range(2):
        job.backward(inputs)
        job.synchronize()
        job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))
        for model in job.models:
            model.zero_grad()


def test_gradients_that_are_only_asked_for_do_not_count(pair, replicas, plain_gradients, average):
    job = replicas(pair, _layers)
    inputs = _inputs(1)
    expected = average([plain_gradients(job.models[0], one) for one in inputs])
    job.backward(inputs)
    for rank, model in enumerate(job.models):
        torch.autograd.grad(model(inputs[rank]).sum(), list(model.parameters()))
    job.synchronize()
    job.assert_all_ranks_have(expected)
