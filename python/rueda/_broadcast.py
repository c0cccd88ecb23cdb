"""Broadcast: one rank's tensor to all."""

from __future__ import annotations

from typing import Any

import torch

from rueda import _context, _reduce
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._handles import result
from rueda._reduce_op import Average
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, check_root, global_process_set


def start_broadcast(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    root_rank: int,
    name: str | None,
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    """Start it and return its handle; ``urgent`` says that somebody waits already."""
    operations = job().operations
    set_id = check_process_set(process_set)
    return operations.submit(
        native.BROADCAST,
        [tensor],
        None if output is None else [output],
        name,
        root=check_root(root_rank, process_set),
        process_set=set_id,
        urgent=urgent,
    )


def broadcast_async(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start a broadcast into a new tensor.

    Args:
        tensor: Of the same shape and dtype on all ranks, any that is not quantized; only the
            root's values count.
        root_rank: The rank whose tensor all get: its number in the job, also in a process set.
        name: What ranks match it by; without one, the count of unnamed broadcasts.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the root's tensor.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return start_broadcast(tensor, None, root_rank, name, process_set)


def broadcast_async_(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start a broadcast in place; otherwise as ``broadcast_async``."""
    return start_broadcast(tensor, tensor, root_rank, name, process_set)


def broadcast(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Return the root's tensor on all ranks; the tensor itself is left alone.

    Differentiable, if the tensor requires a gradient on all ranks: the root's gradient is the
    average of all, that of the others zero, as in Horovod. Arguments and errors are those of
    ``broadcast_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        differentiable: torch.Tensor = _Broadcast.apply(tensor, root_rank, name, process_set)  # type: ignore[no-untyped-call]
        return differentiable
    return result(start_broadcast(tensor, None, root_rank, name, process_set, urgent=True))


def broadcast_(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Overwrite a tensor by the root's and return it; otherwise as ``broadcast``."""
    return result(start_broadcast(tensor, tensor, root_rank, name, process_set, urgent=True))


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, root_rank: int, name: str | None, process_set: ProcessSet
    ) -> torch.Tensor:
        ctx.arguments = (root_rank, gradient_name(name), process_set)
        return result(start_broadcast(tensor, None, root_rank, name, process_set, urgent=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the average gradient on the root and zeros elsewhere."""
        root_rank, name, process_set = ctx.arguments
        average = _reduce.reduce(gradients[0], root_rank, Average, name, process_set)
        if _context.rank() != root_rank:
            # Of no elements, but what a second backward pass goes through.
            average = torch.zeros_like(gradients[0]) + average.sum()
        return average, None, None, None
