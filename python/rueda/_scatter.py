"""Scatter: the rows of one rank's tensor, divided among all. Horovod has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rueda import _context, _gather
from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._handles import result, result_and_splits
from rueda._splits import padded, rows_by_rank
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, check_root, global_process_set


def start_scatter(
    tensor: torch.Tensor,
    root_rank: int,
    splits: torch.Tensor | Sequence[int] | None,
    name: str | None,
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    """Start it and return its handle; ``urgent`` says that somebody waits already."""
    operations = job().operations
    set_id = check_process_set(process_set)
    root = check_root(root_rank, process_set)
    is_root = _context.rank() == root
    return operations.submit(
        native.SCATTER,
        [tensor],
        None,
        name,
        root=root,
        process_set=set_id,
        parts=rows_by_rank(tensor, splits, process_set._size()) if is_root else [],
        urgent=urgent,
    )


def scatter_async(
    tensor: torch.Tensor,
    root_rank: int,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start a scatter.

    Args:
        tensor: Of at least one dimension; on the root the rows to divide, elsewhere any tensor of
            the same dtype and shape but for the first dimension, whose values do not count.
        root_rank: The rank whose rows are divided: its number in the job, also in a process set.
        splits: On the root the number of rows for each rank of the set, a list or a tensor of
            ``torch.int32``; None for as many for each.
        name: What ranks match it by; without one, the count of unnamed scatters.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns this rank's rows.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return start_scatter(tensor, root_rank, splits, name, process_set)


def scatter(
    tensor: torch.Tensor,
    root_rank: int,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor:
    """Return this rank's rows of the root's tensor.

    Differentiable, if the tensor requires a gradient on all ranks: the root's gradient is that of
    all ranks' rows, the others' is zero. Arguments and errors are those of ``scatter_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        rows: torch.Tensor = _Scatter.apply(tensor, root_rank, splits, name, process_set)  # type: ignore[no-untyped-call]
        return rows
    return result(start_scatter(tensor, root_rank, splits, name, process_set, urgent=True))


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        root_rank: int,
        splits: torch.Tensor | Sequence[int] | None,
        name: str | None,
        process_set: ProcessSet,
    ) -> torch.Tensor:
        ctx.arguments = (root_rank, gradient_name(name), process_set)
        ctx.shape = tensor.shape
        return result(start_scatter(tensor, root_rank, splits, name, process_set, urgent=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients of all rows on the root, and zeros elsewhere."""
        handle = _gather.start_gather(gradients[0], *ctx.arguments, urgent=True)
        rows, _ = result_and_splits(handle)
        return padded(rows, ctx.shape), None, None, None, None
