"""All-reduce: synchronous, asynchronous, in place.

Asynchronous forms return an integer handle for ``poll`` and ``synchronize``; the tensors belong to
the operation until then. Every function may be called from any thread; ranks match calls by name,
and calls without a name by their count, so all ranks must make those in one order.
"""

from __future__ import annotations

from typing import Any

import torch

from rueda import _reduction_gradient
from rueda._adasum import start_adasum
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._handles import result
from rueda._reduce_op import (
    Adasum,
    ReduceOp,
    Sum,
    check_differentiable,
    is_linear,
    resolve_op,
)
from rueda._shortcuts import shortcuts
from rueda.compression import Compression, Compressor
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


# A small call is made of little else than the frames of Python that it passes, so there is one
# below the function that the user calls, and it takes that one's arguments as they are.
def start_allreduce(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    name: str | None,
    op: int | None,
    average: bool | None,
    prescale: float,
    postscale: float,
    process_set: ProcessSet,
    priority: int,
) -> int:
    """Start it and return its handle."""
    if average is not None or type(op) is not ReduceOp:
        op = resolve_op(op, average, stacklevel=4)
    operations = job().operations
    set_id = 0 if process_set is global_process_set else check_process_set(process_set)
    if priority:
        check_priority(priority, op)
    if op is Adasum:
        return _start_adasum(tensor, output, name, (prescale, postscale), process_set)
    return operations.allreduce(tensor, output, name, op, prescale, postscale, set_id, priority)


def allreduce_now(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    name: str | None,
    op: int | None,
    average: bool | None,
    prescale: float,
    postscale: float,
    process_set: ProcessSet,
) -> torch.Tensor:
    """Do it and return the result, with one crossing into C++."""
    if average is not None or type(op) is not ReduceOp:
        op = resolve_op(op, average, stacklevel=4)
    operations = job().operations
    set_id = 0 if process_set is global_process_set else check_process_set(process_set)
    if op is Adasum:
        scales = (prescale, postscale)
        return result(_start_adasum(tensor, output, name, scales, process_set, urgent=True))
    return operations.allreduce_now(tensor, output, name, op, prescale, postscale, set_id)


def _start_adasum(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    name: str | None,
    scales: tuple[float, float],
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    outputs = None if output is None else [output]
    return start_adasum([tensor], outputs, name, scales, process_set, grouped=False, urgent=urgent)


def check_priority(priority: int, op: ReduceOp) -> None:
    """Raise ValueError unless an all-reduce with this op can have this priority."""
    if not isinstance(priority, int) or not -(2**31) <= priority < 2**31:
        raise ValueError(f"priority={priority!r} must be a whole number from -2**31 to 2**31 - 1")
    if op == Adasum:
        raise ValueError("op=rueda.Adasum is made of several steps, which have no priority")


@shortcuts.add
def allreduce_async(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
    *,
    priority: int = 0,
) -> int:
    """Start an all-reduce into a new tensor.

    Args:
        tensor: Of the same shape and dtype on all ranks: any shape and strides; bool, any integer
            or floating-point type of 16 bits or more, or a complex one for Average and Sum.
        average: Deprecated; use ``op``.
        name: What ranks match it by; without one, the count of unnamed calls.
        op: ``rueda.Average`` (the default), ``Sum``, ``Min``, ``Max``, ``Product`` or ``Adasum``.
        prescale_factor: Multiplies every input before it is added.
        postscale_factor: Multiplies the result.
        process_set: The ranks that take part.
        priority: Of the operations that become ready on all ranks at the same time, higher ones
            run sooner; the same on all ranks. A 32-bit integer.

    Returns:
        A handle; ``synchronize`` returns the result.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    pre, post = prescale_factor, postscale_factor
    return start_allreduce(tensor, None, name, op, average, pre, post, process_set, priority)


@shortcuts.add
def allreduce_async_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
    *,
    priority: int = 0,
) -> int:
    """Start an all-reduce in place; otherwise as ``allreduce_async``."""
    pre, post = prescale_factor, postscale_factor
    return start_allreduce(tensor, tensor, name, op, average, pre, post, process_set, priority)


@shortcuts.add
def allreduce(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Return the reduction of a tensor over all ranks; the tensor itself is left alone.

    Differentiable, but for Adasum: the gradient of a sum is the sum of the gradients; that of a
    minimum or maximum goes to the ranks whose element it is, in equal shares; that of a product
    is multiplied by the product of the other ranks' elements. Arguments and errors are those of
    ``allreduce_async``; ``compression`` is applied before and undone after.

    Raises:
        HorovodInternalError: Also when ranks disagree, or one was lost.
    """
    chosen = resolve_op(op, average)
    scales = (prescale_factor, postscale_factor)
    sent, ctx = compression.compress(tensor)
    reduced = _allreduce(sent, name, chosen, scales, process_set)
    return compression.decompress(reduced, ctx)


def _allreduce(
    tensor: torch.Tensor,
    name: str | None,
    op: ReduceOp,
    scales: tuple[float, float],
    process_set: ProcessSet,
) -> torch.Tensor:
    if not (tensor.requires_grad and torch.is_grad_enabled()):
        return allreduce_now(tensor, None, name, op, None, *scales, process_set)
    check_differentiable(op)
    if is_linear(op):
        differentiable: torch.Tensor = _Linear.apply(tensor, name, op, scales, process_set)  # type: ignore[no-untyped-call]
        return differentiable
    chosen: torch.Tensor = _Chosen.apply(scaled(tensor, scales[0]), name, op, process_set)  # type: ignore[no-untyped-call]
    return scaled(chosen, scales[1])


def scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """Return a tensor times a factor, itself where that is 1; integers by way of float64."""
    if factor == 1.0:
        return tensor
    if tensor.is_floating_point() or tensor.is_complex():
        return tensor * factor
    return (tensor.double() * factor).to(tensor.dtype)


class _Linear(torch.autograd.Function):
    """Sum and Average are linear, so the gradient is all-reduced as the tensor was."""

    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        name: str | None,
        op: ReduceOp,
        scales: tuple[float, float],
        process_set: ProcessSet,
    ) -> torch.Tensor:
        ctx.arguments = (gradient_name(name), op, scales, process_set)
        return allreduce_now(tensor, None, name, op, None, *scales, process_set)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the reduced gradient, and None for what is no tensor."""
        return _allreduce(gradients[0], *ctx.arguments), None, None, None, None


class _Chosen(torch.autograd.Function):
    """Min, Max and Product."""

    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, name: str | None, op: ReduceOp, process_set: ProcessSet
    ) -> torch.Tensor:
        reduced = allreduce_now(tensor, None, name, op, None, 1.0, 1.0, process_set)
        ctx.save_for_backward(tensor, reduced)
        ctx.arguments = (gradient_name(name), op, process_set)
        return reduced

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return this rank's share of the gradient, and None for what is no tensor."""
        name, op, process_set = ctx.arguments
        own, reduced = ctx.saved_tensors
        total = _allreduce(gradients[0], name, Sum, (1.0, 1.0), process_set)
        return (
            _reduction_gradient.share(op, own, reduced, total, name, process_set),
            None,
            None,
            None,
        )


@shortcuts.add
def allreduce_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Reduce a tensor over all ranks in place and return it; otherwise as ``allreduce``."""
    pre, post = prescale_factor, postscale_factor
    return allreduce_now(tensor, tensor, name, op, average, pre, post, process_set)
