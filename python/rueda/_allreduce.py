"""All-reduce: synchronous, asynchronous, in place.

Asynchronous forms return an integer handle for ``poll`` and ``synchronize``; the tensors belong to
the operation until then. Every function may be called from any thread; ranks match calls by name,
and calls without a name by their count, so all ranks must make those in one order.
"""

from __future__ import annotations

from typing import Any

import torch

from rueda._context import job
from rueda._handles import result
from rueda._reduce_op import Average, ReduceOp, Sum, resolve_op
from rueda.compression import Compression, Compressor
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def _start_allreduce(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    name: str | None,
    op: ReduceOp,
    scales: tuple[float, float],
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    check_process_set(process_set)
    return job().operations.allreduce(tensor, output, name, op, *scales, urgent)


def allreduce_async(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start an all-reduce into a new tensor.

    Args:
        tensor: Of the same shape and dtype on all ranks.
        average: Deprecated; use ``op``.
        name: What ranks match it by; without one, the count of unnamed calls.
        op: ``rueda.Average`` (the default), ``Sum``, ``Min``, ``Max`` or ``Product``.
        prescale_factor: Multiplies every input before it is added.
        postscale_factor: Multiplies the result.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the result.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    scales = (prescale_factor, postscale_factor)
    return _start_allreduce(tensor, None, name, resolve_op(op, average), scales, process_set)


def allreduce_async_(
    tensor: torch.Tensor,
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start an all-reduce in place; otherwise as ``allreduce_async``."""
    scales = (prescale_factor, postscale_factor)
    return _start_allreduce(tensor, tensor, name, resolve_op(op, average), scales, process_set)


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

    Differentiable: the gradient of a sum is the sum of the gradients. Arguments and errors are
    those of ``allreduce_async``; ``compression`` is applied before and undone after.

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
    if tensor.requires_grad and torch.is_grad_enabled():
        differentiable: torch.Tensor = _Allreduce.apply(tensor, name, op, scales, process_set)  # type: ignore[no-untyped-call]
        return differentiable
    return result(_start_allreduce(tensor, None, name, op, scales, process_set, urgent=True))


def check_differentiable(op: ReduceOp) -> None:
    if op not in (Average, Sum):
        raise ValueError(
            f"the gradient of an all-reduce with {op.name} is not defined here; detach() the "
            "tensor, or use Sum or Average"
        )


def gradient_name(name: str | None) -> str | None:
    return None if name is None else f"{name}.gradient"


class _Allreduce(torch.autograd.Function):
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
        check_differentiable(op)
        ctx.arguments = (gradient_name(name), op, scales, process_set)
        return result(_start_allreduce(tensor, None, name, op, scales, process_set, urgent=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the reduced gradient, and None for what is no tensor."""
        return _allreduce(gradients[0].contiguous(), *ctx.arguments), None, None, None, None


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
    scales = (prescale_factor, postscale_factor)
    chosen = resolve_op(op, average)
    return result(_start_allreduce(tensor, tensor, name, chosen, scales, process_set, urgent=True))
