"""The model of a training step: what its gradients are, and where its computing is."""

from __future__ import annotations

import pytest
import torch

from rueda._bench.models import MODELS, shares_of
from rueda._bench.resnet50 import RESNET50_ELEMENTS
from rueda._bench.training_model import (
    Compute,
    Patterns,
    StepModel,
    Trainer,
    descent,
    factor_of,
)

MLP = MODELS["mlp"]


class Counted(Compute):
    """Keeps when how much was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: list[int] = []

    def spend(self, products: int) -> None:
        self.spent.append(products)


def test_resnet50_is_that_of_torchvision() -> None:
    model = MODELS["resnet50"]
    assert len(model.shapes) == len(model.work) == 161
    assert sum(torch.Size(shape).numel() for shape in model.shapes) == RESNET50_ELEMENTS
    # 4.09 billion multiplications for an image, as torchvision's page of models tells.
    assert sum(model.work) == 4_089_184_256


@pytest.mark.parametrize("total", [0, 1, 7, 1000])
def test_shares_are_whole_and_add_up(total: int) -> None:
    work = [3, 0, 1, 0, 6]
    shares = shares_of(work, total)
    assert sum(shares) == total
    assert shares[1] == shares[3] == 0
    assert all(abs(share - total * one / 10) <= 1 for share, one in zip(shares, work, strict=True))


def test_computing_is_spread_over_both_passes() -> None:
    compute = Counted()
    model = StepModel(MLP, Patterns(MLP), 900, compute)
    ended = model(1.0, True)
    assert sum(compute.spent) == 300
    compute.spent.clear()
    order: list[int] = []
    for number, weight in enumerate(model.weights):
        weight.register_post_accumulate_grad_hook(lambda _, number=number: order.append(number))
    ended.backward()
    assert sum(compute.spent) == 600
    assert sum(share > 0 for share in compute.spent) == 4
    assert order == list(range(7, -1, -1))
    compute.spent.clear()
    model(1.0, False).backward()
    assert compute.spent == []


def trainer(rank: int, size: int, *, keeps: bool) -> tuple[Trainer, StepModel]:
    model = StepModel(MLP, Patterns(MLP), 0, Compute())
    made = Trainer(
        model, model, descent(model), keeps=keeps, rank=rank, averaged=(rank,), size=size
    )
    return made, model


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_every_parameter_is_known_after_any_number_of_steps(size: int, keeps: bool) -> None:
    made, model = trainer(size - 1, size, keeps=keeps)
    for _ in range(40):
        made.step(computes=False)
        assert made.wrong() == 0
    with torch.no_grad():
        model.weights[2][3, 5] += 2.0**-20
    assert made.wrong() == 1


def test_a_gradient_of_one_rank_alone_is_seen() -> None:
    """A trainer that believes to average, and does not, is wrong everywhere."""
    model = StepModel(MLP, Patterns(MLP), 0, Compute())
    made = Trainer(model, model, descent(model), keeps=False, rank=0, averaged=(0, 1), size=2)
    made.step(computes=False)
    assert made.wrong() == sum(weight.numel() for weight in model.weights)


def test_factors_stay_small_over_any_number_of_steps() -> None:
    for rank in (0, 1, 63):
        total = [0]
        for step in range(500):
            total.append(total[-1] + factor_of(rank, step))
        # Three times this, times 64 ranks, is a whole number that float32 holds.
        assert max(map(abs, total)) * 3 * 64 < 1 << 24
        assert len({factor_of(rank, step) for step in range(101)}) == 101
