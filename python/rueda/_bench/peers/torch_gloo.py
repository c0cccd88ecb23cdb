"""PyTorch's own Gloo, through ``torch.distributed``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from rueda._bench.contender import Contender, PythonContender, Unavailable
from rueda._bench.plan import Case
from rueda._bench.session import Session

_LIMIT = timedelta(seconds=120)


class TorchGloo:
    """A process group beside rueda's jobs."""

    def __init__(self, session: Session, folder: Path) -> None:
        if not dist.is_available() or not dist.is_gloo_available():
            raise Unavailable("this PyTorch is built without Gloo")
        board = session.board
        # Documented, but not in the module's __all__.
        store = dist.FileStore(str(folder / "gloo-store"), board.size)  # type: ignore[attr-defined]
        dist.init_process_group(
            "gloo", store=store, rank=board.rank, world_size=board.size, timeout=_LIMIT
        )
        self._board = board

    def contender(self, case: Case) -> Contender:
        """Return the case as a user of torch.distributed would write it."""
        return PythonContender(self._board, case, _call(case))

    def close(self) -> None:
        """Leave the process group."""
        dist.destroy_process_group()


def _call(case: Case) -> Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]:
    if case.kind in ("async", "grouped", "gradients"):
        return _each_async
    return _COLLECTIVES[case.collective](case)


def _each_async(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    for work in works:
        work.wait()
    return tensors


def _allreduce(case: Case) -> Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]:
    op = {
        "sum": dist.ReduceOp.SUM,
        "min": dist.ReduceOp.MIN,
        "max": dist.ReduceOp.MAX,
        "product": dist.ReduceOp.PRODUCT,
    }[case.op]

    def call(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        dist.all_reduce(tensors[0], op)
        return tensors

    return call


def _broadcast(case: Case) -> Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]:
    def call(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        dist.broadcast(tensors[0], 0)
        return tensors

    return call


def _allgather(case: Case) -> Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]:
    ranks = dist.get_world_size()
    parts = [
        torch.empty(case.count // ranks, dtype=getattr(torch, case.dtype)) for _ in range(ranks)
    ]

    def call(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        dist.all_gather(parts, tensors[0])
        return [torch.cat(parts)]

    return call


def _reducescatter(case: Case) -> Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]:
    raise Unavailable("torch Gloo has no reduce-scatter that is worth comparing")


_COLLECTIVES = {
    "allreduce": _allreduce,
    "broadcast": _broadcast,
    "allgather": _allgather,
    "reducescatter": _reducescatter,
}
