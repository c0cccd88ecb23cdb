"""ForwardRecord: which modules a forward pass calls, and which parameters it uses without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# What tells of a parameter nothing that an update changes.
_HARMLESS: frozenset[Any] = frozenset(
    {
        torch.Tensor.device.__get__,
        torch.Tensor.dtype.__get__,  # type: ignore[attr-defined]
        torch.Tensor.is_leaf.__get__,  # type: ignore[attr-defined]
        torch.Tensor.layout.__get__,  # type: ignore[attr-defined]
        torch.Tensor.ndim.__get__,  # type: ignore[attr-defined]
        torch.Tensor.requires_grad.__get__,  # type: ignore[attr-defined]
        torch.Tensor.shape.__get__,  # type: ignore[attr-defined]
        torch.Tensor.dim,
        torch.Tensor.numel,
        torch.Tensor.size,
    }
)


class ForwardRecord(TorchFunctionMode):
    """Watches one forward pass while it is entered: every function of PyTorch with its tensors.

    Attributes:
        order: The modules, by ``id``, in the order of their first calls.
        early: Parameters, by ``id``, that were used before a module that owns them was called, or
            whose modules were not called at all.

    Args:
        parameters: Those to look for.
    """

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self._watched = {id(parameter) for parameter in parameters}
        self._ready: set[int] = set()
        self._used: set[int] = set()
        self.order: list[int] = []

    @property
    def early(self) -> set[int]:
        """See the class."""
        return self._used | (self._watched - self._ready)

    def begin(self) -> None:
        """Watch from now on."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Watch no longer."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def called(self, module: torch.nn.Module) -> None:
        """Take down that a module is about to run."""
        if id(module) not in self.order:
            self.order.append(id(module))
        self._ready.update(id(p) for p in module._parameters.values())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take down the parameters among the arguments, and do what was asked for."""
        kwargs = kwargs or {}
        if func not in _HARMLESS:
            used = {id(tensor) for tensor in _tensors((args, kwargs))}
            self._used |= (used & self._watched) - self._ready
        return func(*args, **kwargs)


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
