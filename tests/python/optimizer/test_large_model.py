"""The 161 gradients of ResNet-50 in random orders: bit-equal to the canonical sum, on all ranks.

Channels are divided by 8 unless ``--full-size`` is given, which also makes 200 steps.
"""

from __future__ import annotations

import random

import pytest
import torch

import rueda as hvd

_BLOCKS = [(64, 3), (128, 4), (256, 6), (512, 3)]


def _resnet50_shapes(divisor: int) -> list[tuple[int, ...]]:
    """Parameter shapes of torchvision's resnet50, with all channels but the image's divided."""

    def convolution(outputs: int, inputs: int, kernel: int) -> list[tuple[int, ...]]:
        # Followed by the weight and bias of its batch norm.
        return [(outputs, inputs, kernel, kernel), (outputs,), (outputs,)]

    width = 64 // divisor
    shapes = convolution(width, 3, 7)
    inputs = width
    for planes, count in _BLOCKS:
        planes //= divisor  # noqa: PLW2901
        for block in range(count):
            shapes += convolution(planes, inputs, 1)
            shapes += convolution(planes, planes, 3)
            shapes += convolution(4 * planes, planes, 1)
            if block == 0:
                shapes += convolution(4 * planes, inputs, 1)
            inputs = 4 * planes
    return [*shapes, (1000, inputs), (1000,)]


def test_the_shapes_are_those_of_resnet50():
    shapes = _resnet50_shapes(1)
    assert len(shapes) == 161
    assert sum(torch.Size(shape).numel() for shape in shapes) == 25_557_032


class _Gradients:
    """What every rank knows of all ranks' gradients: values whose sum depends on the order."""

    def __init__(self, shapes, size):
        generator = torch.Generator().manual_seed(7)
        self._bases = []
        for shape in shapes:
            exponents = torch.randint(-12, 12, shape, generator=generator).float()
            base = torch.randn(shape, generator=generator) * exponents.exp2()
            # Other ranks' are the same numbers turned round: no two ranks have equal ones.
            flat = base.flatten()
            self._bases.append([flat.roll(rank * 31).reshape(shape) for rank in range(size)])

    def of(self, index, rank, step):
        return self._bases[index][rank] * (1.0 + step / 7)

    def of_all(self, index, step):
        return [self.of(index, rank, step) for rank in range(len(self._bases[index]))]


@pytest.fixture
def gradients(full_size):
    """Make the gradients for a number of ranks."""
    return lambda size: _Gradients(_resnet50_shapes(1 if full_size else 8), size)


@pytest.fixture
def steps(full_size):
    return 200 if full_size else 10


_DEADLINE = {False: 60, True: 1200}


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_plain_tensors_submitted_in_random_orders(
    run_ranks, gradients, tree_sum, steps, size, full_size
):
    def main():
        known = gradients(size)
        shuffle = random.Random(hvd.rank()).shuffle
        order = list(range(161))
        for step in range(steps):
            shuffle(order)
            handles = {}
            for index in order:
                own = known.of(index, hvd.rank(), step)
                handles[index] = hvd.allreduce_async_(own, name=f"layer {index}", op=hvd.Sum)
            shuffle(order)
            for index in order:
                found = hvd.synchronize(handles[index])
                assert torch.equal(found, tree_sum(known.of_all(index, step))), (step, index)

    run_ranks(size, main, deadline=_DEADLINE[full_size])


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("memory", ["shared", "private"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_optimizer_with_gradients_that_arrive_in_random_orders(
    run_ranks, gradients, tree_sum, steps, size, memory, full_size
):
    def main():
        known = gradients(size)
        chance = random.Random(hvd.rank())
        shapes = [known.of(index, 0, 0).shape for index in range(161)]
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(parameters, lr=0.0))
        order = list(range(161))
        for step in range(steps):
            # One rank's gradients lie outside the buckets now and then, all or some of them.
            odd_one = step % size == hvd.rank()
            optimizer.zero_grad(set_to_none=odd_one and step % 2 == 1)
            if odd_one and step % 2 == 0:
                for index in chance.sample(order, 10):
                    parameters[index].grad = torch.zeros(shapes[index])
            chance.shuffle(order)
            for index in order:
                (parameters[index] * known.of(index, hvd.rank(), step)).sum().backward()
            optimizer.step()
            for index, parameter in enumerate(parameters):
                expected = tree_sum(known.of_all(index, step)) / size
                assert torch.equal(parameter.grad, expected), (step, index)

    env = {"RUEDA_ARENA_BYTES": "0" if memory == "shared" else "1"}
    run_ranks(size, main, env=env, deadline=_DEADLINE[full_size])
