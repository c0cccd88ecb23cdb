"""Inputs that every rank can make for all ranks, and plain PyTorch's answers for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import rueda as hvd

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
_COMPLEX = [torch.complex64, torch.complex128]
_EIGHT_BITS = [
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
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
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex128 if dtype.is_complex else torch.float64
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    return torch.randint(0, 2 if dtype == torch.bool else 5, shape, generator=generator).to(dtype)


def _reduced(op: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    dtype = tensors[0].dtype
    if dtype == torch.bool:
        stacked = torch.stack(tensors)
        return stacked.all(0) if op in ("Min", "Product") else stacked.any(0)
    # PyTorch itself has few operations on unsigned integers; rueda adds 16 bits in float32.
    wide = torch.int64
    if dtype.is_complex:
        wide = dtype
    elif dtype.is_floating_point:
        wide = torch.float32 if dtype.itemsize == 2 else dtype
    widened = [tensor.to(wide) for tensor in tensors]
    if op == "Sum":
        return _tree_sum(widened).to(dtype)
    if op == "Average":
        mode = None if dtype.is_floating_point or dtype.is_complex else "trunc"
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
    """Every element type that rueda reduces in every way."""
    return [*_FLOATING, *_WHOLE, torch.bool]


@pytest.fixture
def complex_dtypes() -> list[torch.dtype]:
    """The element types that can be added and averaged, and no more."""
    return _COMPLEX


@pytest.fixture
def moved_dtypes() -> list[torch.dtype]:
    """Every element type that rueda moves."""
    return [*_FLOATING, *_WHOLE, torch.bool, *_COMPLEX, *_EIGHT_BITS]


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


_STEP = 1e-5


@pytest.fixture
def check_gradients() -> Callable[..., None]:
    """Compare a rank's gradient with the slope of the sum of all ranks' losses times a factor.

    ``check(own, operation, factor=1.0, process_set=...)``: the operation makes a tensor of this
    rank's, of which the check makes a loss that differs between ranks.
    """

    def check(
        own: torch.Tensor,
        operation: Callable[[torch.Tensor], torch.Tensor],
        factor: float = 1.0,
        process_set: hvd.ProcessSet = hvd.global_process_set,
    ) -> None:
        def loss(values: torch.Tensor) -> torch.Tensor:
            joined = operation(values)
            weights = torch.arange(1.0, joined.numel() + 1, dtype=joined.dtype) + hvd.rank()
            return (joined.flatten().square() * weights).sum()

        leaf = own.clone().requires_grad_()
        loss(leaf).backward()
        gradient = leaf.grad
        assert gradient is not None
        counts = hvd.allgather(torch.tensor([own.numel()]), process_set=process_set).tolist()
        for member, count in enumerate(counts):
            for index in range(count):
                slope = 0.0
                for sign in (1.0, -1.0):
                    moved = own.clone()
                    if process_set.rank() == member:
                        moved.view(-1)[index] += sign * _STEP
                    total = hvd.allreduce(loss(moved), op=hvd.Sum, process_set=process_set)
                    slope += sign * total.item() / (2 * _STEP)
                if process_set.rank() == member:
                    found = gradient.flatten()[index].item()
                    assert found == pytest.approx(slope * factor, rel=1e-6, abs=1e-6)

    return check
