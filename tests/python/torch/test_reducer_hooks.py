"""The reducer's hooks beside Python's, and what is left when a reducer goes."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch


def _line() -> torch.nn.Linear:
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    return model


def _backward(model):
    model(torch.ones(1, 3)).sum().backward()


@pytest.mark.parametrize("registered", ["before", "after", "both"])
def test_python_hooks_run_first_and_what_they_do_is_reduced(pair, registered):
    def main(rank):
        model = _line()
        seen = []

        def hook(parameter):
            seen.append(parameter)
            parameter.grad.mul_(rank + 1)

        hooks = []
        if registered in ("before", "both"):
            hooks.append(model.weight.register_post_accumulate_grad_hook(hook))
        reducer = pair.reducer(rank, model, op=1)
        if registered in ("after", "both"):
            hooks.append(model.weight.register_post_accumulate_grad_hook(hook))
        _backward(model)
        reducer.synchronize()
        assert len(seen) == len(hooks)
        power = len(hooks)
        assert torch.equal(model.weight.grad, torch.full((1, 3), 1.0 + 2.0**power))
        for one in hooks:
            one.remove()
        model.zero_grad()
        _backward(model)
        reducer.synchronize()
        assert len(seen) == len(hooks)
        assert torch.equal(model.weight.grad, torch.full((1, 3), 2.0))

    pair.run(main)


def test_a_python_hook_that_takes_the_gradient_leaves_zeros(pair):
    def main(rank):
        model = _line()
        reducer = pair.reducer(rank, model)
        _backward(model)
        reducer.synchronize()
        model.zero_grad()

        def take(parameter):
            parameter.grad = None

        model.weight.register_post_accumulate_grad_hook(take)
        _backward(model)
        reducer.synchronize()
        assert torch.equal(model.weight.grad, torch.zeros(1, 3))

    pair.run(main)


def test_other_kinds_of_hooks_keep_working(make_world):
    world = make_world(1)
    model = _line()
    before, after = [], []
    model.weight.register_hook(before.append)
    reducer = world.reducer(0, model)
    model.weight.register_hook(after.append)
    node = torch.autograd.graph.get_gradient_edge(model.weight).node
    node.register_prehook(lambda gradients: None)
    _backward(model)
    with pytest.raises(AssertionError):
        _backward(model)
    reducer.synchronize()
    assert len(before) == len(after) == 2


def test_an_exception_of_a_python_hook_reaches_backward(make_world):
    world = make_world(1)
    model = _line()
    reducer = world.reducer(0, model)

    def fail(parameter):
        raise LookupError("from the hook")

    handle = model.weight.register_post_accumulate_grad_hook(fail)
    with pytest.raises(LookupError, match="from the hook"):
        _backward(model)
    handle.remove()
    reducer.synchronize()
    assert torch.equal(model.weight.grad, torch.ones(1, 3))


def test_removed_hooks_are_gone_and_python_hooks_stay(make_world):
    world = make_world(1)
    model = _line()
    seen = []
    model.weight.register_post_accumulate_grad_hook(lambda parameter: seen.append("old"))
    reducer = world.reducer(0, model)
    reducer.remove()
    reducer.remove()
    for _ in range(3):
        _backward(model)
    assert not reducer.pending()
    assert seen == ["old"] * 3
    model.weight.register_post_accumulate_grad_hook(lambda parameter: seen.append("new"))
    _backward(model)
    assert seen == ["old"] * 4 + ["new"]


@pytest.mark.parametrize("first_to_go", [0, 1])
def test_reducers_on_the_same_parameters_do_not_disturb_each_other(make_world, first_to_go):
    world = make_world(1)
    model = _line()
    reducers = [world.reducer(0, model, name=f"reducer.{i}") for i in range(2)]
    _backward(model)
    assert all(reducer.pending() for reducer in reducers)
    for reducer in reducers:
        reducer.synchronize()
    reducers[first_to_go].remove()
    _backward(model)
    assert not reducers[first_to_go].pending()
    assert reducers[1 - first_to_go].pending()
    reducers[1 - first_to_go].synchronize()


def test_a_python_hook_may_remove_the_reducer(make_world):
    world = make_world(1)
    model = _line()
    reducer = world.reducer(0, model)
    model.weight.register_post_accumulate_grad_hook(lambda parameter: reducer.remove())
    for _ in range(3):
        _backward(model)
    assert torch.equal(model.weight.grad, torch.full((1, 3), 3.0))


def test_a_reducer_that_is_dropped_takes_its_hooks_along(make_world):
    world = make_world(1)
    model = _line()
    reducer = world.reducer(0, model)
    _backward(model)
    del reducer
    _backward(model)
    _backward(model)
    assert torch.equal(model.weight.grad, torch.full((1, 3), 3.0))


def test_nothing_is_leaked(make_world):
    world = make_world(1)
    model = _line()
    reducer = world.reducer(0, model)
    _backward(model)
    reducer.synchronize()
    parameter = weakref.ref(model.weight)
    gradient = weakref.ref(model.weight.grad)
    del model
    gc.collect()
    assert parameter() is not None, "the reducer needs it"
    del reducer
    gc.collect()
    assert parameter() is None
    assert gradient() is None


def test_memory_goes_back_to_the_arena_when_the_last_gradient_goes(make_world):
    """An arena with room for one such model serves many of them, one after the other."""
    world = make_world(1, RUEDA_ARENA_BYTES=str(48 << 20))
    for _ in range(10):
        model = torch.nn.Linear(2048, 2048, bias=False)  # 16 MiB
        reducer = world.reducer(0, model)
        assert reducer.placed_bucket_count == 1
        model(torch.ones(1, 2048)).sum().backward()
        reducer.synchronize()


def test_dropping_a_reducer_in_flight_neither_blocks_nor_harms(pair):
    """Rank 0 drops everything while its bucket waits for rank 1."""
    models = [_line(), _line()]
    reducers = [pair.reducer(rank, models[rank], op=1) for rank in range(2)]
    _backward(models[0])
    gradient = models[0].weight.grad
    del reducers[0]
    models[0] = None
    gc.collect()
    second = reducers.pop()
    _backward(models[1])
    second.synchronize()
    assert torch.equal(models[1].weight.grad, torch.full((1, 3), 2.0))
    assert torch.equal(gradient, torch.full((1, 3), 2.0))


def test_the_interpreter_exits_with_everything_alive(tmp_path):
    """Nothing aborts when Python ends with reducers, operations and gradients in module globals."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import torch
from rueda import _core, _torch

config, _ = _core.parse_config({})
engine = _core.Engine.start(
    topology=_core.Topology(rank=0, size=1, local_rank=0, local_size=1, cross_rank=0,
                            cross_size=1, peers=[_core.PeerName("here", 1)]),
    config=config, arena_fds=[_core.create_arena(config, 1)], pidfds=[-1], stream_fds=[-1],
    control_fds=[])
model = torch.nn.Linear(3, 1)
reducer = _torch.GradientReducer(engine.capsule(), list(model.parameters()), ["w", "b"])
operations = _torch.Operations(engine.capsule())
handle = operations.allreduce(torch.ones(3), None, None, 0)
model(torch.ones(1, 3)).sum().backward()
reducer.synchronize()
model(torch.ones(1, 3)).sum()
engine.stop()
print("end")
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
