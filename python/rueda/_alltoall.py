"""All-to-all: every rank sends rows of its tensor to every rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._context import job
from rueda._finishing import finish_later
from rueda._gradient_names import gradient_name
from rueda._handles import result_and_splits
from rueda._splits import padded, rows_by_rank
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def _start(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None,
    name: str | None,
    process_set: ProcessSet,
    *,
    urgent: bool = False,
) -> int:
    """Start it; the handle's result is the output and the received splits."""
    operations = job().operations
    set_id = check_process_set(process_set)
    return operations.submit(
        native.ALLTOALL,
        [tensor],
        None,
        name,
        process_set=set_id,
        parts=rows_by_rank(tensor, splits, process_set._size()),
        with_splits=True,
        urgent=urgent,
    )


def alltoall_async(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start an all-to-all.

    Args:
        tensor: Of the same dtype and shape on all ranks but for the first dimension; any strides,
            any dtype that is not quantized. Its first rows go to the set's first rank, the next to
            the second, and so on.
        splits: The number of rows for each rank of the set, a list or a tensor of ``torch.int32``
            with one dimension. Rows beyond their sum are not sent. None for as many for each.
        name: What ranks match it by; without one, the count of unnamed all-to-alls.
        process_set: The ranks that take part.

    Returns:
        A handle. ``synchronize`` returns the rows that all ranks sent to this one, in rank order;
        with ``splits`` a pair of them and the number of rows from each rank (``torch.int32``).

    Raises:
        ValueError: The arguments are wrong: ``splits`` has another length or dtype, or sums to more
            rows than there are; or there are none and the rows do not divide. Nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    handle = _start(tensor, splits, name, process_set)
    if splits is not None:
        return handle
    return finish_later(handle, lambda output_and_splits: output_and_splits[0])


def alltoall(
    tensor: torch.Tensor,
    splits: torch.Tensor | Sequence[int] | None = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Return the rows that all ranks sent to this one; with ``splits`` also how many from each.

    Differentiable: gradients go back the way the rows came. Arguments and errors are those of
    ``alltoall_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        output, received = _Alltoall.apply(tensor, splits, name, process_set)  # type: ignore[no-untyped-call]
    else:
        output, received = result_and_splits(_start(tensor, splits, name, process_set, urgent=True))
    return output if splits is None else (output, received)


class _Alltoall(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tensor: torch.Tensor,
        splits: torch.Tensor | Sequence[int] | None,
        name: str | None,
        process_set: ProcessSet,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        handle = _start(tensor, splits, name, process_set, urgent=True)
        output, received = result_and_splits(handle)
        ctx.arguments = (received.clone(), gradient_name(name), process_set)
        ctx.shape = tensor.shape
        ctx.mark_non_differentiable(received)
        return output, received

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients of the rows that were sent, and zeros for the others."""
        own, _ = alltoall(gradients[0], *ctx.arguments)
        return padded(own, ctx.shape), None, None, None
