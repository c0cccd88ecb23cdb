"""rueda: all-reduce for PyTorch.

``import rueda as hvd`` offers the interface of ``horovod.torch``. Nothing heavy is imported until a
name is used, so that the launcher starts at once and works without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rueda._allgather import allgather, allgather_async
    from rueda._allreduce import (
        allreduce,
        allreduce_,
        allreduce_async,
        allreduce_async_,
    )
    from rueda._barrier import barrier
    from rueda._broadcast import broadcast, broadcast_, broadcast_async, broadcast_async_
    from rueda._context import (
        cross_rank,
        cross_size,
        init,
        is_initialized,
        local_rank,
        local_size,
        rank,
        shutdown,
        size,
    )
    from rueda._grouped_allreduce import (
        grouped_allreduce,
        grouped_allreduce_,
        grouped_allreduce_async,
        grouped_allreduce_async_,
    )
    from rueda._handles import poll, synchronize
    from rueda._objects import allgather_object, broadcast_object
    from rueda._reduce_op import Average, Max, Min, Product, Sum
    from rueda._state_sync import broadcast_optimizer_state, broadcast_parameters
    from rueda._version import __version__
    from rueda.compression import Compression
    from rueda.exceptions import HorovodInternalError, RuedaError
    from rueda.optimizer import DistributedOptimizer
    from rueda.process_sets import ProcessSet, global_process_set

_HOMES = {
    "_allgather": "allgather allgather_async",
    "_allreduce": "allreduce allreduce_ allreduce_async allreduce_async_",
    "_barrier": "barrier",
    "_broadcast": "broadcast broadcast_ broadcast_async broadcast_async_",
    "_context": (
        "cross_rank cross_size init is_initialized local_rank local_size rank shutdown size"
    ),
    "_grouped_allreduce": (
        "grouped_allreduce grouped_allreduce_ grouped_allreduce_async grouped_allreduce_async_"
    ),
    "_handles": "poll synchronize",
    "_objects": "allgather_object broadcast_object",
    "_reduce_op": "Average Max Min Product Sum",
    "_state_sync": "broadcast_optimizer_state broadcast_parameters",
    "_version": "__version__",
    "compression": "Compression",
    "exceptions": "HorovodInternalError RuedaError",
    "optimizer": "DistributedOptimizer",
    "process_sets": "ProcessSet global_process_set",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Average",
    "Compression",
    "DistributedOptimizer",
    "HorovodInternalError",
    "Max",
    "Min",
    "ProcessSet",
    "Product",
    "RuedaError",
    "Sum",
    "__version__",
    "allgather",
    "allgather_async",
    "allgather_object",
    "allreduce",
    "allreduce_",
    "allreduce_async",
    "allreduce_async_",
    "barrier",
    "broadcast",
    "broadcast_",
    "broadcast_async",
    "broadcast_async_",
    "broadcast_object",
    "broadcast_optimizer_state",
    "broadcast_parameters",
    "cross_rank",
    "cross_size",
    "global_process_set",
    "grouped_allreduce",
    "grouped_allreduce_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
    "init",
    "is_initialized",
    "local_rank",
    "local_size",
    "poll",
    "rank",
    "shutdown",
    "size",
    "synchronize",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rueda' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"rueda.{home}"), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME_OF))
