"""Random programs: whatever the order of events, gradients are bit-equal to a plain computation."""

from __future__ import annotations

import random

import pytest
import torch

RANKS, STEPS = 3, 25


class _Program:
    """One random program, the same on all ranks but for data and the use of parameters."""

    def __init__(self, seed: int, world, average) -> None:
        self.chance = random.Random(seed)
        self.values = torch.Generator().manual_seed(seed)
        self.world = world
        self.average = average
        self.shapes = [self._shape() for _ in range(self.chance.randint(1, 9))]
        self.dtype = torch.float32
        self.models = [self._model() for _ in range(RANKS)]
        # What `.grad` should be, by rank and parameter; None where there is none.
        self.expected: list[list[torch.Tensor | None]] = [[None] * len(self.shapes)] * RANKS
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.passes = 1
        options = {
            "bucket_bytes": self.chance.choice([1, 200, 1000, 1 << 20]),
            "first_bucket_bytes": self.chance.choice([1, 100]),
        }
        self.reducers = [world.reducer(r, self.models[r], **options) for r in range(RANKS)]

    def _shape(self) -> tuple[int, ...]:
        return self.chance.choice([(), (0,), (1,), (7,), (3, 5), (2, 1, 4), (101,), (16, 16)])

    def _model(self) -> torch.nn.Module:
        return torch.nn.ParameterList(
            [torch.nn.Parameter(torch.randn(shape, generator=self.values)) for shape in self.shapes]
        )

    def step(self) -> None:
        self._change_parameters()
        self._change_gradients()
        if self.chance.random() < 0.3:
            self.passes = self.chance.randint(1, 3)
            for reducer in self.reducers:
                reducer.set_backward_passes_per_step(self.passes)
        fewer = self.chance.random() < 0.2
        for _ in range(self.chance.randint(0, self.passes) if fewer else self.passes):
            self._backward()
        self._reduce()
        self._check()

    def _change_parameters(self) -> None:
        for index in range(len(self.shapes)):
            event = self.chance.random()
            for model in self.models:
                parameter = model[index]
                if event < 0.1:
                    parameter.requires_grad_(not parameter.requires_grad)
                elif event < 0.2:
                    parameter.data = parameter.data.clone()
        if self.chance.random() < 0.1:
            self.dtype = torch.float64 if self.dtype == torch.float32 else torch.float32
            for model in self.models:
                model.to(self.dtype)
            self.expected = [
                [None if one is None else one.to(self.dtype) for one in rank]
                for rank in self.expected
            ]

    def _change_gradients(self) -> None:
        for index in range(len(self.shapes)):
            event = self.chance.choice(
                ["none", "none", "zero", "zero", "keep", "own", "data", "alias"]
            )
            hold = self.chance.random() < 0.3
            for rank, model in enumerate(self.models):
                parameter = model[index]
                gradient = parameter.grad
                if gradient is None or event == "keep":
                    continue
                zeros = torch.zeros_like(gradient)
                if event == "zero":
                    gradient.zero_()
                elif event == "data":
                    gradient.data = zeros
                elif event == "alias":
                    parameter.grad = gradient.detach().view_as(gradient)
                    continue
                else:
                    if hold:
                        self.kept.append((gradient, gradient.clone()))
                    parameter.grad = zeros if event == "own" else None
                expected = list(self.expected[rank])
                expected[index] = None if event == "none" else zeros.clone()
                self.expected[rank] = expected

    def _backward(self) -> None:
        for rank, model in enumerate(self.models):
            loss = torch.zeros((), dtype=self.dtype, requires_grad=True) * 1
            expected = list(self.expected[rank])
            for index, shape in enumerate(self.shapes):
                value = torch.randn(shape, generator=self.values).to(self.dtype)
                if self.chance.random() < 0.2 or not model[index].requires_grad:
                    continue
                loss = loss + (model[index] * value).sum()
                before = expected[index]
                expected[index] = value if before is None else before + value
            self.expected[rank] = expected
            loss.backward()

    def _reduce(self) -> None:
        self.world.run(lambda rank: self.reducers[rank].synchronize())
        for index, shape in enumerate(self.shapes):
            if not self.models[0][index].requires_grad:
                continue
            zeros = torch.zeros(shape, dtype=self.dtype)
            each = [{"": zeros if one[index] is None else one[index]} for one in self.expected]
            for rank in range(RANKS):
                self.expected[rank] = list(self.expected[rank])
                self.expected[rank][index] = self.average(each)[""]

    def _check(self) -> None:
        for rank, model in enumerate(self.models):
            for index, parameter in enumerate(model):
                expected = self.expected[rank][index]
                where = f"rank {rank}, parameter {index}"
                assert (parameter.grad is None) == (expected is None), where
                if expected is not None:
                    assert parameter.grad.dtype == expected.dtype, where
                    assert torch.equal(parameter.grad, expected), where
        for gradient, value in self.kept:
            assert torch.equal(gradient, value)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(make_world, average, seed):
    program = _Program(seed, make_world(RANKS), average)
    for _ in range(STEPS):
        program.step()
