"""Every name of Horovod's interface has its parameters, defaults and kind; rueda's own follow."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import rueda as hvd

_ALLREDUCE = (
    "average=None, name=None, op=None, prescale_factor=1.0, postscale_factor=1.0, "
    "process_set=global_process_set"
)
_COMPRESSED_ALLREDUCE = (
    "average=None, name=None, compression=Compression.none, op=None, prescale_factor=1.0, "
    "postscale_factor=1.0, process_set=global_process_set"
)
_REDUCESCATTER = (
    "name=None, op=Average, process_set=global_process_set, prescale_factor=1.0, "
    "postscale_factor=1.0"
)
_COMPRESSED_REDUCESCATTER = (
    "name=None, compression=Compression.none, op=Average, process_set=global_process_set, "
    "prescale_factor=1.0, postscale_factor=1.0"
)
_GATHER = "name=None, process_set=global_process_set"

# What horovod.torch 0.28.1 has, by where it is in rueda.
_HOROVOD = {
    "Compression": "",
    "DistributedOptimizer": (
        "optimizer, named_parameters=None, compression=Compression.none, "
        "backward_passes_per_step=1, op=Average, gradient_predivide_factor=1.0, num_groups=0, "
        "groups=None, sparse_as_dense=False, process_set=global_process_set"
    ),
    "ProcessSet": "ranks_or_comm",
    "ProcessSet.included": "self",
    "ProcessSet.rank": "self",
    "ProcessSet.size": "self",
    "SyncBatchNorm": (
        "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True"
    ),
    "add_process_set": "process_set",
    "allgather": f"tensor, {_GATHER}",
    "allgather_async": f"tensor, {_GATHER}",
    "allgather_object": "obj, name=None",
    "allreduce": f"tensor, {_COMPRESSED_ALLREDUCE}",
    "allreduce_": f"tensor, {_ALLREDUCE}",
    "allreduce_async": f"tensor, {_ALLREDUCE}",
    "allreduce_async_": f"tensor, {_ALLREDUCE}",
    "alltoall": f"tensor, splits=None, {_GATHER}",
    "alltoall_async": f"tensor, splits=None, {_GATHER}",
    "barrier": "process_set=global_process_set",
    "broadcast": f"tensor, root_rank, {_GATHER}",
    "broadcast_": f"tensor, root_rank, {_GATHER}",
    "broadcast_async": f"tensor, root_rank, {_GATHER}",
    "broadcast_async_": f"tensor, root_rank, {_GATHER}",
    "broadcast_object": f"obj, root_rank=0, {_GATHER}",
    "broadcast_optimizer_state": "optimizer, root_rank, model=None",
    "broadcast_parameters": "params, root_rank",
    "ccl_built": "",
    "cross_rank": "",
    "cross_size": "",
    "cuda_built": "",
    "ddl_built": "",
    "elastic.ElasticSampler": "dataset, shuffle=True, seed=0",
    "elastic.ElasticSampler.load_state_dict": "self, state_dict",
    "elastic.ElasticSampler.record_batch": "self, batch_idx, batch_size",
    "elastic.ElasticSampler.reset": "self",
    "elastic.ElasticSampler.set_epoch": "self, epoch",
    "elastic.ElasticSampler.state_dict": "self",
    "elastic.ObjectState": "bcast_object, get_rank",
    "elastic.State": "bcast_object, get_rank",
    "elastic.State.check_host_updates": "self",
    "elastic.State.commit": "self",
    "elastic.State.on_hosts_updated": "self, timestamp, update_res",
    "elastic.State.on_reset": "self",
    "elastic.State.register_reset_callbacks": "self, callbacks",
    "elastic.State.reset": "self",
    "elastic.State.restore": "self",
    "elastic.State.save": "self",
    "elastic.State.sync": "self",
    "elastic.TorchState": "model=None, optimizer=None",
    "elastic.run": "func",
    "elastic.state.get_handler_registry": "",
    "elastic.state.set_handler_registry": "registry",
    "gloo_built": "",
    "gloo_enabled": "",
    "grouped_allgather": f"tensors, {_GATHER}",
    "grouped_allgather_async": f"tensors, {_GATHER}",
    "grouped_allreduce": f"tensors, {_COMPRESSED_ALLREDUCE}",
    "grouped_allreduce_": f"tensors, {_ALLREDUCE}",
    "grouped_allreduce_async": f"tensors, {_ALLREDUCE}",
    "grouped_allreduce_async_": f"tensors, {_ALLREDUCE}",
    "grouped_reducescatter": f"tensors, {_COMPRESSED_REDUCESCATTER}",
    "grouped_reducescatter_async": f"tensors, {_REDUCESCATTER}",
    "init": "comm=None, process_sets=None",
    "is_initialized": "",
    "join": "device=-1",
    "local_rank": "",
    "local_size": "",
    "mpi_built": "",
    "mpi_enabled": "",
    "mpi_ops.is_homogeneous": "",
    "mpi_threads_supported": "",
    "nccl_built": "",
    "poll": "handle",
    "rank": "",
    "reducescatter": f"tensor, {_COMPRESSED_REDUCESCATTER}",
    "reducescatter_async": f"tensor, {_REDUCESCATTER}",
    "remove_process_set": "process_set",
    "rocm_built": "",
    "shutdown": "",
    "size": "",
    "sparse_allreduce_async": "tensor, name, op, process_set=global_process_set",
    "start_timeline": "file_path, mark_cycles=False",
    "stop_timeline": "",
    "synchronize": "handle",
}
_OPTIMIZER_METHODS = {
    "load_state_dict": "state_dict",
    "set_backward_passes_per_step": "passes",
    "skip_synchronize": "",
    "step": "closure=None",
    "synchronize": "",
    "zero_grad": "",
}

# What Horovod lacks.
_OWN = {
    "PowerSGD": None,
    "gather": f"tensor, root_rank, {_GATHER}",
    "gather_async": f"tensor, root_rank, {_GATHER}",
    "process_set_ids_and_ranks": "",
    "recv": "tensor, source_rank, name=None",
    "recv_async": "tensor, source_rank, name=None",
    "reduce": (
        "tensor, root_rank, op=Average, name=None, process_set=global_process_set, "
        "prescale_factor=1.0, postscale_factor=1.0"
    ),
    "reduce_async": (
        "tensor, root_rank, op=Average, name=None, process_set=global_process_set, "
        "prescale_factor=1.0, postscale_factor=1.0"
    ),
    "run": None,
    "scatter": f"tensor, root_rank, splits=None, {_GATHER}",
    "scatter_async": f"tensor, root_rank, splits=None, {_GATHER}",
    "send": "tensor, dest_rank, name=None",
    "send_async": "tensor, dest_rank, name=None",
}
_CONSTANTS = {
    "Adasum",
    "Average",
    "HorovodInternalError",
    "Max",
    "Min",
    "Product",
    "RuedaError",
    "Sum",
    "__version__",
    "global_process_set",
}
_DEFAULTS = {
    id(hvd.global_process_set): "global_process_set",
    id(hvd.Compression.none): "Compression.none",
    id(hvd.Average): "Average",
}


def _find(name: str) -> Any:
    """Return ``rueda.<name>``; modules on the way are imported."""
    found: Any = hvd
    path = "rueda"
    for part in name.split("."):
        path = f"{path}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                raise AttributeError(f"there is no {path}") from None
        found = getattr(found, part)
    return found


def _in_words(function: Any, count: int) -> str:
    """Return the first parameters; those that follow must be left out by Horovod's callers."""
    parts = []
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters[:count]:
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = _DEFAULTS.get(id(parameter.default), repr(parameter.default))
        has_default = parameter.default is not inspect.Parameter.empty
        parts.append(f"{parameter.name}={default}" if has_default else parameter.name)
    for parameter in parameters[count:]:
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        assert parameter.kind in variadic or parameter.default is not inspect.Parameter.empty
    return ", ".join(parts)


