"""Trainers of one rank: the models that training steps are measured with, and who reduces them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

import rueda
from rueda._bench.contender import Contender
from rueda._bench.models import MODELS
from rueda._bench.peers.collection import Peers
from rueda._bench.plan import BARE, TRAINING_ROADS, Case, Variant
from rueda._bench.session import Session
from rueda._bench.statistics import products_for
from rueda._bench.training_model import Compute, Patterns, StepModel, Trainer, descent
from rueda._bench_core import Board

if TYPE_CHECKING:
    from rueda._bench.peers.horovod import Horovod

# Short, so that some of them fit between two time slices of others.
_TRIES = 40
_TRIED_PRODUCTS = 4
# Before anything is timed: DDP puts its buckets in order after the first one.
_FIRST_STEPS = 2


class Trainers:
    """A model for each road; for one thread, and all ranks ask in one order."""

    def __init__(self, session: Session, peers: Peers, case: Case) -> None:
        self._session = session
        self._peers = peers
        self._case = case
        self._compute = Compute()
        self._products = self._calibrate()
        self._patterns: Patterns | None = None
        self._made: dict[str, Trainer] = {}

    def contender(self, variant: Variant) -> Contender:
        """Return the steps of one road, which share a model.

        Raises:
            Unavailable: Who would reduce them is not to be had.
        """
        if variant.road == "horovod":
            horovod: Horovod = self._peers.connected("horovod")  # type: ignore[assignment]
            return horovod.steps(self._case.model, self._products, bare=variant.level == BARE)
        if variant.road not in self._made:
            self._made[variant.road] = self._trainer(variant.road)
        trainer = self._made[variant.road]
        return _Steps(self._session.board, trainer, computes=variant.level != BARE)

    def _calibrate(self) -> int:
        """Find out how many products take as long as a step shall compute, on all ranks at once.

        The fastest try of each rank counts: what else runs here makes steps longer, not shorter
        than they were asked to be. Of the ranks, the slowest.
        """
        tries = []
        for _ in range(_TRIES):
            self._session.board.start_line()
            began = time.perf_counter()
            self._compute.spend(_TRIED_PRODUCTS)
            tries.append((time.perf_counter() - began) / _TRIED_PRODUCTS)
        slowest = max(told for [told] in self._session.gather(min(tries)))
        return products_for(self._case.compute_ms / 1e3, slowest)

    def _trainer(self, road: str) -> Trainer:
        """Make the model of a road and let it be reduced as a script would."""
        if TRAINING_ROADS[road].peer:
            self._peers.connected(TRAINING_ROADS[road].peer)
        if self._patterns is None:
            self._patterns = Patterns(MODELS[self._case.model])
        board, keeps = self._session.board, TRAINING_ROADS[road].keeps
        model = StepModel(MODELS[self._case.model], self._patterns, self._products, self._compute)
        called: torch.nn.Module = model
        optimizer = descent(model)
        averaged: Sequence[int] = range(board.size)
        if road.startswith("rueda"):
            optimizer = rueda.DistributedOptimizer(optimizer, model.named_parameters())
        elif road.startswith("ddp"):
            # Gradients that are kept stay in its buckets, as they do in rueda's.
            called = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=keeps)
        else:
            averaged = (board.rank,)
        return Trainer(
            model,
            called,
            optimizer,
            keeps=keeps,
            rank=board.rank,
            averaged=averaged,
            size=board.size,
        )


class _Steps:
    """Steps of a trainer, with or without computing."""

    def __init__(self, board: Board, trainer: Trainer, *, computes: bool) -> None:
        self._board = board
        self._trainer: Trainer | None = trainer
        self._computes = computes

    def check(self) -> int:
        if not self._computes:
            return 0  # The steps that compute train the same model, and look at it.
        trainer = self._trained()
        while trainer.steps < _FIRST_STEPS:
            trainer.step(computes=False)
        return trainer.wrong()

    def sample(self, calls: int, block: int) -> tuple[float, Sequence[float]]:
        trainer, now = self._trained(), time.perf_counter
        times = []
        self._board.start_line()
        began = last = now()
        for _ in range(calls):
            trainer.step(computes=self._computes)
            ended = now()
            times.append(ended - last)
            last = ended
        return (last - began) / calls, times

    def close(self) -> None:
        self._trainer = None

    def _trained(self) -> Trainer:
        if self._trainer is None:
            raise RuntimeError("these steps are over")
        return self._trainer
