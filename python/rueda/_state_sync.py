"""The same parameters and the same optimizer state on all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch

from rueda import _context
from rueda._broadcast import broadcast_async_
from rueda._handles import synchronize
from rueda._objects import broadcast_object
from rueda._reduction_settings import STATE_KEY
from rueda.process_sets import ProcessSet, global_process_set


def broadcast_parameters(
    params: Mapping[str, torch.Tensor | None]
    | Iterable[tuple[str, torch.Tensor | None]]
    | Iterable[torch.Tensor],
    root_rank: int,
    process_set: ProcessSet = global_process_set,
) -> None:
    """Overwrite parameters by the root's, in place.

    Args:
        params: ``model.state_dict()``, ``model.named_parameters()`` or ``model.parameters()``; None
            values are skipped.
        root_rank: The global rank whose values all get.
        process_set: The ranks that take part.

    Raises:
        ValueError: ``params`` is neither, or ``root_rank`` is no rank.
        HorovodInternalError: The job failed, or ranks have different parameters.
    """
    if _context.is_initialized():
        _context.job().updates.finish()
    given = sorted(params.items()) if isinstance(params, Mapping) else list(params)
    pairs = [_named(one) for one in given]
    handles = [
        broadcast_async_(value.data, root_rank, name, process_set)
        for name, value in pairs
        if isinstance(value, torch.Tensor)
    ]
    for handle in handles:
        synchronize(handle)


def _named(one: Any) -> tuple[str | None, Any]:
    """Return a pair of name and tensor.

    Raises:
        ValueError: It is neither that nor a tensor.
    """
    if isinstance(one, torch.Tensor):
        return None, one
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str):
        return one[0], one[1]
    raise ValueError(
        "broadcast_parameters takes model.state_dict(), model.named_parameters() or "
        f"model.parameters(), but got {one!r}"
    )


def _strip(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return the structure with each tensor replaced by a description, and collect the tensors."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return _Described(tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        return {key: _strip(inner, tensors) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_strip(inner, tensors) for inner in value)
    return value


def _fill(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Undo ``_strip`` with empty tensors, and collect those."""
    if isinstance(value, _Described):
        tensors.append(torch.empty(value.shape, dtype=value.dtype))
        return tensors[-1]
    if isinstance(value, dict):
        return {key: _fill(inner, tensors) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(inner, tensors) for inner in value)
    return value


def _begin_gradients(optimizer: torch.optim.Optimizer, model: torch.nn.Module | None) -> None:
    """Give the parameters of a new optimizer gradients of zeros: scripts clip or log them."""
    if isinstance(optimizer, torch.optim.SparseAdam):
        return  # It takes sparse ones only.
    modules = () if model is None else model.modules()
    sparse = {
        module.weight
        for module in modules
        if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag) and module.sparse
    }
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and parameter.grad is None and parameter not in sparse:
                parameter.grad = torch.zeros_like(parameter)


class _Described:
    """What a rank needs to know of a tensor before it can receive it."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape = shape
        self.dtype = dtype


def _common_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's state without what differs from rank to rank."""
    state = optimizer.state_dict()
    powersgd = state.get(STATE_KEY, {}).get("powersgd")
    if powersgd is not None:
        common = {name: value for name, value in powersgd.items() if name != "residuals"}
        state[STATE_KEY] = {**state[STATE_KEY], "powersgd": common}
    return state


def broadcast_optimizer_state(
    optimizer: torch.optim.Optimizer,
    root_rank: int,
    model: torch.nn.Module | None = None,
    process_set: ProcessSet = global_process_set,
) -> None:
    """Overwrite an optimizer's state and options by the root's.

    No step is made to create missing state: a rank without it receives it. What each rank has of
    its own, the residual of PowerSGD, it keeps. As in Horovod, if the root's optimizer has no state
    yet, all its parameters have gradients afterwards, of zeros where there was none.

    Args:
        optimizer: The same kind with the same parameters on all ranks, wrapped or not.
        root_rank: The global rank whose state all get.
        model: Tells which parameters have sparse gradients; those are given none.
        process_set: The ranks that take part.

    Raises:
        ValueError: The optimizer is LBFGS, whose state is no set of tensors, or ``root_rank`` is no
            rank.
        HorovodInternalError: The job failed.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("the state of LBFGS cannot be broadcast: it holds closures' results")
    tensors: list[torch.Tensor] = []
    is_root = _context.rank() == root_rank
    own = _strip(_common_state(optimizer), tensors) if is_root else None
    structure = broadcast_object(own, root_rank, "optimizer_state", process_set)
    if not is_root:
        tensors = []
        state = _fill(structure, tensors)
    contiguous = [tensor.contiguous() for tensor in tensors]
    handles = [
        broadcast_async_(tensor, root_rank, f"optimizer_state.{index}", process_set)
        for index, tensor in enumerate(contiguous)
    ]
    for handle in handles:
        synchronize(handle)
    if not is_root:
        optimizer.load_state_dict(state)
    if not cast("dict[str, Any]", structure)["state"]:
        _begin_gradients(optimizer, model)
