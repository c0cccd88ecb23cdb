"""TorchState: a model, its optimizer and what else training needs, kept over failures."""

from __future__ import annotations

from typing import Any

import torch

from rueda._context import rank
from rueda._objects import broadcast_object
from rueda.elastic.handlers import (
    ModelStateHandler,
    OptimizerStateHandler,
    SamplerStateHandler,
    StateDictHandler,
    StateHandler,
    get_handler_registry,
    handler_of,
    set_handler_registry,
)
from rueda.elastic.objects import ObjectState, refuse_methods

__all__ = [
    "ModelStateHandler",
    "OptimizerStateHandler",
    "SamplerStateHandler",
    "StateDictHandler",
    "StateHandler",
    "TorchState",
    "get_handler_registry",
    "set_handler_registry",
]


class TorchState(ObjectState):
    """Keeps models, optimizers, samplers, schedulers, gradient scalers and plain objects.

    Each is an attribute of its name. Those of which the registry knows the type stay the same
    objects over failures; plain ones are replaced by copies. A committed state takes as much
    memory again as the models and optimizers.
    """

    _handlers: dict[str, StateHandler[Any]]

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the objects; they count as saved.

        Args:
            model: The attribute ``model``.
            optimizer: The attribute ``optimizer``.
            **kwargs: More of them, in the same order on all ranks.

        Raises:
            ValueError: A name is that of one of the state's methods.
        """
        object.__setattr__(self, "_handlers", {})
        every = {**kwargs, "model": model, "optimizer": optimizer}
        refuse_methods(type(self), every)
        handlers = {name: handler_of(value) for name, value in every.items()}
        plain = {name: value for name, value in every.items() if handlers[name] is None}
        super().__init__(broadcast_object, rank, **plain)
        for name, handler in handlers.items():
            if handler is not None:
                setattr(self, name, handler.value)
                self._handlers[name] = handler

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._handlers:
            self._handlers[name].set_value(value)
        super().__setattr__(name, value)

    def save(self) -> None:
        """Copy everything."""
        for handler in self._handlers.values():
            handler.save()
        super().save()

    def restore(self) -> None:
        """Bring everything back to what was saved last, and drop gradients."""
        for handler in self._handlers.values():
            handler.restore()
        super().restore()

    def sync(self) -> None:
        """Give all ranks what rank 0 has now, and save it; all ranks call it."""
        for handler in self._handlers.values():
            handler.sync()
        super().sync()

    def reset(self) -> None:
        """Adapt optimizers and samplers to the job that runs now."""
        for handler in self._handlers.values():
            handler.reset()
