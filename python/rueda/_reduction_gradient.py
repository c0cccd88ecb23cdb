"""Gradients of reductions: whose elements a minimum, maximum or product was made of.

Sum and Average are linear, so their gradients are reduced as the tensors were. The others' are
worked out from the gradients of all ranks added up, which callers bring.
"""

from __future__ import annotations

from typing import Any

import torch

from rueda import _allreduce, _context
from rueda._gradient_names import gradient_name
from rueda._handles import results
from rueda._reduce_op import Max, Min, ReduceOp, Sum
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set


def share(
    op: ReduceOp,
    own: torch.Tensor,
    reduced: torch.Tensor,
    total: torch.Tensor,
    name: str | None,
    process_set: ProcessSet,
) -> torch.Tensor:
    """Return this rank's part of a gradient of ``Min``, ``Max`` or ``Product``.

    Args:
        op: The operation.
        own: This rank's tensor.
        reduced: What became of all ranks' tensors.
        total: The gradients of all ranks by it, added up.
        name: Of the gradient, or None.
        process_set: The ranks that took part.

    Returns:
        For Min and Max the gradient where this rank's element is the one chosen, in equal shares
        where several ranks have it, as ``torch.amax`` does. For Product the gradient times the
        product of the other ranks' elements, for which all tensors are gathered.
    """
    if op not in (Min, Max):
        return total * _product_of_others(own, name, process_set)
    chosen = own == reduced
    label = name and f"{name}.winners"
    winners = _allreduce.allreduce_now(
        chosen.to(torch.int32), None, label, Sum, None, 1.0, 1.0, process_set
    )
    return total * chosen / winners


def _product_of_others(
    own: torch.Tensor, name: str | None, process_set: ProcessSet
) -> torch.Tensor:
    rows, ranks = _Rows.apply(own, name and f"{name}.factors", process_set)  # type: ignore[no-untyped-call]
    # A rank that has joined has no row.
    place = ranks.tolist().index(_context.rank())
    others: torch.Tensor = torch.cat([rows[:place], rows[place + 1 :]])
    # No product of bfloat16 and the like is rounded more than once.
    wide = others.float() if others.itemsize == 2 else others
    return wide.prod(0).to(own.dtype)


class _Rows(torch.autograd.Function):
    """All ranks' tensors, one row each, and the ranks; its gradient is that of all ranks' losses.

    The public all-gather's is the average, as in Horovod.
    """

    @staticmethod
    def forward(
        ctx: Any, own: torch.Tensor, name: str | None, process_set: ProcessSet
    ) -> tuple[torch.Tensor, torch.Tensor]:
        operations = _context.job().operations
        handle = operations.submit(
            native.ALLGATHER,
            [own.unsqueeze(0), torch.tensor([_context.rank()])],
            None,
            name,
            process_set=check_process_set(process_set),
            grouped=True,
            urgent=True,
        )
        rows, ranks = results(handle)
        ctx.place = ranks.tolist().index(_context.rank())
        ctx.arguments = (gradient_name(name), process_set)
        ctx.mark_non_differentiable(ranks)
        return rows, ranks

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the sum of all ranks' gradients by this rank's row."""
        name, process_set = ctx.arguments
        total = _allreduce.allreduce(gradients[0], name=name, op=Sum, process_set=process_set)
        return total[ctx.place], None, None
