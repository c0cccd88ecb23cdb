"""Broadcast: one rank's tensor to all."""

from __future__ import annotations

from typing import Any

import torch

from rueda import _context
from rueda._allreduce import allreduce
from rueda._context import job
from rueda._handles import result
from rueda._reduce_op import Average
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def _start(
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    root_rank: int,
    name: str | None,
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    operations = job().operations
    if not 0 <= root_rank < _context.size():
        raise ValueError(
            f"root_rank={root_rank} is no rank of this job of {_context.size()} "
            f"(0 to {_context.size() - 1})"
        )
    return operations.submit(
        native.BROADCAST,
        [tensor],
        None if output is None else [output],
        name,
        root=root_rank,
        process_set=check_process_set(process_set),
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
        tensor: Of the same shape and dtype on all ranks; only the root's values count.
        root_rank: The global rank whose tensor all get.
        name: What ranks match it by; without one, the count of unnamed broadcasts.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the root's tensor.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return _start(tensor, None, root_rank, name, process_set)


def broadcast_async_(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start a broadcast in place; otherwise as ``broadcast_async``."""
    return _start(tensor, tensor, root_rank, name, process_set)


def broadcast(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Return the root's tensor on all ranks; the tensor itself is left alone.

    Differentiable: the root's gradient is the average of all, that of the others zero, as in
    Horovod. Arguments and errors are those of ``broadcast_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        differentiable: torch.Tensor = _Broadcast.apply(tensor, root_rank, name, process_set)  # type: ignore[no-untyped-call]
        return differentiable
    return result(_start(tensor, None, root_rank, name, process_set, urgent=True))


def broadcast_(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Overwrite a tensor by the root's and return it; otherwise as ``broadcast``."""
    return result(_start(tensor, tensor, root_rank, name, process_set, urgent=True))


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, root_rank: int, name: str | None, process_set: ProcessSet
    ) -> torch.Tensor:
        ctx.root_rank = root_rank
        ctx.gradient_name = None if name is None else f"{name}.gradient"
        ctx.process_set = process_set
        return result(_start(tensor, None, root_rank, name, process_set, urgent=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the average gradient on the root and zeros elsewhere."""
        average = allreduce(
            gradients[0].contiguous(),
            name=ctx.gradient_name,
            op=Average,
            process_set=ctx.process_set,
        )
        if _context.rank() != ctx.root_rank:
            average = torch.zeros_like(average)
        return average, None, None, None
