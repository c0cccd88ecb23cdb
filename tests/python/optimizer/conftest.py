"""A small model, data for every rank, and the same training in one process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rueda as hvd


def _make_model() -> torch.nn.Module:
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(6, 17), torch.nn.Tanh(), torch.nn.Linear(17, 3))


def _batch(step: int, rank: int, which_pass: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(10_000 * which_pass + 100 * step + rank)
    return torch.randn(4, 6, generator=generator)


def _loss(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch).square().mean()


def _tree_sum(tensors: list[torch.Tensor]) -> torch.Tensor:
    if len(tensors) == 1:
        return tensors[0]
    middle = 1 << ((len(tensors) - 1).bit_length() - 1)
    return _tree_sum(tensors[:middle]) + _tree_sum(tensors[middle:])


def _gradients_of_ranks(
    model: torch.nn.Module, size: int, step: int, passes: int
) -> list[list[torch.Tensor]]:
    """By rank and parameter; those of one rank's passes are summed."""
    by_rank = []
    for rank in range(size):
        model.zero_grad()
        for which_pass in range(passes):
            _loss(model, _batch(step, rank, which_pass)).backward()
        by_rank.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    return by_rank


def _train_alone(
    size: int,
    make_optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer],
    *,
    steps: int = 4,
    passes: int = 1,
    reduce: Callable[[list[torch.Tensor]], torch.Tensor] | None = None,
    before_step: Callable[[torch.nn.Module], Any] = lambda model: None,
) -> list[torch.Tensor]:
    """Train on all ranks' batches in one process; ``reduce`` makes one gradient of the ranks'."""
    model = _make_model()
    optimizer = make_optimizer(model)
    reduce = reduce or (lambda gradients: _tree_sum(gradients) / size)
    for step in range(steps):
        by_rank = _gradients_of_ranks(model, size, step, passes)
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = reduce([gradients[index] for gradients in by_rank])
        before_step(model)
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.fixture
def make_model() -> Callable[[], torch.nn.Module]:
    """Make the model, with the same parameters each time."""
    return _make_model


@pytest.fixture
def batch() -> Callable[..., torch.Tensor]:
    """A rank's inputs: ``batch(step, rank, which_pass=0)``."""
    return _batch


@pytest.fixture
def loss() -> Callable[..., torch.Tensor]:
    """``loss(model, batch)``."""
    return _loss


@pytest.fixture
def tree_sum() -> Callable[[list[torch.Tensor]], torch.Tensor]:
    """The sum in the canonical order: sum(lo, hi) = sum(lo, mid) + sum(mid, hi)."""
    return _tree_sum


@pytest.fixture
def train_alone() -> Callable[..., list[torch.Tensor]]:
    """Train on all ranks' batches in one process and return the parameters."""
    return _train_alone


@pytest.fixture
def assert_equal() -> Callable[..., None]:
    """Assert that a model's parameters have exactly the expected values."""

    def check(model: torch.nn.Module, expected: list[torch.Tensor]) -> None:
        for (name, found), wanted in zip(model.named_parameters(), expected, strict=True):
            assert torch.equal(found, wanted), f"{name}: {(found - wanted).abs().max()}"

    return check


@pytest.fixture
def plain_gradients():
    """The gradients of a copy of a model that no optimizer knows, by name."""

    def compute(model, backward):
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.grad = None
        backward(twin)
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in twin.named_parameters()
        }

    return compute


@pytest.fixture
def assert_averaged(tree_sum):
    """Assert that a model's gradients are the average of all ranks' own."""

    def check(model, own):
        everyones = hvd.allgather_object(own)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            expected = tree_sum([one[name] for one in everyones]) / len(everyones)
            assert torch.equal(parameter.grad, expected), name

    return check


@pytest.fixture
def train_both():
    """Train twice, as usual and with ``overlap_forward``, and return both (model, optimizer).

    ``between(model, optimizer, step)`` runs after each step; ``options`` are the wrapper's. Each
    parameter has a bucket of its own, so that parts of an update can be left.
    """

    def run(
        make_model, make_optimizer, *, steps=6, between=None, passes=1, forward=None, **options
    ):
        forward = forward or (lambda model, batch, step: model(batch))

        def train(overlaps):
            model = make_model()
            optimizer = hvd.DistributedOptimizer(
                make_optimizer(model.parameters()),
                model.named_parameters(),
                groups=[[parameter] for parameter in model.parameters()],
                backward_passes_per_step=passes,
                overlap_forward=model if overlaps else None,
                **options,
            )
            for step in range(steps):
                for which_pass in range(passes):
                    batch = _batch(step, hvd.rank(), which_pass)
                    forward(model, batch, step).square().mean().backward()
                optimizer.step()
                (between or _clear)(model, optimizer, step)
            return model, optimizer

        return train(False), train(True)

    return run


def _clear(model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    optimizer.zero_grad()


@pytest.fixture
def left():
    """Return how many buckets an optimizer has left to the next forward pass."""

    def count(optimizer):
        update = optimizer._overlap._update
        return 0 if update is None or update.closed else len(update._left)

    return count


@pytest.fixture
def assert_alike():
    """Assert that two models and their optimizers have the same bits; finishes updates."""

    def check(one, other):
        own, others = (model.state_dict() for model, _ in (one, other))
        for name, value in own.items():
            assert torch.equal(value, others[name]), name
        states = [optimizer.state_dict()["state"] for _, optimizer in (one, other)]
        assert states[0].keys() == states[1].keys()
        for index, entries in states[0].items():
            for name, value in entries.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][index][name]))

    return check
