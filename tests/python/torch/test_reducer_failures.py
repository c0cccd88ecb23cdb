"""Errors of the job and of the caller, and what is left afterwards."""

from __future__ import annotations

import os
import select
import signal
import threading

import pytest
import torch

from rueda.exceptions import HorovodInternalError


def _layers(last=3) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 13), torch.nn.Linear(13, last))


def test_a_mismatch_is_raised_everywhere_and_the_job_goes_on(pair):
    def main(rank):
        model = _layers(3 + rank)
        reducer = pair.reducer(rank, model, bucket_bytes=1, first_bucket_bytes=1)
        for _ in range(2):
            model(torch.full((1, 7), 1.0)).sum().backward()
            with pytest.raises(
                HorovodInternalError, match=r"^\[R201\].*'1\.(weight|bias)'"
            ) as error:
                reducer.synchronize()
            assert error.value.code == "R201"
            assert not reducer.pending()
            model.zero_grad()
        reducer.remove()
        right = _layers()
        reducer = pair.reducer(rank, right, name="right")
        right(torch.full((1, 7), 1.0)).sum().backward()
        reducer.synchronize()
        return [p.grad for p in right.parameters()]

    first, second = pair.run(main)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_rank_that_left_is_named(make_world):
    world = make_world(2)
    model = _layers()
    reducer = world.reducer(0, model)
    model(torch.ones(1, 7)).sum().backward()
    stopping = threading.Thread(target=world.engines[1].stop)
    stopping.start()
    with pytest.raises(HorovodInternalError, match="rank 1") as error:
        reducer.synchronize()
    stopping.join()
    assert error.value.rank == 1


def test_after_shutdown_backward_works_and_synchronize_raises(make_world):
    world = make_world(1)
    model = _layers()
    reducer = world.reducer(0, model)
    world.stop()
    for _ in range(2):
        model.zero_grad()
        model(torch.ones(1, 7)).sum().backward()
        with pytest.raises(HorovodInternalError, match=r"^\[R303\]"):
            reducer.synchronize()
    assert not reducer.pending()
    reducer.remove()
    model(torch.ones(1, 7)).sum().backward()


def test_gradients_outlive_the_job(make_world):
    world = make_world(1)
    model = _layers()
    reducer = world.reducer(0, model)
    model(torch.ones(1, 7)).sum().backward()
    reducer.synchronize()
    values = [p.grad.clone() for p in model.parameters()]
    world.stop()
    del reducer
    for parameter, value in zip(model.parameters(), values, strict=True):
        assert torch.equal(parameter.grad, value)
        parameter.grad.zero_()


def test_ctrl_c_interrupts_synchronize(pair):
    model = _layers()
    reducer = pair.reducer(0, model)
    model(torch.ones(1, 7)).sum().backward()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        reducer.synchronize()
    timer.join()
    assert reducer.pending()


def test_a_forked_child_is_told_and_cannot_touch_the_parents_gradients(make_world):
    world = make_world(1)
    model = _layers()
    reducer = world.reducer(0, model)
    model(torch.ones(1, 7)).sum().backward()
    reducer.synchronize()
    values = [p.grad.clone() for p in model.parameters()]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        report = b"nothing was raised"
        try:
            world.engines[0].abandon_in_forked_child()
            for parameter in model.parameters():
                parameter.grad.fill_(77.0)
            model(torch.ones(1, 7)).sum().backward()
            reducer.synchronize()
        except HorovodInternalError as error:
            report = str(error).encode()
        except BaseException as error:
            report = repr(error).encode()
        os.write(writing, report)
        os._exit(0)
    ready, _, _ = select.select([reading], [], [], 30)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ready, "the child hung"
    assert os.read(reading, 1000).startswith(b"[R105]")
    os.close(reading)
    os.close(writing)
    for parameter, value in zip(model.parameters(), values, strict=True):
        assert torch.equal(parameter.grad, value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"op": 2}, "reduce op 2"),
        ({"op": 77}, "reduce op 77"),
        ({"compression": "int4"}, "compression 'int4'"),
        ({"backward_passes_per_step": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(make_world, options, why):
    with pytest.raises(ValueError, match=why):
        make_world(1).reducer(0, _layers(), **options)


def test_a_tensor_that_is_no_leaf_is_refused(make_world):
    from rueda import _torch

    world = make_world(1)
    root = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="'x' is not a leaf"):
        _torch.GradientReducer(world.engines[0].capsule(), [root * 2], ["x"])
    with pytest.raises(ValueError, match="1 parameters have 2 names"):
        _torch.GradientReducer(world.engines[0].capsule(), [root], ["x", "y"])
