"""A training step whose gradients have given shapes and whose computing takes a given time.

Nothing of rueda is used here: whoever reduces the gradients is handed in. All numbers are small and
whole, in units of the learning rate, so that after any number of steps every parameter is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rueda._bench.models import Model, shares_of
from rueda._bench.patterns import contribution

# A power of two: steps by it are exact.
RATE = 2.0**-20
_SIDE = 256
# Of the computing of a step; a backward pass multiplies twice, for inputs and for weights.
_FORWARD = 1 / 3


class Compute:
    """Products of matrices that stay in a core's cache: what there is instead of convolutions.

    An amount and not a time, so that whoever takes the processor away makes the step longer.
    """

    def __init__(self) -> None:
        self._left = torch.full((_SIDE, _SIDE), 1 / _SIDE)
        self._right = self._left.clone()
        self._result = torch.empty_like(self._left)

    def spend(self, products: int) -> None:
        """Multiply so many times."""
        for _ in range(products):
            torch.mm(self._left, self._right, out=self._result)


class Patterns:
    """The gradients of a model but for a factor; one for all its copies in a process."""

    def __init__(self, model: Model) -> None:
        self.tensors = [
            contribution(number, torch.Size(shape).numel(), torch.float32, "sum").view(shape)
            for number, shape in enumerate(model.shapes)
        ]


class _Layer(torch.autograd.Function):
    """Computes, and has a gradient that is written anew each time, as a convolution's is."""

    @staticmethod
    def forward(
        ctx: Any,
        passed_on: torch.Tensor,
        weight: torch.Tensor,
        pattern: torch.Tensor,
        factor: float,
        compute: Callable[[bool], None],
    ) -> torch.Tensor:
        ctx.pattern, ctx.factor, ctx.compute = pattern, factor, compute
        compute(False)
        return passed_on.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        ctx.compute(True)
        return gradients[0], torch.mul(ctx.pattern, ctx.factor), None, None, None


class StepModel(torch.nn.Module):
    """Parameters in a row; backward goes through them from the last one to the first."""

    def __init__(self, model: Model, patterns: Patterns, products: int, compute: Compute) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(
            [torch.nn.Parameter(torch.zeros(shape)) for shape in model.shapes]
        )
        self._patterns = patterns.tensors
        self._compute = compute
        ahead = round(products * _FORWARD)
        self._ahead = shares_of(model.work, ahead)
        # From the last one on, which is the first to compute on the way back.
        back = shares_of(model.work[::-1], products - ahead)
        self._back = back[::-1]

    def forward(self, factor: float, computes: bool) -> torch.Tensor:
        """Return something whose backward pass gives every parameter its pattern by a factor."""
        passed_on = torch.zeros(())
        layers = zip(self.weights, self._patterns, self._ahead, self._back, strict=True)
        for weight, pattern, ahead, back in layers:
            passed_on = _Layer.apply(  # type: ignore[no-untyped-call]
                passed_on, weight, pattern, factor, self._spender(ahead, back, computes)
            )
        return passed_on

    def _spender(self, ahead: int, back: int, computes: bool) -> Callable[[bool], None]:
        def spend(backwards: bool) -> None:
            if computes:
                self._compute.spend(back if backwards else ahead)

        return spend


def factor_of(rank: int, step: int) -> int:
    """Return by what a rank multiplies its gradients in a step; sums over steps stay small."""
    return (37 * rank + 11 * step) % 101 - 50


class Trainer:
    """A model, who reduces its gradients, and what must have become of its parameters; a thread's.

    Args:
        model: Whose parameters are looked at.
        called: The same, perhaps in a wrapper.
        optimizer: Plain gradient descent with ``RATE`` below whoever reduces.
        keeps: Whether gradients are set to zero and not to None.
        rank: This process's.
        averaged: The ranks whose gradients are averaged; this one alone without communication.
        size: How many ranks there are.

    Attributes:
        steps: How many were made.
    """

    def __init__(
        self,
        model: StepModel,
        called: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        keeps: bool,
        rank: int,
        averaged: Sequence[int],
        size: int,
    ) -> None:
        self._model, self._called, self._optimizer = model, called, optimizer
        self._keeps, self._rank, self._averaged, self._size = keeps, rank, averaged, size
        self.steps = 0
        self._total = 0

    def step(self, *, computes: bool) -> None:
        """Make a training step; all ranks that average call it equally often."""
        # Horovod's takes no argument; PyTorch sets to None without one.
        self._optimizer.zero_grad(**({"set_to_none": False} if self._keeps else {}))
        # A multiple of the ranks, so that averages are whole, however they are taken.
        factor = self._size * factor_of(self._rank, self.steps)
        self._called(float(factor), computes).backward()
        self._optimizer.step()
        factors = [factor_of(rank, self.steps) for rank in self._averaged]
        self._total += self._size * sum(factors) // len(factors)
        self.steps += 1

    def wrong(self) -> int:
        """Count parameters that are not what the steps so far make of them.

        They are compared as multiples of the learning rate, rounded: where the number of ranks is
        no power of two, averages may be rounded.
        """
        found = 0
        for weight, pattern in zip(self._model.weights, self._model._patterns, strict=True):
            multiple = (weight.detach() / RATE).round_()
            found += int(torch.count_nonzero(multiple.add_(pattern, alpha=self._total)))
        return found


def descent(model: StepModel) -> torch.optim.Optimizer:
    """Return the plain optimizer of a model."""
    return torch.optim.SGD(model.parameters(), lr=RATE)
