"""Every public name has Horovod's parameters, defaults and kind."""

from __future__ import annotations

import inspect

import pytest

import rueda as hvd

_REDUCTION = (
    "average=None, name=None, op=None, prescale_factor=1.0, postscale_factor=1.0, "
    "process_set=global_process_set"
)
_COMPRESSED = _REDUCTION.replace("op=None", "compression=Compression.none, op=None")
_SIGNATURES = {
    "init": "comm=None, process_sets=None",
    "shutdown": "",
    "is_initialized": "",
    "rank": "",
    "size": "",
    "local_rank": "",
    "local_size": "",
    "cross_rank": "",
    "cross_size": "",
    "allreduce": f"tensor, {_COMPRESSED}",
    "allreduce_": f"tensor, {_REDUCTION}",
    "allreduce_async": f"tensor, {_REDUCTION}",
    "allreduce_async_": f"tensor, {_REDUCTION}",
    "grouped_allreduce": f"tensors, {_COMPRESSED}",
    "grouped_allreduce_": f"tensors, {_REDUCTION}",
    "grouped_allreduce_async": f"tensors, {_REDUCTION}",
    "grouped_allreduce_async_": f"tensors, {_REDUCTION}",
    "allgather": "tensor, name=None, process_set=global_process_set",
    "allgather_async": "tensor, name=None, process_set=global_process_set",
    "broadcast": "tensor, root_rank, name=None, process_set=global_process_set",
    "broadcast_": "tensor, root_rank, name=None, process_set=global_process_set",
    "broadcast_async": "tensor, root_rank, name=None, process_set=global_process_set",
    "broadcast_async_": "tensor, root_rank, name=None, process_set=global_process_set",
    "barrier": "process_set=global_process_set",
    "poll": "handle",
    "synchronize": "handle",
    "broadcast_parameters": "params, root_rank",
    "broadcast_optimizer_state": "optimizer, root_rank, model=None",
    "broadcast_object": "obj, root_rank=0, name=None, process_set=global_process_set",
    "allgather_object": "obj, name=None",
    "ProcessSet": "ranks_or_comm",
    "DistributedOptimizer": (
        "optimizer, named_parameters=None, compression=Compression.none, "
        "backward_passes_per_step=1, op=Average, gradient_predivide_factor=1.0, num_groups=0, "
        "groups=None, sparse_as_dense=False, process_set=global_process_set"
    ),
}
_DEFAULTS = {
    id(hvd.global_process_set): "global_process_set",
    id(hvd.Compression.none): "Compression.none",
    id(hvd.Average): "Average",
}


def _in_words(function: object) -> str:
    assert callable(function)
    parts = []
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if parameter.default is inspect.Parameter.empty:
            parts.append(parameter.name)
            continue
        default = _DEFAULTS.get(id(parameter.default), repr(parameter.default))
        parts.append(f"{parameter.name}={default}")
    return ", ".join(parts)


@pytest.mark.parametrize("name", _SIGNATURES)
def test_parameters_and_defaults_are_those_of_horovod(name):
    assert _in_words(getattr(hvd, name)) == _SIGNATURES[name]


def test_every_public_name_is_listed_and_there_is_no_other():
    others = {
        "Average",
        "Compression",
        "HorovodInternalError",
        "Max",
        "Min",
        "Product",
        "RuedaError",
        "Sum",
        "__version__",
        "global_process_set",
    }
    assert set(hvd.__all__) == others | set(_SIGNATURES)
    assert set(hvd.__all__) <= set(dir(hvd))
    for name in hvd.__all__:
        assert getattr(hvd, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'rueda' has no attribute 'allreducee'"):
        hvd.allreducee  # noqa: B018


def test_operations_have_the_numbers_of_horovod():
    assert [hvd.Average, hvd.Sum, hvd.Min, hvd.Max, hvd.Product] == [0, 1, 3, 4, 5]


def test_the_error_has_both_names_and_is_a_runtime_error():
    assert hvd.RuedaError is hvd.HorovodInternalError
    assert issubclass(hvd.RuedaError, RuntimeError)


def test_the_global_process_set_has_number_0_and_no_communicator():
    assert hvd.global_process_set.process_set_id == 0
    assert hvd.global_process_set.mpi_comm is None
