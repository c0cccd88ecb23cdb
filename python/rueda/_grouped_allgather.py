"""Grouped all-gather: several tensors that are agreed on and run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rueda._allgather import Allgather, start_allgather
from rueda._handles import results
from rueda.process_sets import ProcessSet, global_process_set


def grouped_allgather_async(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> int:
    """Start an all-gather of several tensors that is agreed on and run as a whole.

    No member runs before all members are ready on all ranks. Arguments and errors are those of
    ``allgather_async``; ``synchronize`` returns the list of results.
    """
    return start_allgather(tensors, name, process_set, grouped=True)


def grouped_allgather(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> list[torch.Tensor]:
    """Return several joined tensors; as ``allgather`` for each, run as a whole."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return list(Allgather.apply(name, process_set, True, *tensors))  # type: ignore[no-untyped-call]
    return results(start_allgather(tensors, name, process_set, grouped=True, urgent=True))
