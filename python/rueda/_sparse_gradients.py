"""SparseGradients: which parameters have sparse gradients, agreed once, and their reduction."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import torch

from rueda import _context
from rueda._allreduce import allreduce_async
from rueda._handles import result
from rueda._reduce_op import Average, Max
from rueda._reduction_settings import Settings
from rueda._sparse_allreduce import SparseSum

# What a rank says of a parameter; otherwise the number of its gradient's sparse dimensions. The
# largest answer counts, so what was agreed once stays.
_NONE, _DENSE, _SETTLED, _SETTLED_DENSE = 0, 100, 128, 255
# So that ranks with different models hear of it from the reduction, which knows names.
_PADDING = 4096
_WIRE_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class SparseGradients:
    """The parameters of one optimizer whose gradients are sparse on some rank and dense on none.

    Only gradients tell, and only on ranks that computed one, so the ranks agree at the first
    reduction. What no rank had a gradient for then counts as dense ever after: should its gradient
    be sparse later, it is made dense.

    A rank that joins before its first reduction misses that. So the ranks agree again at the first
    reduction after each join; those that know already make the others know.
    """

    def __init__(self, name: str, settings: Settings, parameters: Sequence[torch.Tensor]) -> None:
        self._name = f"{name}.sparse"
        self._settings = settings
        self._parameters = list(parameters)
        self._agreement: int | None = None
        self._offered_after: int | None = None  # so many joins was the last agreement offered
        self._settled = False
        self._dimensions: dict[int, int] = {}  # sparse dimensions, by number of the parameter
        self._returned: set[int] = set()
        self._works: dict[int, SparseSum] = {}
        self._job = _context.job()
        with _lock:
            _all.add(self)

    def agree(self) -> list[int]:
        """Return the numbers of the parameters that are sparse; those not returned before.

        Raises:
            HorovodInternalError: The job failed.
        """
        if self._is_offered() and self._agreement is None:
            return []
        with _lock:
            # Of other optimizers, too: some ranks may step those first, and wait there for us.
            for one in list(_all):
                if one is self or one._has_gradients():
                    one._offer()
        self._settle()
        new = [number for number in self._dimensions if number not in self._returned]
        self._returned.update(new)
        return new

    def any(self) -> bool:
        """Return whether any parameter is known to be sparse."""
        return bool(self._dimensions)

    @torch.no_grad()
    def start(self) -> None:
        """See ``Apart``."""
        if self._works:
            return
        _, prescale, _ = self._settings.scaled()
        for number, dimensions in self._dimensions.items():
            parameter = self._parameters[number]
            self._works[number] = SparseSum(
                _sparse_gradient(parameter, dimensions),
                f"{self._name}.{number}",
                self._settings.process_set,
                wire_type=self._wire_type(parameter.dtype),
                prescale=prescale,
            )

    def _has_gradients(self) -> bool:
        """Whether this job's ranks have something to say already."""
        here = _context.is_initialized() and self._job is _context.job()
        here = here and self._settings.process_set.process_set_id is not None
        return here and any(p.grad is not None for p in self._parameters)

    def _joins(self) -> int:
        # Of a set that was removed nothing is asked: the reduction refuses it in words.
        return _context.job().operations.joins(self._settings.process_set.process_set_id or 0)

    def _is_offered(self) -> bool:
        return self._offered_after == self._joins()

    def _offer(self) -> None:
        if self._is_offered():
            return
        self._settle()  # what was offered before a join and not needed until now
        own = [self._answer(i, p) for i, p in enumerate(self._parameters)]
        own += [_NONE] * (-len(own) % _PADDING)
        self._agreement = allreduce_async(
            torch.tensor(own, dtype=torch.uint8),
            name=f"{self._name}.layouts",
            op=Max,
            process_set=self._settings.process_set,
        )
        self._offered_after = self._joins()

    def _answer(self, number: int, parameter: torch.Tensor) -> int:
        if not self._settled:
            return _layout(parameter)
        known = self._dimensions.get(number)
        return _SETTLED_DENSE if known is None else _SETTLED + known

    def _settle(self) -> None:
        """Wait for the agreement that was offered, if there is one."""
        if self._agreement is None:
            return
        everyones = result(self._agreement)[: len(self._parameters)].tolist()
        self._agreement, self._settled = None, True
        dimensions = {i: d - _SETTLED if d > _SETTLED else d for i, d in enumerate(everyones)}
        self._dimensions = {i: d for i, d in dimensions.items() if _NONE < d < _DENSE}

    def _wire_type(self, dtype: torch.dtype) -> torch.dtype | None:
        chosen = _WIRE_TYPES.get(self._settings.native_compression or "")
        return None if dtype.itemsize <= 2 else chosen

    @torch.no_grad()
    def finish(self) -> None:
        """See ``Apart``."""
        op, _, factor = self._settings.scaled()
        divisor = self._settings.process_set._size() if op == Average else 1
        for number in list(self._works):
            reduced = self._works[number].finish(factor, divisor)
            del self._works[number]
            if self._parameters[number].requires_grad:
                self._parameters[number].grad = reduced

    def drop(self) -> None:
        """See ``Apart``."""
        for work in self._works.values():
            work.drop()
        self._works.clear()


def _layout(parameter: torch.Tensor) -> int:
    """Return the sparse dimensions of a parameter's gradient, or one of the two other answers."""
    if not parameter.requires_grad:
        return _DENSE
    if parameter.grad is None:
        return _NONE
    return parameter.grad.sparse_dim() if parameter.grad.layout == torch.sparse_coo else _DENSE


def _sparse_gradient(parameter: torch.Tensor, dimensions: int) -> torch.Tensor:
    gradient = parameter.grad if parameter.requires_grad else None
    if gradient is None:
        return torch.sparse_coo_tensor(
            torch.empty((dimensions, 0), dtype=torch.int64),
            torch.empty((0, *parameter.shape[dimensions:]), dtype=parameter.dtype),
            parameter.shape,
            check_invariants=False,
        )
    if gradient.layout == torch.sparse_coo and gradient.sparse_dim() == dimensions:
        return gradient
    dense = gradient if gradient.layout == torch.strided else gradient.to_dense()
    return dense.to_sparse(dimensions)


_lock = threading.Lock()
_all: weakref.WeakSet[SparseGradients] = weakref.WeakSet()
