"""PowerSGDState: the factors and the residual of one optimizer's compressed gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._apart import deliver, drain, gradient_or_zeros
from rueda._grouped_allreduce import grouped_allreduce_async
from rueda._handles import results
from rueda._reduce_op import Average
from rueda._reduction_settings import Settings
from rueda.powersgd import PowerSGD


class PowerSGDState:
    """Algorithms 1 and 2 of the paper that ``PowerSGD`` names, for a list of matrices.

    With ``M`` a rank's gradient plus residual, and mean(...) an all-reduce of all matrices as one
    group::

        P = mean(M Q)       start
        P = orthogonal(P)   finish, like the rest
        S = M' P            what this rank sends: P S'
        residual = M - P S'
        Q = mean(S)
        gradient = P Q'     the mean of what all ranks sent

    16-bit gradients are worked on in float32.
    """

    def __init__(
        self, name: str, settings: Settings, config: PowerSGD, parameters: dict[int, torch.Tensor]
    ) -> None:
        self._name = f"{name}.powersgd"
        self._settings = settings
        self._numbers = list(parameters)
        self._parameters = list(parameters.values())
        self._factors = [self._first_factor(config, number) for number in range(len(parameters))]
        self._residuals = [torch.zeros_like(m) for m in self._matrices_of_zeros()]
        self._matrices: list[torch.Tensor] = []
        self._sent: list[torch.Tensor] = []
        self._bases: list[torch.Tensor] = []
        self._left: int | None = None
        self._right: int | None = None

    def _first_factor(self, config: PowerSGD, position: int) -> torch.Tensor:
        matrix = _matrix(self._parameters[position])
        generator = torch.Generator().manual_seed(config.seed + self._numbers[position])
        rank = min(config.rank, *matrix.shape)
        return torch.randn(matrix.shape[1], rank, generator=generator, dtype=torch.float64).to(
            matrix.dtype
        )

    def _matrices_of_zeros(self) -> list[torch.Tensor]:
        return [_matrix(torch.zeros_like(p, requires_grad=False)) for p in self._parameters]

    @torch.no_grad()
    def start(self) -> None:
        """See ``Apart``."""
        if self._left is not None or self._right is not None or not self._parameters:
            return
        self._matrices = [
            _matrix(gradient_or_zeros(p)) + residual
            for p, residual in zip(self._parameters, self._residuals, strict=True)
        ]
        left = [m @ q for m, q in zip(self._matrices, self._factors, strict=True)]
        self._left = self._mean(left, "left", Average, 1.0, 1.0)

    @torch.no_grad()
    def finish(self) -> None:
        """See ``Apart``."""
        if self._left is not None:
            left = results(self._left)
            self._left = None
            self._bases = [_orthogonal(p) for p in left]
            self._sent = [m.T @ p for m, p in zip(self._matrices, self._bases, strict=True)]
            self._right = self._mean(self._sent, "right", *self._settings.scaled())
        if self._right is not None:
            right = results(self._right)
            self._right = None
            for parameter, basis, factor in zip(self._parameters, self._bases, right, strict=True):
                deliver(parameter, basis @ factor.T)
            # All ranks see alike what is not finite. Such a step is skipped, so nothing was sent.
            if all(one.isfinite().all() for one in (*self._bases, *right)):
                self._remember(right)

    def _remember(self, factors: Sequence[torch.Tensor]) -> None:
        self._residuals = [
            matrix - basis @ sent.T
            for matrix, basis, sent in zip(self._matrices, self._bases, self._sent, strict=True)
        ]
        # From zeros no power iteration starts.
        self._factors = [
            new if new.any() else old for new, old in zip(factors, self._factors, strict=True)
        ]

    def _mean(
        self,
        matrices: Sequence[torch.Tensor],
        what: str,
        op: int,
        prescale: float,
        postscale: float,
    ) -> int:
        return grouped_allreduce_async(
            matrices,
            name=f"{self._name}.{what}",
            op=op,
            prescale_factor=prescale,
            postscale_factor=postscale,
            process_set=self._settings.process_set,
        )

    def drop(self) -> None:
        """See ``Apart``."""
        drain(handle for handle in (self._left, self._right) if handle is not None)
        self._left = self._right = None

    def state_dict(self) -> dict[str, Any]:
        """Return factors, equal on all ranks, and the residual, which is this rank's own."""
        return {
            "rank": self._settings.process_set._rank(),
            "size": self._settings.process_set._size(),
            "factors": dict(zip(self._numbers, (f.clone() for f in self._factors), strict=True)),
            "residuals": dict(
                zip(self._numbers, (r.clone() for r in self._residuals), strict=True)
            ),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state as far as it fits.

        A residual that another rank saved would count several times, so it is replaced by zeros.
        A state without residuals leaves them alone.
        """
        process_set = self._settings.process_set
        whose = (state.get("rank"), state.get("size"))
        own = whose == (process_set._rank(), process_set._size())
        _copy(state.get("factors", {}), self._numbers, self._factors)
        if "residuals" not in state:
            return
        for residual in self._residuals:
            residual.zero_()
        if own:
            _copy(state["residuals"], self._numbers, self._residuals)


def _copy(saved: dict[int, torch.Tensor], numbers: list[int], into: list[torch.Tensor]) -> None:
    for number, tensor in zip(numbers, into, strict=True):
        found = saved.get(number)
        if found is not None and found.shape == tensor.shape:
            tensor.copy_(found)


def _matrix(gradient: torch.Tensor) -> torch.Tensor:
    wide = gradient.float() if gradient.itemsize == 2 else gradient
    return wide.detach().reshape(gradient.shape[0], -1)


def _orthogonal(columns: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of the columns, by QR in float64; any basis where they are zero.

    Columns that are not finite stay so.
    """
    if not columns.isfinite().all():
        return torch.full_like(columns, torch.nan)
    basis: torch.Tensor = torch.linalg.qr(columns.double()).Q
    return basis.to(columns.dtype)
