"""Inputs that every rank can make for all ranks, and plain PyTorch's answers for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

_FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
_WHOLE = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]
# 0-dim, empty, one, prime, empty in the middle, one over a staging chunk of float32.
_SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 5), (2, 0, 3), (65537,)]


def _tree_sum(tensors: list[torch.Tensor]) -> torch.Tensor:
    if len(tensors) == 1:
        return tensors[0]
    middle = 1 << ((len(tensors) - 1).bit_length() - 1)
    return _tree_sum(tensors[:middle]) + _tree_sum(tensors[middle:])


def _make_tensor(rank: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 + rank)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 2 if dtype == torch.bool else 5, shape, generator=generator).to(dtype)


def _reduced(op: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    dtype = tensors[0].dtype
    if dtype == torch.bool:
        stacked = torch.stack(tensors)
        return stacked.all(0) if op in ("Min", "Product") else stacked.any(0)
    # PyTorch itself has few operations on unsigned integers; rueda adds 16 bits in float32.
    wide = torch.int64
    if dtype.is_floating_point:
        wide = torch.float32 if dtype.itemsize == 2 else dtype
    widened = [tensor.to(wide) for tensor in tensors]
    if op == "Sum":
        return _tree_sum(widened).to(dtype)
    if op == "Average":
        mode = None if dtype.is_floating_point else "trunc"
        return torch.div(_tree_sum(widened), len(tensors), rounding_mode=mode).to(dtype)
    if op == "Product":
        return _tree_product(widened).to(dtype)
    stacked = torch.stack(widened)
    return (stacked.amin(0) if op == "Min" else stacked.amax(0)).to(dtype)


def _tree_product(tensors: list[torch.Tensor]) -> torch.Tensor:
    if len(tensors) == 1:
        return tensors[0]
    middle = 1 << ((len(tensors) - 1).bit_length() - 1)
    return _tree_product(tensors[:middle]) * _tree_product(tensors[middle:])


@pytest.fixture
def floating_dtypes() -> list[torch.dtype]:
    """The floating-point element types."""
    return _FLOATING


@pytest.fixture
def all_dtypes() -> list[torch.dtype]:
    """Every element type that rueda takes."""
    return [*_FLOATING, *_WHOLE, torch.bool]


@pytest.fixture
def shapes() -> list[tuple[int, ...]]:
    """Shapes at the borders: 0-dim, empty, one, prime, one over a chunk."""
    return _SHAPES


@pytest.fixture
def make_tensor() -> Callable[..., torch.Tensor]:
    """Make rank's tensor of a shape and dtype: ``make_tensor(rank, shape, dtype)``."""
    return _make_tensor


@pytest.fixture
def reduced() -> Callable[..., torch.Tensor]:
    """What an operation makes of all ranks' tensors, in rueda's order: ``reduced(op, tensors)``."""
    return _reduced


@pytest.fixture
def same() -> Callable[..., None]:
    """Assert equal shape, dtype and bits; NaN equals NaN."""

    def check(found: torch.Tensor, expected: torch.Tensor, what: Any = "") -> None:
        assert found.dtype == expected.dtype, what
        assert found.shape == expected.shape, what
        assert torch.equal(_bytes(found), _bytes(expected)), what

    return check


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)
