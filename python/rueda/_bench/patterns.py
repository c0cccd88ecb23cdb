"""What ranks put into a collective so that every wrong element of its result shows.

Small whole numbers: every sum, product and average of them is exact in every element type, so
results are compared bit for bit. Their period is prime, so that a misplaced chunk does not fit.
"""

from __future__ import annotations

import torch

_PERIOD = 251


def _period_of(rank: int, dtype: torch.dtype, op: str) -> torch.Tensor:
    most = 2 if op == "product" else 3
    values = [(place * place + rank) % most + 1 for place in range(_PERIOD)]
    return torch.tensor(values, dtype=dtype)


def _stretched(period: torch.Tensor, count: int) -> torch.Tensor:
    return period.repeat(count // _PERIOD + 1)[:count]


def contribution(rank: int, count: int, dtype: torch.dtype, op: str) -> torch.Tensor:
    """Return what a rank contributes."""
    return _stretched(_period_of(rank, dtype, op), count)


def reduced(ranks: int, count: int, dtype: torch.dtype, op: str) -> torch.Tensor:
    """Return the reduction of all contributions."""
    all_periods = torch.stack([_period_of(rank, dtype, op).double() for rank in range(ranks)])
    if op == "product":
        period = all_periods.prod(0)
    elif op == "min":
        period = all_periods.amin(0)
    elif op == "max":
        period = all_periods.amax(0)
    else:
        period = all_periods.sum(0)
        if op == "average" and dtype.is_floating_point:
            # As the engine: one division in the accumulator's type, one rounding.
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            period = period.to(wide) / ranks
        elif op == "average":
            period = (period / ranks).trunc()
    if not dtype.is_floating_point:
        period = period.to(torch.int64)  # Wraps, as the engine's integers do.
    return _stretched(period.to(dtype), count)


def expected(
    collective: str, rank: int, ranks: int, count: int, dtype: torch.dtype, op: str
) -> torch.Tensor:
    """Return what a rank must hold afterwards; ``count`` as in ``plan.Case``."""
    if collective == "broadcast":
        return contribution(0, count, dtype, op)
    if collective == "allgather":
        part = count // ranks
        return torch.cat([contribution(one, part, dtype, op) for one in range(ranks)])
    whole = reduced(ranks, count, dtype, op)
    if collective == "reducescatter":
        part = count // ranks
        return whole[rank * part : (rank + 1) * part]
    return whole


def wrong_elements(found: torch.Tensor, wanted: torch.Tensor) -> int:
    """Count the elements that differ; all of them where the lengths do."""
    if found.numel() != wanted.numel():
        return max(found.numel(), wanted.numel())
    return int((found.flatten() != wanted).sum())
