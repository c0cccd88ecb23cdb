"""DeltaReduction: with Adasum each rank makes its own step, and the steps are combined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from rueda._adasum import adasum
from rueda._gradient_reduction import GradientReduction
from rueda._reduction_settings import Recipe, Settings

_WIRE_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class DeltaReduction(GradientReduction):
    """The optimizer steps with the rank's own gradients; the changes it made are combined.

    The C++ reducer reduces nothing here and only counts backward passes. If combining fails,
    parameters are what they were before the step, while the optimizer's own state has changed.
    """

    def __init__(self, recipe: Recipe, name: str, parameters: Sequence[torch.Tensor]) -> None:
        super().__init__(recipe, name, parameters)
        # The trained parameters, and what they were before the step.
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _divide(self, settings: Settings) -> list[int]:
        return list(range(len(self._parameters)))

    def synchronize(self) -> None:
        """Do nothing: there is nothing to wait for before the step, as in Horovod."""

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Refuse, as Horovod does.

        Raises:
            AssertionError: Always.
        """
        raise AssertionError(
            "skip_synchronize cannot be used with op=rueda.Adasum: the step itself is reduced, not "
            "the gradients"
        )
        yield

    def before_step(self) -> None:
        """Remember the parameters."""
        if self._reducer is None:
            return
        self._reducer.synchronize()  # ends the count of passes
        self._before = [(p, p.detach().clone()) for p in self._parameters if p.requires_grad]

    def reducing(self, closure: Callable[[], float]) -> Callable[[], float]:
        """Return the closure as it is: its gradients are the rank's own."""
        self.before_step()

        def counted() -> float:
            loss = closure()
            if self._reducer is not None:
                self._reducer.synchronize()
            return loss

        return counted

    @torch.no_grad()
    def after_step(self) -> None:
        """Replace the rank's step by the adaptive sum of all steps."""
        super().after_step()
        before, self._before = self._before, []
        if self._reducer is None:
            return
        deltas = [parameter.detach() - start for parameter, start in before]
        for parameter, start in before:
            parameter.copy_(start)
        wire = _WIRE_TYPES.get(self._made_by.settings.native_compression or "")
        sent = [d.to(wire) if wire is not None and d.itemsize > 2 else d for d in deltas]
        combined = adasum(sent, f"{self._name}.delta", self._made_by.settings.process_set)
        for (parameter, _), delta in zip(before, combined, strict=True):
            parameter.add_(delta.to(parameter.dtype))
