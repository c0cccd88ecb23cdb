"""OwnCompression: gradients that a user's own compressor packs and unpacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rueda._apart import deliver, drain, gradient_or_zeros
from rueda._grouped_allreduce import grouped_allreduce_async
from rueda._handles import results
from rueda._reduction_settings import Settings


class OwnCompression:
    """Compresses all gradients when the step asks for them and reduces them as one group.

    Python code runs for each of them, so nothing overlaps with ``backward``.
    """

    def __init__(self, name: str, settings: Settings, parameters: Sequence[torch.Tensor]) -> None:
        self._name = f"{name}.compressed"
        self._compressor: Any = settings.compression
        self._process_set = settings.process_set
        self._op, self._prescale, self._postscale = settings.scaled()
        self._parameters = list(parameters)
        self._contexts: list[Any] = []
        self._handle: int | None = None

    @torch.no_grad()
    def start(self) -> None:
        """See ``Apart``.

        Raises:
            ValueError: The compressor did not return what it should; nothing was started.
        """
        if self._handle is not None or not self._parameters:
            return
        packed = [self._packed(gradient_or_zeros(p)) for p in self._parameters]
        self._contexts = [context for _, context in packed]
        self._handle = grouped_allreduce_async(
            [tensor for tensor, _ in packed],
            name=self._name,
            op=self._op,
            prescale_factor=self._prescale,
            postscale_factor=self._postscale,
            process_set=self._process_set,
        )

    def _packed(self, gradient: torch.Tensor) -> tuple[torch.Tensor, Any]:
        packed = self._compressor.compress(gradient)
        pair = isinstance(packed, tuple) and len(packed) == 2
        if not pair or not isinstance(packed[0], torch.Tensor):
            raise ValueError(
                f"{self._compressor!r}.compress must return a pair (tensor, ctx), but it returned "
                f"{packed!r}"
            )
        return packed[0], packed[1]

    @torch.no_grad()
    def finish(self) -> None:
        """See ``Apart``.

        Raises:
            ValueError: The compressor returned a tensor of another shape.
        """
        if self._handle is None:
            return
        handle = self._handle
        reduced = results(handle)
        self._handle = None
        for parameter, tensor, context in zip(
            self._parameters, reduced, self._contexts, strict=True
        ):
            gradient = self._compressor.decompress(tensor, context)
            if not isinstance(gradient, torch.Tensor) or gradient.numel() != parameter.numel():
                raise ValueError(
                    f"{self._compressor!r}.decompress must return a tensor of shape "
                    f"{list(parameter.shape)}, but it returned {gradient!r}"
                )
            deliver(parameter, gradient)

    def drop(self) -> None:
        """See ``Apart``."""
        if self._handle is not None:
            drain([self._handle])
            self._handle = None
