"""Handles of asynchronous operations."""

from __future__ import annotations

from typing import cast

import torch

from rueda._context import job


def poll(handle: int) -> bool:
    """Return whether an operation is done, without waiting.

    Raises:
        ValueError: The handle is not known: it was synchronized already, or never existed.
    """
    return job().operations.poll(handle)


def synchronize(handle: int) -> torch.Tensor | list[torch.Tensor] | None:
    """Wait for an operation and return its result; the handle is forgotten.

    The GIL is released while waiting and Ctrl-C interrupts it; the operation then goes on and its
    handle stays valid.

    Returns:
        The tensor, the list of tensors of a grouped operation, or None for an unknown handle.

    Raises:
        HorovodInternalError: Ranks disagree, a rank left or died, or the job was shut down.
    """
    return job().operations.wait(handle)


def result(handle: int) -> torch.Tensor:
    """Wait for an operation on one tensor."""
    return cast("torch.Tensor", job().operations.wait(handle))


def results(handle: int) -> list[torch.Tensor]:
    """Wait for a grouped operation."""
    return cast("list[torch.Tensor]", job().operations.wait(handle))
