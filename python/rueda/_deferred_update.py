"""DeferredUpdate: the update of one optimizer step, made bucket by bucket as it is asked for."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from rueda import _context
from rueda._gradient_reduction import GradientReduction


class DeferredUpdate:
    """What an optimizer's step still owes its parameters, with the options that held in the step.

    It takes the gradients: they are None until they are there, reduced, for the optimizer alone.
    Until it is closed the job keeps it, because peers count on this rank's buckets.

    Args:
        optimizer: Whose step it is.
        reduction: Has submitted the gradients.
        step: Makes the optimizer's own step, with whatever its ``param_groups`` are.
        model: Has the parameters.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        reduction: GradientReduction,
        step: Callable[[], object],
        model: weakref.ref[torch.nn.Module],
    ) -> None:
        self._optimizer = optimizer
        self._reduction = reduction
        self._step = step
        self._model = model
        self._options = [_options(group) for group in optimizer.param_groups]
        self._group_of = {
            id(parameter): number
            for number, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
        }
        trained = [[p for p in ps if p.requires_grad] for ps in reduction.buckets()]
        self._left = {number: ps for number, ps in enumerate(trained) if ps}
        self._bucket_of = {id(p): number for number, ps in self._left.items() for p in ps}
        self._job = _context.job()
        self._job.updates.add(self)
        self.closed = False
        for parameters in self._left.values():
            _take_gradients(parameters)

    def is_orphan(self) -> bool:
        """Whether the model is gone, so that no forward pass will ask for the update."""
        return self._model() is None

    def make_rest(self) -> None:
        """Make the part of the parameters whose gradients are not reduced."""
        every = (p for group in self._optimizer.param_groups for p in group["params"])
        self._apply([p for p in every if id(p) not in self._bucket_of and p.grad is not None])

    def make_for(self, parameters: Iterable[int]) -> None:
        """Make the part of these parameters, given by ``id``, and of what shares their buckets.

        Raises:
            HorovodInternalError: A bucket failed; what is not made by now never is.
        """
        wanted = {self._bucket_of.get(parameter, -1) for parameter in parameters}
        for bucket in sorted(wanted & self._left.keys(), reverse=True):
            self._make(bucket)

    def finish(self) -> None:
        """Make all that is left; raises as ``make_for``."""
        for bucket in sorted(self._left, reverse=True):
            self._make(bucket)
        self._close()

    def abandon(self) -> None:
        """Make no more of it; waits until nobody touches the gradients."""
        self._left.clear()
        with contextlib.suppress(Exception):  # the caller knows of one, or replaces what it spoils
            self._close()
        self._forget()

    def _make(self, bucket: int) -> None:
        with _trained(self._left[bucket]) as parameters:
            try:
                self._reduction.deliver(bucket)
            except Exception:
                self.abandon()
                raise
            del self._left[bucket]  # first: nothing is made twice
            try:
                self._apply(parameters)
            finally:
                _take_gradients(parameters)
        if not self._left:
            self._close()

    def _apply(self, parameters: Sequence[torch.Tensor]) -> None:
        """Let the optimizer step with these parameters alone, and with the step's options."""
        by_group: dict[int, list[torch.Tensor]] = {}
        for parameter in parameters:
            by_group.setdefault(self._group_of[id(parameter)], []).append(parameter)
        if not by_group:
            return
        optimizer, groups = self._optimizer, self._optimizer.param_groups
        optimizer.param_groups = [
            {"params": of_group, **self._options[number]}
            for number, of_group in sorted(by_group.items())
        ]
        try:
            # In the middle of a forward pass, whose modes are not meant for the optimizer.
            with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
                self._step()
        finally:
            optimizer.param_groups = groups

    def _close(self) -> None:
        if self.closed:
            return
        try:
            self._reduction.finish()
        except Exception:
            self._forget()
            raise
        self._forget()

    def _forget(self) -> None:
        self.closed = True
        self._job.updates.discard(self)


def _take_gradients(parameters: Sequence[torch.Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


@contextlib.contextmanager
def _trained(parameters: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
    """Let parameters be as in the step: some may have been frozen since."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield parameters
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """Copy a group's options; a rate that is a tensor is changed in place by schedulers."""
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in group.items()
        if name != "params"
    }
