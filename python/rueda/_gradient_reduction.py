"""GradientReduction: when gradients are reduced, for one optimizer; how is the C++ reducer's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from rueda import _context
from rueda._apart import Apart
from rueda._own_compression import OwnCompression
from rueda._powersgd_state import PowerSGDState
from rueda._reduce_op import Adasum, Average
from rueda._reduction_settings import Recipe, Settings, check_passes
from rueda._sparse_gradients import SparseGradients
from rueda._torch_module import native
from rueda.powersgd import PowerSGD
from rueda.process_sets import check_process_set


class GradientReduction:
    """One optimizer's reducers and the rules of calling them. Not thread-safe, as optimizers are.

    The C++ reducer reduces dense gradients while backward runs, and counts the passes of all.
    Sparse gradients, PowerSGD's matrices and what a user's own compressor packs are reduced here,
    when the step asks for them. Both compressions take sparse gradients as dense.

    Where there is nothing to reduce, that is in a process set of one rank and outside of it, there
    are no hooks and no buckets.
    """

    def __init__(self, recipe: Recipe, name: str, parameters: Sequence[torch.Tensor]) -> None:
        self._made_by = recipe
        self._name = name
        self._skips = False
        self._synchronized = False
        # What is to be waited for. An interrupt (Ctrl-C) leaves the rest to the next call.
        self._unfinished: list[Callable[[], None]] = []
        self._reducer: Any = None
        self._own: OwnCompression | None = None
        self._powersgd: PowerSGDState | None = None
        self._sparse: SparseGradients | None = None
        job = _context.job()
        self._epoch = job.epoch
        # What it is called in later jobs, where numbers begin anew; equal on all ranks, too.
        self._lasting_name = f"{name}.epoch{job.epoch}"
        settings = recipe.settings
        if not settings.process_set.included() or settings.process_set._size() == 1:
            return
        self._parameters = list(parameters)
        apart = self._divide(settings)
        self._reducer = self._make_reducer(settings, apart)
        job.reductions.add(self)

    def _divide(self, settings: Settings) -> list[int]:
        """Make the reducers that are not C++'s; return the numbers of their parameters."""
        parameters = self._parameters
        if isinstance(settings.compression, PowerSGD):
            config = settings.compression
            chosen = {i: p for i, p in enumerate(parameters) if config.compresses(p)}
            self._powersgd = PowerSGDState(self._name, settings, config, chosen)
            return list(chosen)
        if settings.native_compression is None:
            self._own = OwnCompression(self._name, settings, parameters)
            return list(range(len(parameters)))
        if not settings.sparse_as_dense:
            self._sparse = SparseGradients(self._name, settings, parameters)
        return []

    def _make_reducer(self, settings: Settings, apart: list[int]) -> Any:
        job = _context.job()
        op, prescale, postscale = settings.scaled()
        left = set(apart)
        every = settings.numbered_groups(self._parameters)
        return native.GradientReducer(
            job.engine.capsule(),
            self._parameters,
            self._made_by.named(self._parameters),
            name=self._name,
            op=Average if op == Adasum else op,  # with Adasum all are apart
            prescale=prescale,
            postscale=postscale,
            compression=settings.native_compression or "none",
            backward_passes_per_step=settings.backward_passes_per_step,
            bucket_bytes=job.config.reducer_bucket_bytes,
            first_bucket_bytes=job.config.reducer_first_bucket_bytes,
            process_set=check_process_set(settings.process_set),
            groups=[[i for i in group if i not in left] for group in every],
            sparse_as_dense=settings.sparse_as_dense,
            apart=apart,
            first_needed_first=settings.first_needed_first,
            learns_as=self._place(settings) if job.config.reducer_learn else (0, 0),
            keeps_sizes=job.config.reducer_sizes_given,
        )

    def _place(self, settings: Settings) -> tuple[int, int]:
        return settings.process_set._rank(), settings.process_set._size()

    @property
    def made_by(self) -> Recipe:
        """What makes another one in this one's place."""
        return self._made_by

    @property
    def recipe(self) -> Recipe:
        """What makes a copy's reduction."""
        settings = replace(self._made_by.settings, first_needed_first=False)
        return replace(self._made_by, family=f"{self._name}.copy", settings=settings)

    def hand_over(self, successor: GradientReduction) -> None:
        """Leave the parameters to the one that takes this one's place."""
        successor.load_state_dict(self.state_dict())
        self.detach()

    def detach(self) -> None:
        """Hear of gradients no longer; not during a backward pass."""
        if self._reducer is not None:
            self._reducer.remove()

    def is_of_an_earlier_job(self) -> bool:
        """Whether another job runs than the one that this was made in."""
        return _context.is_initialized() and _context.job().epoch != self._epoch

    def successor(self, parameters: Sequence[torch.Tensor]) -> GradientReduction:
        """Return one for the job that runs now; ranks need not ask in one order."""
        new = type(self)(self._made_by, self._lasting_name, parameters)
        new._lasting_name = self._lasting_name
        return new

    def state_dict(self) -> dict[str, Any]:
        """Return what compression has to remember; empty where it has nothing to."""
        return {} if self._powersgd is None else {"powersgd": self._powersgd.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what another reduction remembered, as far as it fits."""
        if self._powersgd is not None and "powersgd" in state:
            self._powersgd.load_state_dict(state["powersgd"])

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
            self._reduce()
        self._synchronized = True

    def submit(self) -> bool:
        """Submit all gradients without waiting, for ``deliver`` and ``finish``.

        Returns:
            False, and nothing was submitted, where that cannot be: nothing is to be reduced, or
            some gradients are reduced elsewhere, or ``synchronize`` was called before the step.

        Raises:
            ValueError: A gradient cannot be reduced; nothing was submitted.
            HorovodInternalError: The job failed.
        """
        if self._reducer is None or self._skips or self._synchronized or self._unfinished:
            return False
        self._agree_on_sparse()
        if self._sparse is not None and self._sparse.any():
            return False
        self._reducer.submit()
        return True

    def buckets(self) -> list[list[torch.Tensor]]:
        """Return the parameters of each bucket that was submitted."""
        return [[self._parameters[i] for i in bucket] for bucket in self._reducer.members()]

    def deliver(self, bucket: int) -> None:
        """Wait for one bucket and put its reduced gradients into ``.grad``.

        Raises:
            HorovodInternalError: The reduction failed, or this is a forked child.
        """
        _context.job()
        self._reducer.deliver(bucket)

    def finish(self) -> None:
        """Wait for all buckets, and begin a new step; errors as those of ``synchronize``."""
        self._reducer.finish()

    def _reduce(self) -> None:
        parts: list[Apart] = [
            part for part in (self._sparse, self._powersgd, self._own) if part is not None
        ]
        try:
            if not self._unfinished:
                self._agree_on_sparse()
                for part in parts:
                    part.start()
                self._unfinished = [self._reducer.synchronize, *(part.finish for part in parts)]
            while self._unfinished:
                self._unfinished[0]()
                self._unfinished.pop(0)
        except Exception:
            self._unfinished = []
            for part in parts:
                part.drop()
            raise

    def _agree_on_sparse(self) -> None:
        numbers = [] if self._sparse is None else self._sparse.agree()
        if numbers:
            self._reducer.set_apart(numbers)

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
                "optimizer.step() called without optimizer.skip_synchronize() after "
                "optimizer.synchronize() reduces the gradients once more; put step() inside "
                "'with optimizer.skip_synchronize():'",
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
        check_passes(passes)
        if self._reducer is not None:
            self._reducer.set_backward_passes_per_step(passes)
        changed = replace(self._made_by.settings, backward_passes_per_step=passes)
        self._made_by = replace(self._made_by, settings=changed)
