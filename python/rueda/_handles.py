"""Handles of asynchronous operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from rueda._context import job
from rueda._finishing import take, unfinished
from rueda._shortcuts import shortcuts

if TYPE_CHECKING:
    from collections.abc import Callable


def poll(handle: int) -> bool:
    """Return whether an operation is done, without waiting.

    Raises:
        ValueError: The handle is not known: it was synchronized already, or never existed.
    """
    return job().operations.poll(handle)


@shortcuts.add
def synchronize(
    handle: int,
) -> torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor, torch.Tensor] | None:
    """Wait for an operation and return its result; the handle is forgotten.

    The GIL is released while waiting and Ctrl-C interrupts it; the operation then goes on and its
    handle stays valid.

    Returns:
        The tensor, the list of tensors of a grouped operation, the output and the received splits
        of an alltoall that was given splits, or None for an unknown handle.

    Raises:
        HorovodInternalError: Ranks disagree, a rank left or died, or the job was shut down.
    """
    operations = job().operations
    if handle in unfinished:
        return take(handle, operations.wait)  # type: ignore[no-any-return]
    return operations.wait(handle)  # type: ignore[no-any-return]


# The same, by what the operation is known to return: on one tensor, on a group, and on one tensor
# with how many rows came from which rank. No functions of their own: small calls would pay for
# another Python frame.
result = cast("Callable[[int], torch.Tensor]", synchronize)
results = cast("Callable[[int], list[torch.Tensor]]", synchronize)
result_and_splits = cast("Callable[[int], tuple[torch.Tensor, torch.Tensor]]", synchronize)
