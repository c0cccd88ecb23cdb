"""What reduces the gradients of parameters that the C++ reducer only counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from rueda._handles import synchronize
from rueda.exceptions import HorovodInternalError


class Apart(Protocol):
    """One way to reduce gradients, for some parameters of one optimizer.

    Every call may be interrupted (Ctrl-C) and made again: what is in flight stays in flight.
    """

    def start(self) -> None:
        """Submit the gradients, unless they are in flight already. Does not wait."""

    def finish(self) -> None:
        """Wait, and leave the reduced gradients in ``.grad``.

        Raises:
            HorovodInternalError: The job failed, or ranks disagree; gradients are undefined.
        """

    def drop(self) -> None:
        """Wait for what is in flight and forget it: the step has failed elsewhere."""


def drain(handles: Iterable[int]) -> None:
    """Wait for operations whose results nobody wants any more."""
    for handle in handles:
        try:
            synchronize(handle)
        except (HorovodInternalError, ValueError):
            continue  # it ended, and why is known from the failure that brought us here


def gradient_or_zeros(parameter: torch.Tensor) -> torch.Tensor:
    """Return a parameter's dense gradient; zeros where there is none or it is frozen."""
    if parameter.grad is None or not parameter.requires_grad:
        return torch.zeros_like(parameter, requires_grad=False)
    gradient = parameter.grad.detach()
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def deliver(parameter: torch.Tensor, gradient: torch.Tensor) -> None:
    """Make this a parameter's gradient, in its type and shape; a frozen parameter keeps its own."""
    if parameter.requires_grad:
        parameter.grad = gradient.to(parameter.dtype).view_as(parameter)
