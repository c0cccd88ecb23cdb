"""The models whose training steps are measured: parameters, and how computing spreads over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rueda._bench.resnet50 import resnet50_layers


@dataclass(frozen=True)
class Model:
    """What a training step has to know of a model. Pure.

    Attributes:
        name: As on the command line.
        shapes: Of the parameters, in the order of the forward pass.
        work: For each parameter the multiplications with it for one sample; only ratios count.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    work: tuple[int, ...]


def _resnet50() -> Model:
    shapes, work = zip(*resnet50_layers(), strict=True)
    return Model("resnet50", shapes, work)


def _perceptron() -> Model:
    """Four layers: few small gradients, where latency counts and not bandwidth."""
    widths = (784, 256, 256, 256, 10)
    shapes: list[tuple[int, ...]] = []
    work: list[int] = []
    for inputs, outputs in pairwise(widths):
        shapes += [(outputs, inputs), (outputs,)]
        work += [inputs * outputs, 0]
    return Model("mlp", tuple(shapes), tuple(work))


MODELS = {model.name: model for model in (_resnet50(), _perceptron())}


def shares_of(work: Sequence[int], total: int) -> list[int]:
    """Divide a total in these proportions into whole numbers; what is rounded is made up for."""
    whole, done, given = sum(work), 0, 0
    shares = []
    for one in work:
        done += one
        shares.append(total * done // whole - given)
        given += shares[-1]
    return shares
