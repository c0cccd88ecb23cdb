"""Reduce-scatter: the sum of all ranks' tensors, its rows divided among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._allgather import start_allgather
from rueda._allreduce import scaled
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._grouped_allgather import grouped_allgather
from rueda._grouped_allreduce import has_gradient
from rueda._handles import result, results
from rueda._reduce_op import (
    Adasum,
    Average,
    ReduceOp,
    check_differentiable,
    is_linear,
    resolve_op,
)
from rueda._reduction_gradient import share
from rueda._torch_module import native
from rueda.compression import Compression, Compressor
from rueda.exceptions import RefusedError
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def start_reducescatter(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    op: ReduceOp,
    process_set: ProcessSet,
    scales: tuple[float, float],
    *,
    grouped: bool = False,
    urgent: bool = False,
) -> int:
    """Start it, for one tensor or a group, and return its handle."""
    operations = job().operations
    set_id = check_process_set(process_set)
    if op == Adasum:
        raise RefusedError("op=rueda.Adasum: reducescatter has Average, Sum, Min, Max and Product")
    if any(tensor.dim() == 0 for tensor in tensors):
        raise RefusedError(
            "reducescatter divides tensors along their first dimension, and this one has none; "
            "use tensor.reshape(1)"
        )
    return operations.submit(
        native.REDUCESCATTER,
        list(tensors),
        None,
        name,
        op=op,
        prescale=scales[0],
        postscale=scales[1],
        process_set=set_id,
        grouped=grouped,
        urgent=urgent,
    )


def reducescatter_async(
    tensor: torch.Tensor,
    name: str | None = None,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start a reduce-scatter.

    Args:
        tensor: Of the same shape and dtype on all ranks, with at least one dimension; dtypes as for
            ``allreduce``.
        name: What ranks match it by; without one, the count of unnamed reduce-scatters.
        op: ``rueda.Average`` or ``Sum``; and, what Horovod lacks, ``Min``, ``Max`` or ``Product``.
        process_set: The ranks that take part.
        prescale_factor: Multiplies every input before it is added.
        postscale_factor: Multiplies the result.

    Returns:
        A handle; ``synchronize`` returns this rank's rows of the result. If the rows do not divide
        equally, the first ranks get one more.

    Raises:
        ValueError: The arguments are wrong, or the tensor has no dimension; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    scales = (prescale_factor, postscale_factor)
    return start_reducescatter([tensor], name, resolve_op(op, None), process_set, scales)


def reducescatter(
    tensor: torch.Tensor,
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> torch.Tensor:
    """Return this rank's rows of the reduction of all ranks' tensors.

    Differentiable: the gradient for Average is that of all ranks' rows together, for Sum that times
    the number of ranks, as in Horovod; for Min, Max and Product it is shared as ``allreduce`` does.
    Arguments and errors are those of ``reducescatter_async``; ``compression`` is applied before and
    undone after.
    """
    sent, ctx = compression.compress(tensor)
    scales = (prescale_factor, postscale_factor)
    (own,) = reduced_rows([sent], name, resolve_op(op, None), process_set, scales, grouped=False)
    return compression.decompress(own, ctx)


def reduced_rows(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    op: ReduceOp,
    process_set: ProcessSet,
    scales: tuple[float, float],
    *,
    grouped: bool,
) -> list[torch.Tensor]:
    """Return this rank's rows, with a gradient where one is wanted."""
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        handle = start_reducescatter(
            tensors, name, op, process_set, scales, grouped=grouped, urgent=True
        )
        return results(handle) if grouped else [result(handle)]
    check_differentiable(op)
    if is_linear(op):
        return list(_Reducescatter.apply(name, op, process_set, scales, grouped, *tensors))  # type: ignore[no-untyped-call]
    own = [scaled(tensor, scales[0]) for tensor in tensors]
    rows = _Reducescatter.apply(name, op, process_set, (1.0, 1.0), grouped, *own)  # type: ignore[no-untyped-call]
    return [scaled(one, scales[1]) for one in rows]


class _Reducescatter(torch.autograd.Function):
    """The reduce-scatter of one tensor or of a group."""

    @staticmethod
    def forward(
        ctx: Any,
        name: str | None,
        op: ReduceOp,
        process_set: ProcessSet,
        scales: tuple[float, float],
        grouped: bool,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        handle = start_reducescatter(
            tensors, name, op, process_set, scales, grouped=grouped, urgent=True
        )
        rows = results(handle) if grouped else [result(handle)]
        ctx.arguments = (gradient_name(name), op, process_set, scales)
        if not is_linear(op):
            ctx.save_for_backward(*tensors, *rows)
        ctx.mark_non_differentiable(*[one for one in rows if not has_gradient(one)])
        return tuple(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients of all ranks' rows, scaled or shared."""
        name, op, process_set, scales = ctx.arguments
        places = [i for i, one in enumerate(gradients) if has_gradient(one)]
        joined = grouped_allgather([gradients[i] for i in places], name, process_set)
        own: list[torch.Tensor | None] = [None] * len(gradients)
        for i, total in zip(places, joined, strict=True):
            if is_linear(op):
                factor = scales[0] * scales[1] * (1 if op == Average else process_set._size())
                own[i] = scaled(total, factor)
            else:
                label = name and f"{name}.{i}"
                tensor, rows = ctx.saved_tensors[i], ctx.saved_tensors[len(gradients) + i]
                handle = start_allgather([rows], label and f"{label}.result", process_set)
                own[i] = share(op, tensor, result(handle), total, label, process_set)
        return None, None, None, None, None, *own
