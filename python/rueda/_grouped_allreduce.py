"""Grouped all-reduce: several tensors that are agreed on and run as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._adasum import start_adasum
from rueda._allreduce import check_priority, scaled
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._handles import results
from rueda._reduce_op import (
    Adasum,
    ReduceOp,
    Sum,
    check_differentiable,
    is_linear,
    resolve_op,
)
from rueda._reduction_gradient import share
from rueda._torch_module import native
from rueda.compression import Compression, Compressor
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def _start_grouped_allreduce(
    tensors: Sequence[torch.Tensor],
    outputs: Sequence[torch.Tensor] | None,
    name: str | None,
    op: ReduceOp,
    scales: tuple[float, float],
    process_set: ProcessSet,
    *,
    urgent: bool = False,
    priority: int = 0,
) -> int:
    operations = job().operations
    set_id = check_process_set(process_set)
    if priority:
        check_priority(priority, op)
    if op == Adasum:
        return start_adasum(tensors, outputs, name, scales, process_set, urgent=urgent)
    given = list(tensors)
    in_place = outputs is tensors
    return operations.submit(
        native.ALLREDUCE,
        given,
        given if in_place else None if outputs is None else list(outputs),
        name,
        op=op,
        prescale=scales[0],
        postscale=scales[1],
        process_set=set_id,
        grouped=True,
        urgent=urgent,
        priority=priority,
    )


def grouped_allreduce_async(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
    *,
    priority: int = 0,
) -> int:
    """Start an all-reduce of several tensors that is agreed on and run as a whole.

    No member runs before all members are ready on all ranks. Arguments and errors are those of
    ``allreduce_async``; ``synchronize`` returns the list of results.
    """
    scales = (prescale_factor, postscale_factor)
    chosen = resolve_op(op, average)
    return _start_grouped_allreduce(
        tensors, None, name, chosen, scales, process_set, priority=priority
    )


def grouped_allreduce_async_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
    *,
    priority: int = 0,
) -> int:
    """Start a grouped all-reduce in place; otherwise as ``grouped_allreduce_async``."""
    scales = (prescale_factor, postscale_factor)
    chosen = resolve_op(op, average)
    return _start_grouped_allreduce(
        tensors, tensors, name, chosen, scales, process_set, priority=priority
    )


def grouped_allreduce(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> list[torch.Tensor]:
    """Return the reductions of several tensors; as ``allreduce`` for each, run as a whole."""
    chosen = resolve_op(op, average)
    scales = (prescale_factor, postscale_factor)
    sent = [compression.compress(tensor) for tensor in tensors]
    reduced = _grouped_allreduce([one for one, _ in sent], name, chosen, scales, process_set)
    return [
        compression.decompress(tensor, ctx) for tensor, (_, ctx) in zip(reduced, sent, strict=True)
    ]


def grouped_allreduce_(
    tensors: Sequence[torch.Tensor],
    average: bool | None = None,
    name: str | None = None,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
) -> list[torch.Tensor]:
    """Reduce several tensors in place and return them; as ``grouped_allreduce``."""
    chosen = resolve_op(op, average)
    scales = (prescale_factor, postscale_factor)
    return results(
        _start_grouped_allreduce(tensors, tensors, name, chosen, scales, process_set, urgent=True)
    )


def _grouped_allreduce(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    op: ReduceOp,
    scales: tuple[float, float],
    process_set: ProcessSet,
) -> list[torch.Tensor]:
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        return results(
            _start_grouped_allreduce(tensors, None, name, op, scales, process_set, urgent=True)
        )
    check_differentiable(op)
    if is_linear(op):
        return list(_GroupedLinear.apply(name, op, scales, process_set, *tensors))  # type: ignore[no-untyped-call]
    prescaled = [scaled(tensor, scales[0]) for tensor in tensors]
    chosen = _GroupedChosen.apply(name, op, process_set, *prescaled)  # type: ignore[no-untyped-call]
    return [scaled(tensor, scales[1]) for tensor in chosen]


class _GroupedLinear(torch.autograd.Function):
    """The gradients of a group are a group; integers in it have none."""

    @staticmethod
    def forward(
        ctx: Any,
        name: str | None,
        op: ReduceOp,
        scales: tuple[float, float],
        process_set: ProcessSet,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.arguments = (gradient_name(name), op, scales, process_set)
        handle = _start_grouped_allreduce(tensors, None, name, op, scales, process_set, urgent=True)
        reduced = results(handle)
        ctx.mark_non_differentiable(*[one for one in reduced if not has_gradient(one)])
        return tuple(reduced)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return None for what is no tensor or an integer, and the reduced gradients."""
        sent = [one for one in gradients if has_gradient(one)]
        reduced = iter(_grouped_allreduce(sent, *ctx.arguments))
        own = [next(reduced) if has_gradient(one) else None for one in gradients]
        return None, None, None, None, *own


class _GroupedChosen(torch.autograd.Function):
    """Min, Max and Product."""

    @staticmethod
    def forward(
        ctx: Any, name: str | None, op: ReduceOp, process_set: ProcessSet, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.arguments = (gradient_name(name), op, process_set)
        handle = _start_grouped_allreduce(
            tensors, None, name, op, (1.0, 1.0), process_set, urgent=True
        )
        reduced = results(handle)
        ctx.save_for_backward(*tensors, *reduced)
        ctx.mark_non_differentiable(*[one for one in reduced if not has_gradient(one)])
        return tuple(reduced)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return None for what is no tensor or an integer, and this rank's shares."""
        name, op, process_set = ctx.arguments
        count = len(gradients)
        tensors, reduced = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        places = [i for i, tensor in enumerate(tensors) if has_gradient(tensor)]
        sent = [gradients[i] for i in places]
        totals = _grouped_allreduce(sent, name, Sum, (1.0, 1.0), process_set)
        own: list[torch.Tensor | None] = [None] * count
        for i, total in zip(places, totals, strict=True):
            label = name and f"{name}.{i}"
            own[i] = share(op, tensors[i], reduced[i], total, label, process_set)
        return None, None, None, *own


def has_gradient(tensor: torch.Tensor) -> bool:
    """Return whether tensors of this element type can have a gradient."""
    return tensor.is_floating_point() or tensor.is_complex()
