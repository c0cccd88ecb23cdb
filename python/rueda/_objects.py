"""Objects between ranks, as bytes in tensors."""

from __future__ import annotations

from typing import TypeVar, cast

import torch

from rueda import _context, _pickled
from rueda._allgather import allgather
from rueda._broadcast import broadcast_
from rueda.process_sets import ProcessSet, global_process_set

_T = TypeVar("_T")


def _to_tensor(obj: object) -> torch.Tensor:
    return torch.frombuffer(bytearray(_pickled.to_bytes(obj)), dtype=torch.uint8)


def _from_tensor(data: torch.Tensor) -> object:
    return _pickled.from_bytes(data.numpy().tobytes())


def broadcast_object(
    obj: _T,
    root_rank: int = 0,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> _T:
    """Return the root's object on all ranks.

    Args:
        obj: Anything cloudpickle can send; only the root's counts.
        root_rank: The rank whose object all get.
        name: A name for messages and for matching.
        process_set: The ranks that take part.

    Raises:
        ValueError: ``root_rank`` is no rank.
        HorovodInternalError: The job failed.
    """
    label = name or "broadcast_object"
    is_root = _context.rank() == root_rank
    data = _to_tensor(obj) if is_root else torch.empty(0, dtype=torch.uint8)
    length = torch.tensor([data.numel()])
    broadcast_(length, root_rank, f"{label}.length", process_set)
    if not is_root:
        data = torch.empty(int(length), dtype=torch.uint8)
    broadcast_(data, root_rank, f"{label}.data", process_set)
    return obj if is_root else cast("_T", _from_tensor(data))


def allgather_object(
    obj: _T, name: str | None = None, process_set: ProcessSet = global_process_set
) -> list[_T]:
    """Return the objects of all ranks, in rank order.

    Args:
        obj: Anything cloudpickle can send.
        name: A name for messages and for matching.
        process_set: The ranks that take part.

    Raises:
        HorovodInternalError: The job failed.
    """
    label = name or "allgather_object"
    data = _to_tensor(obj)
    lengths = allgather(torch.tensor([data.numel()]), f"{label}.lengths", process_set)
    parts = torch.split(allgather(data, f"{label}.data", process_set), lengths.tolist())
    return [cast("_T", _from_tensor(part)) for part in parts]
