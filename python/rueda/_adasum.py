"""Adasum: a sum that shortens what ranks say alike and keeps what they say differently.

Maleki et al., Scaling Distributed Training with Adaptive Summation (2020). Of two vectors it is::

    adasum(a, b) = (1 - a.b / 2|a|^2) a + (1 - a.b / 2|b|^2) b

so orthogonal ones are added and parallel ones averaged. For a power of two of ranks it is applied
along a balanced tree of neighbours, as in Horovod. Otherwise the ranks beyond the largest power of
two are folded in first: rank ``p + i`` with rank ``i``.

Tensors are gathered and combined on every rank: with n ranks a rank receives and holds n times what
it sends, and works through it about 3n times. Dot products are made in float64, in an order that
does not depend on how many threads PyTorch uses; 16-bit tensors are combined in float32 and rounded
once. So all ranks get the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rueda._context import job
from rueda._finishing import finish_later, take
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set

_ROW = 4096


def start_adasum(
    tensors: Sequence[torch.Tensor],
    outputs: Sequence[torch.Tensor] | None,
    name: str | None,
    scales: tuple[float, float] = (1.0, 1.0),
    process_set: ProcessSet = global_process_set,
    *,
    grouped: bool = True,
    urgent: bool = False,
) -> int:
    """Start the adaptive sums of several tensors, each for itself, or of one without a group.

    Args:
        tensors: Of floating point, of the same shapes and dtypes on all ranks.
        outputs: What the results are copied into when they are taken; None for new tensors.
        name: What ranks match them by.
        scales: Multiply the inputs, and the results.
        process_set: The ranks that take part.
        grouped: Whether the result is a list.
        urgent: Whether somebody waits already.

    Returns:
        A handle; whoever takes its result does the sums.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    operations = job().operations
    for tensor in tensors:
        if not tensor.is_floating_point():
            raise ValueError(f"op=rueda.Adasum takes floating-point tensors, not {tensor.dtype}")
    prescale, postscale = scales
    own = [tensor.detach() for tensor in tensors]
    if prescale != 1.0:
        own = [tensor * prescale for tensor in own]
    handle = operations.submit(
        native.ALLGATHER,
        # With a first dimension of its own, so that ranks with other shapes are told.
        [tensor.unsqueeze(0) for tensor in own],
        None,
        name,
        process_set=check_process_set(process_set),
        grouped=grouped,
        urgent=urgent,
    )
    return finish_later(handle, _finisher(outputs, postscale))


def _finisher(
    outputs: Sequence[torch.Tensor] | None, postscale: float
) -> Callable[[torch.Tensor | list[torch.Tensor]], torch.Tensor | list[torch.Tensor]]:
    @torch.no_grad()
    def finish(gathered: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        parts = [gathered] if isinstance(gathered, torch.Tensor) else gathered
        sums = [(combine(list(p.unbind(0))) * postscale).to(p.dtype) for p in parts]
        if outputs is not None:
            sums = [output.copy_(one) for output, one in zip(outputs, sums, strict=True)]
        return sums[0] if isinstance(gathered, torch.Tensor) else sums

    return finish


def adasum(
    tensors: Sequence[torch.Tensor], name: str, process_set: ProcessSet = global_process_set
) -> list[torch.Tensor]:
    """Return the adaptive sums of several tensors, each for itself.

    Raises:
        ValueError: One of them is no floating-point tensor.
        HorovodInternalError: The job failed, or ranks disagree.
    """
    handle = start_adasum(tensors, None, name, process_set=process_set, urgent=True)
    sums: list[torch.Tensor] = take(handle, job().operations.wait)
    return sums


def combine(vectors: list[torch.Tensor]) -> torch.Tensor:
    """Return the adaptive sum of one vector a rank, in float32 or float64."""
    wide = [v.float() if v.itemsize == 2 else v for v in vectors]
    power = 1 << (len(wide).bit_length() - 1)
    folded = [_pair(a, b) for a, b in zip(wide, wide[power:], strict=False)]
    level = folded + wide[len(folded) : power]
    while len(level) > 1:
        level = [_pair(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def _pair(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    dot, a_norm, b_norm = _dot(a, b), _dot(a, a), _dot(b, b)
    a_factor = 1.0 if a_norm == 0 else 1.0 - dot / (2 * a_norm)
    b_factor = 1.0 if b_norm == 0 else 1.0 - dot / (2 * b_norm)
    return a * a_factor + b * b_factor


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return a dot product, in float64; rows are added up by one thread each."""
    left = a.double().flatten() * b.double().flatten()
    while left.numel() > _ROW:
        left = torch.nn.functional.pad(left, (0, -left.numel() % _ROW)).view(-1, _ROW).sum(1)
    return float(left.sum())
