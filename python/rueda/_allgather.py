"""All-gather: the tensors of all ranks, one after another."""

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
    tensor: torch.Tensor, name: str | None, process_set: ProcessSet, *, urgent: bool = False
) -> int:
    operations = job().operations
    if tensor.dim() == 0:
        raise IndexError(
            "allgather joins tensors along their first dimension, and this one has none; "
            "use tensor.reshape(1)"
        )
    return operations.submit(
        native.ALLGATHER,
        [tensor],
        None,
        name,
        process_set=check_process_set(process_set),
        urgent=urgent,
    )


def allgather_async(
    tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set
) -> int:
    """Start an all-gather.

    Args:
        tensor: Of the same dtype and shape on all ranks but for the first dimension.
        name: What ranks match it by; without one, the count of unnamed all-gathers.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the tensors of all ranks joined in rank order.

    Raises:
        IndexError: The tensor has no dimension.
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return _start(tensor, name, process_set)


def allgather(
    tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set
) -> torch.Tensor:
    """Return the tensors of all ranks joined along the first dimension, in rank order.

    Differentiable: the gradient is this rank's part of the average of all, as in Horovod. Arguments
    and errors are those of ``allgather_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        differentiable: torch.Tensor = _Allgather.apply(tensor, name, process_set)  # type: ignore[no-untyped-call]
        return differentiable
    return result(_start(tensor, name, process_set, urgent=True))


class _Allgather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, name: str | None, process_set: ProcessSet
    ) -> torch.Tensor:
        ctx.gradient_name = None if name is None else f"{name}.gradient"
        ctx.process_set = process_set
        ctx.rows = tensor.shape[0]
        return result(_start(tensor, name, process_set, urgent=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return this rank's rows of the averaged gradient."""
        rows = result(_start(torch.tensor([ctx.rows]), None, ctx.process_set, urgent=True))
        first = int(rows[: _context.rank()].sum())
        average = allreduce(
            gradients[0].contiguous(),
            name=ctx.gradient_name,
            op=Average,
            process_set=ctx.process_set,
        )
        return average[first : first + ctx.rows], None, None
