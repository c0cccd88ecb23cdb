"""Contenders: one way to do one case, on every rank of the run, checked and then timed.

Every rank calls the same methods of the same contenders in the same order. A contender that cannot
be had raises ``Unavailable`` when it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from rueda._bench import patterns
from rueda._bench.plan import Case
from rueda._bench_core import Board, Procedure, measure


class Unavailable(Exception):
    """A peer or a road is not to be had here; the text says why."""


class Contender(Protocol):
    """What takes its turn in a case."""

    def check(self) -> int:
        """Do it once on known values and return how many elements are wrong on this rank."""
        ...

    def sample(self, calls: int, block: int) -> tuple[float, Sequence[float]]:
        """Time some calls: seconds of one on this rank, and those of single calls or blocks."""
        ...

    def close(self) -> None:
        """Let go of the memory; all ranks, between two meetings."""
        ...


class NativeContender:
    """A procedure of the C++ core: no Python runs while it is timed."""

    def __init__(self, board: Board, procedure: Procedure, case: Case) -> None:
        self._board = board
        self._procedure = procedure
        self._case = case

    def check(self) -> int:
        case, dtype = self._case, getattr(torch, self._case.dtype)
        given = torch.frombuffer(self._procedure.input, dtype=dtype)
        given.copy_(patterns.contribution(self._board.rank, given.numel(), dtype, case.op))
        self._board.meet()
        self._procedure.call()
        found = torch.frombuffer(self._procedure.output, dtype=dtype)
        wrong = patterns.wrong_elements(found, expected(case, self._board, dtype))
        self._board.meet()
        # Zeros stay zeros, however often they are added.
        torch.frombuffer(self._procedure.input, dtype=dtype).zero_()
        return wrong

    def sample(self, calls: int, block: int) -> tuple[float, Sequence[float]]:
        sample = measure(self._board, self._procedure, calls, block)
        return sample.seconds, sample.call_seconds

    def close(self) -> None:
        """Nothing: the procedure goes with its last reference."""


class LimitContender(NativeContender):
    """The limit, which exchanges nothing that could be wrong."""

    def check(self) -> int:
        return 0


class PythonContender:
    """A function of Python that reduces tensors in place."""

    def __init__(
        self,
        board: Board,
        case: Case,
        call: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
    ) -> None:
        dtype = getattr(torch, case.dtype)
        parts = {"allgather": board.size}.get(case.collective, 1)
        self._tensors = [
            torch.zeros([shape[0] // parts, *shape[1:]], dtype=dtype) for shape in case.shapes
        ]
        self._board = board
        self._case = case
        self._call = call

    def check(self) -> int:
        case, dtype = self._case, getattr(torch, self._case.dtype)
        rank = self._board.rank
        for tensor in self._tensors:
            values = patterns.contribution(rank, tensor.numel(), dtype, case.op)
            tensor.copy_(values.view(tensor.shape))
        results = self._call(self._tensors)
        wrong = 0
        for shape, result in zip(case.shapes, results, strict=True):
            count = torch.Size(shape).numel()
            wanted = patterns.expected(
                case.collective, rank, self._board.size, count, dtype, case.op
            )
            wrong += patterns.wrong_elements(result, wanted)
        for tensor in self._tensors:
            tensor.zero_()
        return wrong

    def sample(self, calls: int, block: int) -> tuple[float, Sequence[float]]:
        call, tensors, now = self._call, self._tensors, time.perf_counter
        times: list[float] = []
        if calls > 1:  # As the C++ core does it: one long call is not warmed up.
            call(tensors)
        self._board.start_line()
        began = block_began = now()
        for first in range(0, calls, block):
            in_block = min(block, calls - first)
            for _ in range(in_block):
                call(tensors)
            ended = now()
            times.append((ended - block_began) / in_block)
            block_began = ended
        return (now() - began) / calls, times

    def close(self) -> None:
        self._tensors = []


def expected(case: Case, board: Board, dtype: torch.dtype) -> torch.Tensor:
    """Return what this rank's only tensor has to hold."""
    return patterns.expected(case.collective, board.rank, board.size, case.count, dtype, case.op)
