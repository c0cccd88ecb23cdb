"""How many rows of a tensor go to which rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def rows_by_rank(
    tensor: torch.Tensor, splits: torch.Tensor | Sequence[int] | None, ranks: int
) -> list[int]:
    """Return the rows for each rank of a process set: ``splits``, or as many for each.

    Raises:
        ValueError: The tensor has no rows, they do not divide, or ``splits`` is not of this form.
    """
    if tensor.dim() == 0:
        raise ValueError("a tensor without dimensions has no rows to send; use tensor.reshape(1)")
    rows = tensor.shape[0]
    if splits is None:
        if rows % ranks:
            raise ValueError(
                f"{rows} rows cannot be divided equally among {ranks} ranks; pass splits, the "
                "number of rows for each"
            )
        return [rows // ranks] * ranks
    parts = _listed(splits)
    if len(parts) != ranks:
        raise ValueError(f"splits has {len(parts)} entries; pass one for each of the {ranks} ranks")
    if min(parts) < 0:
        raise ValueError(f"splits={parts} has a negative entry")
    if sum(parts) > rows:
        raise ValueError(f"splits={parts} needs {sum(parts)} rows, but the tensor has {rows}")
    return parts


def _listed(splits: torch.Tensor | Sequence[int]) -> list[int]:
    if isinstance(splits, torch.Tensor):
        if splits.dtype != torch.int32 or splits.dim() != 1:
            raise ValueError(
                f"splits is a tensor of {splits.dtype} with {splits.dim()} dimensions; pass one of "
                "torch.int32 with one dimension, or a list of integers"
            )
        listed: list[int] = splits.tolist()
        return listed
    if not all(isinstance(part, int) for part in splits):
        raise ValueError(f"splits={splits!r}: expected whole numbers")
    return list(splits)


def padded(rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the rows with zero rows after them, so that they are of this shape."""
    missing = shape[0] - rows.shape[0]
    if missing == 0:
        return rows
    return torch.cat([rows, rows.new_zeros((missing, *shape[1:]))])
