"""Sparse tensors summed over ranks: their parts are gathered, and added up on every rank.

Indices and values travel in two all-gathers, so a rank receives what all ranks send: with n ranks
and k non-zero rows each, n * k rows. Every rank then adds in rank order, so all have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rueda._allgather import allgather_async
from rueda._apart import drain
from rueda._context import job
from rueda._handles import result
from rueda._reduce_op import Average, Sum
from rueda.exceptions import HorovodInternalError
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


class SparseSum:
    """One sparse tensor on its way. Its parts are submitted at construction."""

    def __init__(
        self,
        tensor: torch.Tensor,
        name: str,
        process_set: ProcessSet,
        *,
        wire_type: torch.dtype | None = None,
        prescale: float = 1.0,
    ) -> None:
        self._name, self._shape, self._dtype = name, tensor.shape, tensor.dtype
        self._process_set = process_set
        self._sparse_dim = tensor.sparse_dim()
        tensor = tensor.detach().coalesce()  # repeated rows are sent once
        # A row below zero tells the shape and where a rank's rows begin: -1 - size.
        header = -1 - torch.tensor([list(self._shape[: self._sparse_dim])])
        indices = torch.cat([header, tensor.indices().transpose(0, 1)])
        values = tensor.values() if prescale == 1.0 else tensor.values() * prescale
        values = values.to(wire_type or tensor.dtype).contiguous()
        self._indices: torch.Tensor | None = None
        self._handles = [allgather_async(indices, f"{name}.indices", process_set)]
        self._handles.append(allgather_async(values, f"{name}.values", process_set))

    def finish(self, factor: float = 1.0, divisor: int = 1) -> torch.Tensor:
        """Wait and return the coalesced sum, scaled; may be called again after an interrupt.

        Raises:
            HorovodInternalError: The job failed, or ranks disagree.
        """
        try:
            if self._indices is None:
                self._indices = result(self._handles[0])
                self._handles.pop(0)
            values = result(self._handles[0])
        except HorovodInternalError:
            self.drop()
            raise
        self._handles = []
        return _scaled(self._added_up(self._indices, values), factor, divisor).to(self._dtype)

    def drop(self) -> None:
        """Wait for what is in flight and forget it."""
        drain(self._handles)
        self._handles = []

    def _added_up(self, gathered: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        is_header = gathered[:, 0] < 0
        self._check_shapes((-1 - gathered[is_header]).tolist())
        # 16-bit values are added in float32 and rounded once, as dense ones are.
        wide = torch.float32 if values.is_floating_point() and values.itemsize == 2 else None
        return torch.sparse_coo_tensor(
            gathered[~is_header].transpose(0, 1),
            values.to(wide or values.dtype),
            self._shape,
            check_invariants=False,  # said, or PyTorch warns that it checks nothing
        ).coalesce()

    def _check_shapes(self, shapes: list[list[int]]) -> None:
        # The rest of the shape is that of the values, which the all-gather compares.
        if len({tuple(shape) for shape in shapes}) > 1:
            ranks = self._process_set.ranks or []
            # Ranks that have joined say nothing, and nobody knows then who said what.
            known = len(ranks) == len(shapes)
            each = ", ".join(
                f"rank {ranks[at]} {shape}" if known else str(shape)
                for at, shape in enumerate(shapes)
            )
            raise HorovodInternalError(
                f"[R201] ranks disagree on the shape of the sparse tensor '{self._name}': {each} "
                "in its sparse dimensions. Make it the same on every rank.",
                "R201",
            )


def _scaled(total: torch.Tensor, factor: float, divisor: int) -> torch.Tensor:
    if factor != 1.0:
        total = total * factor
    if divisor == 1:
        return total
    if total.is_floating_point() or total.is_complex():
        return total / divisor
    return torch.div(total, divisor, rounding_mode="trunc")  # as allreduce does


def sparse_allreduce_async(
    tensor: torch.Tensor,
    name: str | None,
    op: int,
    process_set: ProcessSet = global_process_set,
) -> Callable[[], torch.Tensor]:
    """Start an all-reduce of a sparse tensor.

    Args:
        tensor: Of layout ``torch.sparse_coo``, of the same shape and dtype on all ranks; how many
            elements are there may differ, and may be none.
        name: What ranks match it by; None for the count of sparse all-reduces without a name.
        op: ``rueda.Average`` or ``rueda.Sum``.
        process_set: The ranks that take part.

    Returns:
        A function without arguments that waits and returns the reduced tensor, coalesced. Calling
        it again returns the same tensor.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed; also from the
            function, when ranks disagree or one was lost.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.sparse_coo:
        kind = tensor.layout if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(
            f"sparse_allreduce_async takes a tensor of layout torch.sparse_coo, not {kind}; "
            "use allreduce for dense tensors"
        )
    if op not in (Average, Sum):
        raise ValueError(f"op={op!r}: sparse tensors can be reduced with rueda.Average or Sum")
    if tensor.sparse_dim() == 0:
        raise ValueError("the sparse tensor has no sparse dimension; use allreduce")
    set_id = check_process_set(process_set)
    label = name if name is not None else job().operations.next_call("sparse_allreduce", set_id)
    work = SparseSum(tensor, label, process_set)
    divisor = process_set._size() if op == Average else 1
    reduced: list[torch.Tensor] = []

    def wait() -> torch.Tensor:
        if not reduced:
            reduced.append(work.finish(divisor=divisor))
        return reduced[0]

    return wait
