"""Gather: an all-gather whose result one rank alone gets. Horovod has none."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rueda import _scatter
from rueda._context import job
from rueda._finishing import finish_later
from rueda._gradient_names import gradient_name
from rueda._handles import result, result_and_splits
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, check_root, global_process_set


def start_gather(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None,
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    """Start it; the handle's result is the joined tensor and how many rows are whose."""
    operations = job().operations
    set_id = check_process_set(process_set)
    if tensor.dim() == 0:
        raise IndexError(
            "gather joins tensors along their first dimension, and this one has none; "
            "use tensor.reshape(1)"
        )
    return operations.submit(
        native.GATHER,
        [tensor],
        None,
        name,
        root=check_root(root_rank, process_set),
        process_set=set_id,
        with_splits=True,
        urgent=urgent,
    )


def gather_async(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start a gather.

    Args:
        tensor: Of the same dtype and shape on all ranks but for the first dimension, which may be
            0; any strides, any dtype that is not quantized.
        root_rank: The rank that gets the result: its number in the job, also in a process set.
        name: What ranks match it by; without one, the count of unnamed gathers.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the tensors of all ranks joined in rank order on the root,
        and a tensor without rows elsewhere.

    Raises:
        IndexError: The tensor has no dimension.
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    handle = start_gather(tensor, root_rank, name, process_set)
    return finish_later(handle, lambda joined_and_splits: joined_and_splits[0])


def gather(
    tensor: torch.Tensor,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Return the tensors of all ranks joined in rank order on the root, without rows elsewhere.

    Differentiable, if the tensor requires a gradient on all ranks and all go back through what this
    returns, for example by adding its ``sum()`` to the loss: the gradient is this rank's part of
    the root's. Arguments and errors are those of ``gather_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        joined: torch.Tensor = _Gather.apply(tensor, root_rank, name, process_set)  # type: ignore[no-untyped-call]
        return joined
    return result_and_splits(start_gather(tensor, root_rank, name, process_set, urgent=True))[0]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, root_rank: int, name: str | None, process_set: ProcessSet
    ) -> torch.Tensor:
        handle = start_gather(tensor, root_rank, name, process_set, urgent=True)
        joined, splits = result_and_splits(handle)
        ctx.arguments = (root_rank, splits, gradient_name(name), process_set)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return this rank's rows of the root's gradient."""
        root_rank, splits, name, process_set = ctx.arguments
        handle = _scatter.start_scatter(
            gradients[0], root_rank, splits, name, process_set, urgent=True
        )
        return result(handle), None, None, None
