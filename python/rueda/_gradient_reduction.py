"""GradientReduction: when gradients are reduced, for one optimizer; how is the C++ reducer's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from rueda import _context
from rueda._reduce_op import Average, Sum
from rueda._torch_module import native
from rueda.compression import Compressor


@dataclass(frozen=True)
class Settings:
    """How an optimizer's gradients are reduced; equal on all ranks."""

    op: int
    compression: str
    backward_passes_per_step: int
    predivide_factor: float

    @staticmethod
    def checked(
        op: int, compression: type[Compressor], passes: int, predivide_factor: float
    ) -> Settings:
        """Return the settings.

        Raises:
            ValueError: One of them is wrong or not supported.
        """
        if op not in (Average, Sum):
            raise ValueError(
                f"[R104] op={op!r}: gradients can be reduced with rueda.Average or rueda.Sum"
            )
        kind = getattr(compression, "kind", None)
        if kind not in ("none", "fp16", "bf16"):
            raise ValueError(
                f"[R104] compression={compression!r}: the optimizer takes rueda.Compression.none, "
                "fp16 or bf16"
            )
        if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
            raise ValueError(f"backward_passes_per_step={passes!r} must be a whole number from 1")
        if predivide_factor <= 0:
            raise ValueError(f"gradient_predivide_factor={predivide_factor!r} must be above 0")
        if predivide_factor != 1.0 and op != Average:
            raise ValueError("gradient_predivide_factor needs op=rueda.Average")
        return Settings(int(op), kind, passes, float(predivide_factor))


@dataclass(frozen=True)
class Recipe:
    """What it takes to reduce an optimizer's gradients, but for the parameters; can be pickled.

    Attributes:
        family: What ranks match the optimizer by, with its number within the family. Copies make a
            family of their own, so that copying on one rank alone does no harm to the others.
        settings: How gradients are reduced.
        names: What messages call the first parameters; others go by their number.
    """

    family: str
    settings: Settings
    names: tuple[str, ...]

    def reduction(self, parameters: Sequence[torch.Tensor]) -> GradientReduction:
        """Return a new reduction of these parameters."""
        return GradientReduction(self, _context.next_name(self.family), parameters)

    def named(self, parameters: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """Return all with their names; frozen ones are left out by the reducer until thawed."""
        numbered = [f"parameter.{i}" for i in range(len(self.names), len(parameters))]
        return list(zip([*self.names, *numbered], parameters, strict=True))


class GradientReduction:
    """One optimizer's reducer and the rules of calling it. Not thread-safe, as optimizers are not.

    At size 1 there is nothing to reduce: no hooks, no buckets.
    """

    def __init__(self, recipe: Recipe, name: str, parameters: Sequence[torch.Tensor]) -> None:
        self._made_by = recipe
        self._name = name
        self._skips = False
        self._synchronized = False
        self._reducer = None
        job = _context.job()
        if job.world.size == 1:
            return
        settings = recipe.settings
        trained = recipe.named(parameters)
        op, prescale, postscale = settings.op, 1.0, 1.0
        if settings.predivide_factor != 1.0:
            op = Sum
            prescale = 1.0 / settings.predivide_factor
            postscale = settings.predivide_factor / job.world.size
        self._reducer = native.GradientReducer(
            job.engine.capsule(),
            [parameter for _, parameter in trained],
            [label for label, _ in trained],
            name=name,
            op=int(op),
            prescale=prescale,
            postscale=postscale,
            compression=settings.compression,
            backward_passes_per_step=settings.backward_passes_per_step,
            bucket_bytes=job.config.reducer_bucket_bytes,
            first_bucket_bytes=job.config.reducer_first_bucket_bytes,
        )

    @property
    def recipe(self) -> Recipe:
        """What makes a copy's reduction."""
        return replace(self._made_by, family=f"{self._name}.copy")

    def copied(self, parameters: Sequence[torch.Tensor]) -> GradientReduction:
        """Return the reduction of a copy's parameters, which are the copy's own."""
        return self.recipe.reduction(parameters)

    def replaced(self, parameters: Sequence[torch.Tensor]) -> GradientReduction:
        """Return the reduction that takes this one's place, with these parameters.

        Raises:
            ValueError: One of them cannot be reduced; this reduction goes on.
        """
        new = self._made_by.reduction(parameters)
        if self._reducer is not None:
            self._reducer.remove()
        return new

    def check_idle(self, call: str) -> None:
        """Refuse a call that needs all gradients at rest.

        Raises:
            ValueError: Gradients are being added up or reduced.
        """
        if self._reducer is not None and self._reducer.pending():
            raise ValueError(
                f"optimizer.{call}() between backward() and step(): call step() or synchronize() "
                "first"
            )

    def synchronize(self) -> None:
        """See ``DistributedOptimizer``'s ``synchronize``."""
        if self._reducer is not None:
            self._reducer.synchronize()
        self._synchronized = True

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """See ``DistributedOptimizer``'s ``skip_synchronize``."""
        before, self._skips = self._skips, True
        try:
            yield
        finally:
            self._skips = before

    def before_step(self) -> None:
        """Make sure that gradients are reduced once."""
        if self._skips:
            return
        if self._synchronized:
            warnings.warn(
                "optimizer.step() after optimizer.synchronize() reduces the gradients once more; "
                "put step() inside 'with optimizer.skip_synchronize():'",
                stacklevel=3,
            )
        self.synchronize()

    def reducing(self, closure: Callable[[], float]) -> Callable[[], float]:
        """Return the closure with its gradients reduced, unless that is to be skipped."""
        if self._skips:
            return closure

        def reduced() -> float:
            loss = closure()
            self.synchronize()
            return loss

        return reduced

    def after_step(self) -> None:
        """Begin a new step."""
        self._synchronized = False

    def before_zero_grad(self) -> None:
        """Refuse to clear gradients that are on their way."""
        if self._reducer is not None and self._reducer.pending():
            raise AssertionError(
                "optimizer.zero_grad() while gradients are being reduced: call optimizer.step() or "
                "optimizer.synchronize() first"
            )

    def set_backward_passes_per_step(self, passes: int) -> None:
        """See ``DistributedOptimizer``."""
        if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
            raise ValueError(f"backward_passes_per_step={passes!r} must be a whole number from 1")
        if self._reducer is not None:
            self._reducer.set_backward_passes_per_step(passes)