def _count(words: str) -> int:
    return len(words.split(", ")) if words else 0


@pytest.fixture(scope="module")
def compared(report_figure: Callable[[str], None]) -> Iterator[Counter[str]]:
    """What was compared with Horovod: "names", their "parameters", and how many are "equal"."""
    counts: Counter[str] = Counter()
    yield counts
    differences = counts["names"] - counts["equal"]
    report_figure(
        f"interface: {counts['names']} names of Horovod with {counts['parameters']} parameters "
        f"compared: {differences} differences"
    )


@pytest.mark.parametrize("name", _HOROVOD)
def test_parameters_and_defaults_are_those_of_horovod(compared, name):
    words = _HOROVOD[name]
    compared.update(names=1, parameters=_count(words))
    assert _in_words(_find(name), _count(words)) == words
    compared.update(equal=1)


@pytest.mark.parametrize("name", [name for name, words in _OWN.items() if words is not None])
def test_parameters_of_what_rueda_adds(name):
    words = _OWN[name]
    assert _in_words(_find(name), _count(words)) == words


def test_methods_of_a_wrapped_optimizer(run_ranks, compared):
    def main():
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD([weight], lr=0.1))
        return {
            name: _in_words(getattr(optimizer, name), _count(words))
            for name, words in _OPTIMIZER_METHODS.items()
        }

    for words in _OPTIMIZER_METHODS.values():
        compared.update(names=1, parameters=_count(words))
    [found] = run_ranks(1, main)
    compared.update(equal=sum(found[name] == words for name, words in _OPTIMIZER_METHODS.items()))
    assert found == _OPTIMIZER_METHODS


def test_what_rueda_adds_to_join_is_a_keyword():
    parameters = list(inspect.signature(hvd.join).parameters.values())
    assert [one.name for one in parameters] == ["device", "process_set"]
    assert parameters[1].kind is inspect.Parameter.KEYWORD_ONLY


def test_every_public_name_is_listed_and_there_is_no_other():
    known = {name.partition(".")[0] for name in _HOROVOD} - {"mpi_ops"}
    assert set(hvd.__all__) == known | set(_OWN) | _CONSTANTS
    assert set(hvd.__all__) <= set(dir(hvd))
    for name in hvd.__all__:
        assert getattr(hvd, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'rueda' has no attribute 'allreducee'"):
        hvd.allreducee  # noqa: B018


def test_operations_have_the_numbers_of_horovod():
    ops = [hvd.Average, hvd.Sum, hvd.Adasum, hvd.Min, hvd.Max, hvd.Product]
    assert ops == [0, 1, 2, 3, 4, 5]


def test_the_error_has_both_names_and_is_a_runtime_error():
    assert hvd.RuedaError is hvd.HorovodInternalError
    assert issubclass(hvd.RuedaError, RuntimeError)


def test_the_global_process_set_has_number_0_and_no_communicator():
    assert hvd.global_process_set.process_set_id == 0
    assert hvd.global_process_set.mpi_comm is None
