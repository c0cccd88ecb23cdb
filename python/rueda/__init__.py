"""rueda: all-reduce for PyTorch.

``import rueda as hvd`` offers the interface of ``horovod.torch``. Nothing heavy is imported until a
name is used, so that the launcher starts at once and works without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rueda import elastic
    from rueda._allgather import allgather, allgather_async
    from rueda._allreduce import (
        allreduce,
        allreduce_,
        allreduce_async,
        allreduce_async_,
    )
    from rueda._alltoall import alltoall, alltoall_async
    from rueda._barrier import barrier
    from rueda._broadcast import broadcast, broadcast_, broadcast_async, broadcast_async_
    from rueda._capabilities import (
        ccl_built,
        cuda_built,
        ddl_built,
        gloo_built,
        gloo_enabled,
        mpi_built,
        mpi_enabled,
        mpi_threads_supported,
        nccl_built,
        rocm_built,
    )
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
    from rueda._gather import gather, gather_async
    from rueda._grouped_allgather import grouped_allgather, grouped_allgather_async
    from rueda._grouped_allreduce import (
        grouped_allreduce,
        grouped_allreduce_,
        grouped_allreduce_async,
        grouped_allreduce_async_,
    )
    from rueda._grouped_reducescatter import grouped_reducescatter, grouped_reducescatter_async
    from rueda._handles import poll, synchronize
    from rueda._join import join
    from rueda._objects import allgather_object, broadcast_object
    from rueda._reduce import reduce, reduce_async
    from rueda._reduce_op import Adasum, Average, Max, Min, Product, Sum
    from rueda._reducescatter import reducescatter, reducescatter_async
    from rueda._run import run
    from rueda._scatter import scatter, scatter_async
    from rueda._send_receive import recv, recv_async, send, send_async
    from rueda._sparse_allreduce import sparse_allreduce_async
    from rueda._state_sync import broadcast_optimizer_state, broadcast_parameters
    from rueda._timeline import start_timeline, stop_timeline
    from rueda._version import __version__
    from rueda.compression import Compression
    from rueda.exceptions import HorovodInternalError, RuedaError
    from rueda.optimizer import DistributedOptimizer
    from rueda.powersgd import PowerSGD
    from rueda.process_sets import (
        ProcessSet,
        add_process_set,
        global_process_set,
        process_set_ids_and_ranks,
        remove_process_set,
    )
    from rueda.sync_batch_norm import SyncBatchNorm

_HOMES = {
    "_allgather": "allgather allgather_async",
    "_allreduce": "allreduce allreduce_ allreduce_async allreduce_async_",
    "_alltoall": "alltoall alltoall_async",
    "_barrier": "barrier",
    "_broadcast": "broadcast broadcast_ broadcast_async broadcast_async_",
    "_capabilities": (
        "ccl_built cuda_built ddl_built gloo_built gloo_enabled mpi_built mpi_enabled "
        "mpi_threads_supported nccl_built rocm_built"
    ),
    "_context": (
        "cross_rank cross_size init is_initialized local_rank local_size rank shutdown size"
    ),
    "_gather": "gather gather_async",
    "_grouped_allgather": "grouped_allgather grouped_allgather_async",
    "_grouped_allreduce": (
        "grouped_allreduce grouped_allreduce_ grouped_allreduce_async grouped_allreduce_async_"
    ),
    "_grouped_reducescatter": "grouped_reducescatter grouped_reducescatter_async",
    "_handles": "poll synchronize",
    "_join": "join",
    "_objects": "allgather_object broadcast_object",
    "_reduce": "reduce reduce_async",
    "_reduce_op": "Adasum Average Max Min Product Sum",
    "_reducescatter": "reducescatter reducescatter_async",
    "_run": "run",
    "_scatter": "scatter scatter_async",
    "_send_receive": "recv recv_async send send_async",
    "_sparse_allreduce": "sparse_allreduce_async",
    "_state_sync": "broadcast_optimizer_state broadcast_parameters",
    "_timeline": "start_timeline stop_timeline",
    "_version": "__version__",
    "compression": "Compression",
    "exceptions": "HorovodInternalError RuedaError",
    "optimizer": "DistributedOptimizer",
    "powersgd": "PowerSGD",
    "process_sets": (
        "ProcessSet add_process_set global_process_set process_set_ids_and_ranks remove_process_set"
    ),
    "sync_batch_norm": "SyncBatchNorm",
}
_MODULES = {"elastic", "mpi_ops"}  # reached as attributes without an import of their own
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Adasum",
    "Average",
    "Compression",
    "DistributedOptimizer",
    "HorovodInternalError",
    "Max",
    "Min",
    "PowerSGD",
    "ProcessSet",
    "Product",
    "RuedaError",
    "Sum",
    "SyncBatchNorm",
    "__version__",
    "add_process_set",
    "allgather",
    "allgather_async",
    "allgather_object",
    "allreduce",
    "allreduce_",
    "allreduce_async",
    "allreduce_async_",
    "alltoall",
    "alltoall_async",
    "barrier",
    "broadcast",
    "broadcast_",
    "broadcast_async",
    "broadcast_async_",
    "broadcast_object",
    "broadcast_optimizer_state",
    "broadcast_parameters",
    "ccl_built",
    "cross_rank",
    "cross_size",
    "cuda_built",
    "ddl_built",
    "elastic",
    "gather",
    "gather_async",
    "global_process_set",
    "gloo_built",
    "gloo_enabled",
    "grouped_allgather",
    "grouped_allgather_async",
    "grouped_allreduce",
    "grouped_allreduce_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
    "grouped_reducescatter",
    "grouped_reducescatter_async",
    "init",
    "is_initialized",
    "join",
    "local_rank",
    "local_size",
    "mpi_built",
    "mpi_enabled",
    "mpi_threads_supported",
    "nccl_built",
    "poll",
    "process_set_ids_and_ranks",
    "rank",
    "recv",
    "recv_async",
    "reduce",
    "reduce_async",
    "reducescatter",
    "reducescatter_async",
    "remove_process_set",
    "rocm_built",
    "run",
    "scatter",
    "scatter_async",
    "send",
    "send_async",
    "shutdown",
    "size",
    "sparse_allreduce_async",
    "start_timeline",
    "stop_timeline",
    "synchronize",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"rueda.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rueda' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"rueda.{home}"), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME_OF) | _MODULES)
