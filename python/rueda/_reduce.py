"""Reduce: an all-reduce whose result one rank alone gets. Horovod has none."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rueda import _broadcast, _context
from rueda._allreduce import scaled
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._handles import result
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
from rueda.process_sets import ProcessSet, check_process_set, check_root, global_process_set


def _start(
    tensor: torch.Tensor,
    root_rank: int,
    op: ReduceOp,
    name: str | None,
    process_set: ProcessSet,
    scales: tuple[float, float],
    *,
    urgent: bool = False,
) -> int:
    operations = job().operations
    set_id = check_process_set(process_set)
    if op == Adasum:
        raise ValueError("op=rueda.Adasum: reduce has Average, Sum, Min, Max and Product")
    return operations.submit(
        native.REDUCE,
        [tensor],
        None,
        name,
        op=op,
        root=check_root(root_rank, process_set),
        prescale=scales[0],
        postscale=scales[1],
        process_set=set_id,
        urgent=urgent,
    )


def reduce_async(
    tensor: torch.Tensor,
    root_rank: int,
    op: int = Average,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start a reduction to one rank.

    Args:
        tensor: Of the same shape and dtype on all ranks, as for ``allreduce``.
        root_rank: The rank that gets the result: its number in the job, also in a process set.
        op: ``rueda.Average``, ``Sum``, ``Min``, ``Max`` or ``Product``.
        name: What ranks match it by; without one, the count of unnamed reductions to a rank.
        process_set: The ranks that take part.
        prescale_factor: Multiplies every input before it is added.
        postscale_factor: Multiplies the result.

    Returns:
        A handle; ``synchronize`` returns the result on the root, and a tensor without elements
        elsewhere.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    scales = (prescale_factor, postscale_factor)
    return _start(tensor, root_rank, resolve_op(op, None), name, process_set, scales)


def reduce(
    tensor: torch.Tensor,
    root_rank: int,
    op: int = Average,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> torch.Tensor:
    """Return the reduction of all ranks' tensors on the root, a tensor without elements elsewhere.

    Differentiable, if the tensor requires a gradient on all ranks and all go back through what this
    returns, for example by adding its ``sum()`` to the loss; the gradient is that of the root's
    loss. Arguments and errors are those of ``reduce_async``.
    """
    scales = (prescale_factor, postscale_factor)
    chosen = resolve_op(op, None)
    if not (tensor.requires_grad and torch.is_grad_enabled()):
        handle = _start(tensor, root_rank, chosen, name, process_set, scales, urgent=True)
        return result(handle)
    check_differentiable(chosen)
    if is_linear(chosen):
        reduced: torch.Tensor = _Reduce.apply(tensor, root_rank, chosen, name, process_set, scales)  # type: ignore[no-untyped-call]
        return reduced
    own = scaled(tensor, scales[0])
    reduced = _Reduce.apply(own, root_rank, chosen, name, process_set, (1.0, 1.0))  # type: ignore[no-untyped-call]
    return scaled(reduced, scales[1])


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        root_rank: int,
        op: ReduceOp,
        name: str | None,
        process_set: ProcessSet,
        scales: tuple[float, float],
    ) -> torch.Tensor:
        ctx.arguments = (root_rank, op, gradient_name(name), process_set, scales)
        handle = _start(tensor, root_rank, op, name, process_set, scales, urgent=True)
        reduced = result(handle)
        ctx.is_root = _context.rank() == root_rank
        ctx.shape = tensor.shape
        if not is_linear(op):
            ctx.save_for_backward(tensor, reduced)
        return reduced

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return this rank's share of the root's gradient."""
        root_rank, op, name, process_set, scales = ctx.arguments

        def of_root(held: torch.Tensor, label: str | None) -> torch.Tensor:
            sent = held if ctx.is_root else held.new_empty(ctx.shape)
            handle = _broadcast.start_broadcast(
                sent, None, root_rank, label, process_set, urgent=True
            )
            return result(handle)

        total = of_root(gradients[0], name)
        if is_linear(op):
            factor = scales[0] * scales[1] / (process_set._size() if op == Average else 1)
            own = scaled(total, factor)
        else:
            tensor, reduced = ctx.saved_tensors
            everyones = of_root(reduced, name and f"{name}.result")
            own = share(op, tensor, everyones, total, name, process_set)
        return own, None, None, None, None, None
