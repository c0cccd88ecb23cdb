"""Handles of asynchronous operations."""

from __future__ import annotations

from typing import cast

import torch

from rueda._context import job
from rueda._finishing import take


def poll(handle: int) -> bool:
    """Return whether an operation is done, without waiting.

    Raises:
        ValueError: The handle is not known: it was synchronized already, or never existed.
    """
    return job().operations.poll(handle)


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
    taken: torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor, torch.Tensor] | None
    taken = take(handle, job().operations.wait)
    return taken


def result(handle: int) -> torch.Tensor:
    """Wait for an operation on one tensor."""
    return cast("torch.Tensor", synchronize(handle))


def results(handle: int) -> list[torch.Tensor]:
    """Wait for a grouped operation."""
    return cast("list[torch.Tensor]", synchronize(handle))


def result_and_splits(handle: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Wait for an operation on one tensor that tells how many rows came from which rank."""
    return cast("tuple[torch.Tensor, torch.Tensor]", synchronize(handle))
