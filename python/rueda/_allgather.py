"""All-gather: the tensors of all ranks, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._context import job
from rueda._gradient_names import gradient_name
from rueda._grouped_allreduce import grouped_allreduce, has_gradient
from rueda._handles import result, results
from rueda._reduce_op import Average
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def start_allgather(
    tensors: Sequence[torch.Tensor],
    name: str | None,
    process_set: ProcessSet,
    *,
    grouped: bool = False,
    urgent: bool = False,
) -> int:
    """Start it, for one tensor or a group, and return its handle."""
    operations = job().operations
    set_id = check_process_set(process_set)
    if any(tensor.dim() == 0 for tensor in tensors):
        raise IndexError(
            "allgather joins tensors along their first dimension, and this one has none; "
            "use tensor.reshape(1)"
        )
    return operations.submit(
        native.ALLGATHER,
        list(tensors),
        None,
        name,
        process_set=set_id,
        grouped=grouped,
        urgent=urgent,
    )


def allgather_async(
    tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set
) -> int:
    """Start an all-gather.

    Args:
        tensor: Of the same dtype and shape on all ranks but for the first dimension, which may be
            0; any strides, any dtype that is not quantized.
        name: What ranks match it by; without one, the count of unnamed all-gathers.
        process_set: The ranks that take part.

    Returns:
        A handle; ``synchronize`` returns the tensors of all ranks joined in rank order.

    Raises:
        IndexError: The tensor has no dimension.
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return start_allgather([tensor], name, process_set)


def allgather(
    tensor: torch.Tensor, name: str | None = None, process_set: ProcessSet = global_process_set
) -> torch.Tensor:
    """Return the tensors of all ranks joined along the first dimension, in rank order.

    Differentiable: the gradient is this rank's part of the average of all, as in Horovod. Arguments
    and errors are those of ``allgather_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        joined: tuple[torch.Tensor] = Allgather.apply(name, process_set, False, tensor)  # type: ignore[no-untyped-call]
        return joined[0]
    return result(start_allgather([tensor], name, process_set, urgent=True))


class Allgather(torch.autograd.Function):
    """The all-gather of one tensor or of a group."""

    @staticmethod
    def forward(
        ctx: Any,
        name: str | None,
        process_set: ProcessSet,
        grouped: bool,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the joined tensors."""
        ctx.arguments = (gradient_name(name), process_set)
        ctx.rows = [tensor.shape[0] for tensor in tensors]
        handle = start_allgather(tensors, name, process_set, grouped=grouped, urgent=True)
        joined = results(handle) if grouped else [result(handle)]
        ctx.mark_non_differentiable(*[one for one in joined if not has_gradient(one)])
        return tuple(joined)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return this rank's rows of the averaged gradients."""
        name, process_set = ctx.arguments
        first_rows = _first_rows(ctx.rows, name, process_set)
        sent = [one for one in gradients if has_gradient(one)]
        averages = iter(grouped_allreduce(sent, name=name, op=Average, process_set=process_set))
        own: list[torch.Tensor | None] = []
        for gradient, first, rows in zip(gradients, first_rows, ctx.rows, strict=True):
            own.append(next(averages)[first : first + rows] if has_gradient(gradient) else None)
        return None, None, None, *own


def _first_rows(rows: list[int], name: str | None, process_set: ProcessSet) -> list[int]:
    """Return where this rank's rows begin in each of the joined tensors."""
    member = process_set._rank()
    own = torch.tensor([[member, *rows]])
    handle = start_allgather([own], name and f"{name}.rows", process_set, urgent=True)
    everyones = result(handle)
    # Ranks that have joined are missing.
    before: list[int] = everyones[everyones[:, 0] < member][:, 1:].sum(0).tolist()
    return before
