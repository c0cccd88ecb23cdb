"""What a program's calls give each rank, worked out in one process with plain PyTorch.

Values are small whole numbers, so sums and products are exact in every element type and order.
"""

from __future__ import annotations

from typing import Any

import torch

Call = dict[str, Any]
# What a call gives a rank: tensors, or the name of the error that it raises.
Outcome = list[torch.Tensor] | str


def contribution(
    program: dict[str, Any], where: tuple[int, int], call: Call, rank: int
) -> list[torch.Tensor]:
    """Return the tensors that a rank gives; ``where`` is the number of the round and the call."""
    return [
        _values(program["seed"], where, rank, part, _shape(call, rank, part), dtype)
        for part, dtype in enumerate(call["dtypes"])
    ]


def _values(
    seed: int, where: tuple[int, int], rank: int, part: int, shape: list[int], name: str
) -> torch.Tensor:
    dtype = getattr(torch, name)
    mixed = hash((seed, *where, rank, part)) % 2**31
    generator = torch.Generator().manual_seed(mixed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    lowest = 0 if name.startswith("uint") else -2
    whole = torch.randint(lowest, 4, shape, generator=generator)
    if dtype.is_complex:
        other = torch.randint(lowest, 4, shape, generator=generator)
        return torch.complex(whole.double(), other.double()).to(dtype)
    return (
        whole.to(dtype)
        if dtype.itemsize > 1 or not dtype.is_floating_point
        else _small(whole, dtype)
    )


def _small(whole: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return whole.float().to(dtype)


def _shape(call: Call, rank: int, part: int) -> list[int]:
    kind = call["kind"]
    trailing = list(call["trailing"])
    if kind in ("alltoall", "scatter"):
        return [_rows_to_send(call, rank), *trailing]
    if kind in ("allgather", "grouped_allgather", "gather"):
        return [call["rows"][rank] + part, *trailing]
    takes_scalars = kind in ("allreduce", "allreduce_", "grouped_allreduce", "reduce")
    if call["scalar"] and (takes_scalars or kind in ("broadcast", "broadcast_", "send")):
        return []
    # The same on all ranks.
    return [call["rows"][0] + part, *trailing]


def _rows_to_send(call: Call, rank: int) -> int:
    if call["splits"] is None:
        return call["rows"][rank] % 4 * call["members"]
    return sum(call["splits"][rank]) + call["rows"][rank] % 3


def splits_of(call: Call, rank: int) -> list[int]:
    """Return how many rows a rank sends to each member."""
    if call["splits"] is not None:
        return list(call["splits"][rank])
    return [call["rows"][rank] % 4] * call["members"]


def outcome(
    program: dict[str, Any], where: tuple[int, int], call: Call, rank: int, present: list[int]
) -> Outcome:
    """Return what a call gives one of the ranks that make it.

    Args:
        program: The program.
        where: The number of the round and of the call in it.
        call: The call, with the number of ``members`` and the ``ranks`` of its set.
        rank: The rank that asks, one of ``present``.
        present: The ranks of the set that have not joined.
    """
    if call["wrong"] in present and len(present) > 1:
        return "HorovodInternalError"
    given = {one: contribution(program, where, call, one) for one in present}
    kind = call["kind"].rstrip("_").removeprefix("grouped_")
    if kind in ("broadcast", "reduce", "gather", "scatter") and call["root"] not in present:
        return "ValueError"
    if kind == "alltoall":
        return _alltoall(call, given, rank)
    if kind == "scatter":
        return _scatter(call, given, rank)
    return [
        _part(kind, call, [given[one][part] for one in present], rank, present)
        for part in range(call["parts"])
    ]


def _part(
    kind: str, call: Call, tensors: list[torch.Tensor], rank: int, present: list[int]
) -> torch.Tensor:
    if kind == "broadcast":
        return tensors[present.index(call["root"])]
    if kind in ("allgather", "gather"):
        joined = _joined(tensors)
        return joined if kind == "allgather" or rank == call["root"] else joined[:0]
    reduced = _reduced(call, tensors)
    if kind == "reduce":
        return reduced if rank == call["root"] else reduced.new_empty(0)
    if kind == "reducescatter":
        return _rows_of(reduced, call["ranks"].index(rank), call["members"])
    return reduced


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    # PyTorch cannot join every type of 8 bits.
    if tensors[0].dtype.is_floating_point and tensors[0].itemsize == 1:
        return torch.cat([one.view(torch.uint8) for one in tensors]).view(tensors[0].dtype)
    return torch.cat(tensors)


def _rows_of(whole: torch.Tensor, member: int, members: int) -> torch.Tensor:
    each, more = divmod(whole.shape[0], members)
    first = member * each + min(member, more)
    return whole[first : first + each + (member < more)]


def _alltoall(call: Call, given: dict[int, list[torch.Tensor]], rank: int) -> Outcome:
    ranks = call["ranks"]
    received, counts = [], []
    for source in ranks:
        if source not in given:
            counts.append(0)
            continue
        splits = splits_of(call, source)
        if any(rows and dest not in given for dest, rows in zip(ranks, splits, strict=True)):
            return "ValueError"
        first = sum(splits[: ranks.index(rank)])
        counts.append(splits[ranks.index(rank)])
        received.append(given[source][0][first : first + counts[-1]])
    output = [_joined(received)]
    if call["splits"] is not None:
        output.append(torch.tensor(counts, dtype=torch.int32))
    return output


def _scatter(call: Call, given: dict[int, list[torch.Tensor]], rank: int) -> Outcome:
    ranks = call["ranks"]
    splits = splits_of(call, call["root"])
    if any(rows and dest not in given for dest, rows in zip(ranks, splits, strict=True)):
        return "ValueError"
    first = sum(splits[: ranks.index(rank)])
    return [given[call["root"]][0][first : first + splits[ranks.index(rank)]]]


def _reduced(call: Call, tensors: list[torch.Tensor]) -> torch.Tensor:
    """Reduce what the present ranks give; averages are over all members."""
    op, dtype = call["op"], tensors[0].dtype
    before, after = call["factors"]
    if dtype == torch.bool:
        stacked = torch.stack(tensors)
        return stacked.all(0) if op in ("Min", "Product") else stacked.any(0)
    whole = not (dtype.is_floating_point or dtype.is_complex)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    scaled = [_times(one.to(wide), before, dtype) for one in tensors]
    stacked = torch.stack(scaled)
    if op in ("Sum", "Average"):
        reduced = stacked.sum(0)
        if op == "Average":
            reduced = _times(_divided(reduced, call["members"]), 1.0, dtype)
    elif op == "Product":
        reduced = stacked.prod(0)
    else:
        reduced = stacked.amin(0) if op == "Min" else stacked.amax(0)
    reduced = _times(reduced, after, dtype)
    # Whole numbers wrap, as in every type of PyTorch.
    return reduced.to(torch.int64).to(dtype) if whole else reduced.to(dtype)


def _divided(tensor: torch.Tensor, by: int) -> torch.Tensor:
    # PyTorch divides complex numbers by complex ones, which rounds otherwise.
    if tensor.is_complex():
        return torch.view_as_complex(torch.view_as_real(tensor) / by)
    return tensor / by


def _times(tensor: torch.Tensor, factor: float, dtype: torch.dtype) -> torch.Tensor:
    """Scale as a tensor of this dtype is: whole numbers are truncated, and end at their limits."""
    scaled = tensor * factor
    if dtype.is_floating_point or dtype.is_complex:
        return scaled
    limits = torch.iinfo(dtype)
    return scaled.trunc() if factor == 1.0 else scaled.trunc().clamp(limits.min, limits.max)
