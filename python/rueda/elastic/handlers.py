"""How modules, optimizers and samplers are saved, restored and sent; which handler is whose."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch

from rueda._objects import broadcast_object
from rueda._state_sync import broadcast_optimizer_state, broadcast_parameters
from rueda.elastic.kept import Kept
from rueda.elastic.sampler import ElasticSampler

_T = TypeVar("_T")


class StateHandler(Kept, Generic[_T]):
    """Keeps one object of a ``TorchState``; a user's own derives from it.

    It has to define ``save``, ``restore`` and ``sync``, and may define ``reset``.

    Attributes:
        value: The object, which stays the same one over failures.
    """

    def __init__(self, value: _T) -> None:
        self.value = value

    def set_value(self, value: _T) -> None:
        """Take another object in its place, and save it."""
        self.value = value
        self.save()


class StateDictHandler(StateHandler[Any]):
    """Keeps what has ``state_dict`` and ``load_state_dict``, such as a scheduler.

    Copies are made both ways: an object may keep what it is given to load, and change it.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.save()

    def save(self) -> None:
        """Copy its state."""
        self._saved = copy.deepcopy(self.value.state_dict())

    def restore(self) -> None:
        """Load a copy of what was saved."""
        self.value.load_state_dict(copy.deepcopy(self._saved))

    def sync(self) -> None:
        """Load rank 0's state on all ranks, and save it."""
        self.value.load_state_dict(broadcast_object(self.value.state_dict()))
        self.save()


class ModelStateHandler(StateDictHandler):
    """Keeps a ``torch.nn.Module``: its parameters, buffers and extra state."""

    def sync(self) -> None:
        """Overwrite its state by rank 0's, and save it."""
        state = self.value.state_dict()
        broadcast_parameters(state, root_rank=0)
        others = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
        if others:
            self.value.load_state_dict({**state, **broadcast_object(others)})
        self.save()


class OptimizerStateHandler(StateDictHandler):
    """Keeps a ``torch.optim.Optimizer``, distributed or not."""

    def restore(self) -> None:
        """Load a copy of what was saved, and drop gradients: they are those of a lost step."""
        super().restore()
        for group in self.value.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def reset(self) -> None:
        """Have a distributed optimizer reduce in the job that runs now, from the first backward."""
        follow = getattr(self.value, "_follow_job", None)
        if follow is not None:
            follow()

    def sync(self) -> None:
        """Overwrite its state and options by rank 0's, and save them."""
        broadcast_optimizer_state(self.value, root_rank=0)
        self.save()


class SamplerStateHandler(StateDictHandler):
    """Keeps an ``ElasticSampler``.

    Rank 0's count is everybody's after ``sync``, because its parameters are, too: what another
    rank has processed beyond it was lost with that rank's parameters.
    """

    def reset(self) -> None:
        """Share out what is left among the ranks there are now, also where no sync follows."""
        self.value.reset()


Registry = list[tuple[type, type[StateHandler[Any]]]]

_registry: Registry = [
    (torch.nn.Module, ModelStateHandler),
    (torch.optim.Optimizer, OptimizerStateHandler),
    (ElasticSampler, SamplerStateHandler),
    # Horovod treats these two as plain objects, and so gives other ranks strangers in their place.
    (torch.optim.lr_scheduler.LRScheduler, StateDictHandler),
    (torch.amp.GradScaler, StateDictHandler),
]


def get_handler_registry() -> Registry:
    """Return the pairs of a type and its handler; a value's first match counts.

    The list is the one that is used: adding to it has an effect on states made afterwards.
    """
    return _registry


def set_handler_registry(registry: Registry) -> None:
    """Use another list of pairs of a type and its handler, for states made afterwards."""
    global _registry
    _registry = registry


def handler_of(value: object) -> StateHandler[Any] | None:
    """Return a new handler, or None for a plain object."""
    for kind, handler in _registry:
        if isinstance(value, kind):
            return handler(value)
    return None
