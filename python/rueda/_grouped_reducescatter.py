"""Grouped reduce-scatter: several tensors that are agreed on and run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rueda._reduce_op import Average, resolve_op
from rueda._reducescatter import reduced_rows, start_reducescatter
from rueda.compression import Compression, Compressor
from rueda.process_sets import ProcessSet, global_process_set


def grouped_reducescatter_async(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> int:
    """Start a reduce-scatter of several tensors that is agreed on and run as a whole.

    No member runs before all members are ready on all ranks. Arguments and errors are those of
    ``reducescatter_async``; ``synchronize`` returns the list of results.
    """
    scales = (prescale_factor, postscale_factor)
    chosen = resolve_op(op, None)
    return start_reducescatter(tensors, name, chosen, process_set, scales, grouped=True)


def grouped_reducescatter(
    tensors: Sequence[torch.Tensor],
    name: str | None = None,
    compression: type[Compressor] = Compression.none,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> list[torch.Tensor]:
    """Return this rank's rows of several reductions; as ``reducescatter``, run as a whole."""
    scales = (prescale_factor, postscale_factor)
    sent = [compression.compress(tensor) for tensor in tensors]
    rows = reduced_rows(
        [one for one, _ in sent], name, resolve_op(op, None), process_set, scales, grouped=True
    )
    return [compression.decompress(own, ctx) for own, (_, ctx) in zip(rows, sent, strict=True)]
