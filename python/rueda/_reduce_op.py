"""The reduce operations, with Horovod's numbers."""

from __future__ import annotations

import warnings
from enum import IntEnum


class ReduceOp(IntEnum):
    """How the elements of several ranks become one."""

    Average = 0
    Sum = 1
    Adasum = 2
    Min = 3
    Max = 4
    Product = 5


Average = ReduceOp.Average
Sum = ReduceOp.Sum
Adasum = ReduceOp.Adasum
Min = ReduceOp.Min
Max = ReduceOp.Max
Product = ReduceOp.Product


def resolve_op(op: int | None, average: bool | None, *, stacklevel: int = 3) -> ReduceOp:
    """Return the operation that ``op`` and the deprecated ``average`` ask for.

    Args:
        op: As the user gave it.
        average: As the user gave it.
        stacklevel: Where the user is, who is warned of ``average``, as ``warnings.warn`` counts: 3
            where the function that the user calls calls this one.

    Raises:
        ValueError: Both are given, or ``op`` is none of rueda's.
    """
    if average is None and type(op) is ReduceOp:
        return op
    if average is not None:
        if op is not None:
            raise ValueError("give op or the deprecated average, not both")
        warnings.warn("average is deprecated: use op", DeprecationWarning, stacklevel=stacklevel)
        return Average if average else Sum
    if op is None:
        return Average
    try:
        return ReduceOp(op)
    except ValueError:
        known = ", ".join(f"rueda.{known.name}" for known in ReduceOp)
        raise ValueError(f"op={op!r} is not an operation; there are {known}") from None


def is_linear(op: ReduceOp) -> bool:
    """Return whether the reduction of a sum is the sum of the reductions."""
    return op in (Average, Sum)


def check_differentiable(op: ReduceOp) -> None:
    """Refuse the operation whose gradient is not defined.

    Raises:
        ValueError: It is Adasum.
    """
    if op == Adasum:
        raise ValueError(
            "the gradient of a reduction with Adasum is not defined; detach() the tensor, or use "
            "another op"
        )
