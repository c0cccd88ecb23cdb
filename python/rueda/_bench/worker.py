"""What each rank of a run does: every contender of a case in turn, round after round.

Between samples the ranks sleep at the board, so that no spinner disturbs a peer that hands work
between threads. Rank 0 tells the results as lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from rueda._bench import placement
from rueda._bench.contender import Contender, Unavailable
from rueda._bench.own_roads import engine_procedure, own_contender
from rueda._bench.peers.collection import Peers
from rueda._bench.plan import Case, Variant
from rueda._bench.processors import pinned, processor_of
from rueda._bench.session import Session
from rueda._bench.statistics import block_of, calls_after, calls_for, percentile
from rueda._bench.stolen import StolenTime
from rueda._bench.task import Work
from rueda._bench.trainers import Trainers
from rueda._bench_core import measure_beside
from rueda.launch.this_host import core_count

# More than so many single calls are not kept: their percentiles would not move any more.
_MOST_KEPT = 200_000
_SLICES_BESIDE = 5
_MOST_TRIES = 20


@dataclass
class Turn:
    """One contender while it takes part: what it did so far."""

    variant: Variant
    contender: Contender | None = None
    remark: str = ""
    wrong: int = 0
    calls: int = 1
    block: int = 1
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    call_seconds: list[float] = field(default_factory=list)
    extra: dict[str, float] = field(default_factory=dict)
    stolen: StolenTime = field(default_factory=StolenTime)
    p50_s: float = 0.0
    p99_s: float = 0.0

    def told(self) -> dict[str, Any]:
        """Return it as rank 0 tells it."""
        return {
            "samples": self.samples,
            "wrong": self.wrong,
            "p50_s": self.p50_s,
            "p99_s": self.p99_s,
            "calls": self.calls,
            "remark": self.remark,
            "extra": self.extra,
        }


def work(task: Work) -> None:
    """Do a rank's part of a run."""
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        session = Session(task.board_path)
        events = None
        if session.board.rank == 0:
            events = stack.enter_context(Path(task.events_path).open("w"))
        peers = Peers(session, Path(task.folder))
        for number, case in enumerate(task.cases):
            _tell(events, {"event": "begins", "case": number})
            turns = _Measurement(session, peers, task, case).run()
            told = [turn.told() for turn in turns]
            _tell(events, {"event": "measured", "case": number, "results": told})
        peers.close()
        session.close()


def _tell(events: TextIO | None, event: dict[str, Any]) -> None:
    if events is not None:
        events.write(json.dumps(event) + "\n")
        events.flush()


class _Measurement:
    """One case on one rank."""

    def __init__(self, session: Session, peers: Peers, task: Work, case: Case) -> None:
        self._session = session
        self._peers = peers
        self._task = task
        self._case = case
        board = session.board
        self._processor = processor_of(board.rank, board.size)
        self._probes = not placement.without_probe(board.size, core_count())
        self._trainers = Trainers(session, peers, case) if case.kind == "train" else None

    def run(self) -> list[Turn]:
        """Measure every variant; what is not to be had keeps a remark."""
        turns = [Turn(variant) for variant in self._case.variants]
        for turn in turns:
            turn.remark = self._session.together(partial(self._make, turn))
        if self._case.kind == "beside":
            for turn in turns:
                self._beside(turn)
            return turns
        for turn in turns:
            if not turn.remark:
                turn.remark = self._session.together(partial(self._check, turn))
            self._calibrate(turn)
        for _ in range(self._task.rounds):
            for turn in turns:
                self._sample(turn)
        for turn in turns:
            if self._trainers is not None and not turn.remark:
                # What was timed has left its traces in the model.
                self._give_up(turn, self._session.together(partial(self._check, turn)))
            self._conclude(turn)
        self._session.board.meet()
        return turns

    def _make(self, turn: Turn) -> None:
        if self._trainers is not None:
            turn.contender = self._trainers.contender(turn.variant)
        elif turn.variant.level == "peer":
            turn.contender = self._peers.contender(turn.variant.road, self._case)
        elif self._case.kind != "beside":
            turn.contender = own_contender(self._session, self._case, turn.variant)

    def _check(self, turn: Turn) -> None:
        if turn.contender is not None:
            turn.wrong = turn.contender.check()

    def _calibrate(self, turn: Turn) -> None:
        """Find out how many calls a sample needs."""
        settled = False
        with self._placed(turn):
            while not settled and not turn.remark:
                self._settle()
                _, single = self._timed(turn)
                # The median call: one that was interrupted shall not make all samples short.
                typical = self._slowest(percentile(single, 50) if single else 0.0)
                turn.calls, settled = calls_for(turn.calls, typical, self._task.sample_seconds)
                turn.block = block_of(turn.calls, typical)

    def _sample(self, turn: Turn) -> None:
        if turn.remark:
            return
        with turn.stolen, self._placed(turn):
            before = self._settle()
            slowest, single = self._timed(turn)
            after = self._probe()
        if turn.remark:
            return
        turn.samples.append((slowest, before, after))
        turn.calls = calls_after(turn.calls, slowest, self._task.sample_seconds)
        turn.block = max(turn.block, block_of(turn.calls, slowest))
        turn.call_seconds += single[: _MOST_KEPT - len(turn.call_seconds)]

    def _placed(self, turn: Turn) -> AbstractContextManager[None]:
        return pinned(self._processor if turn.variant.has_one_thread else None)

    def _settle(self) -> float:
        """Probe until every rank runs on a processor of its own.

        Ranks that wake each other up may be put on one processor while another is idle. The probe
        keeps both busy, which is what makes the kernel part them.
        """
        trip = self._probe()
        for _ in range(_MOST_TRIES):
            if placement.placement_of(trip) != placement.UNCLEAR:
                break
            trip = self._probe()
        return trip

    def _probe(self) -> float:
        return self._session.board.probe() if self._probes else 0.0

    def _slowest(self, seconds: float) -> float:
        return max(told for [told] in self._session.gather(seconds))

    def _timed(self, turn: Turn) -> tuple[float, Sequence[float]]:
        """Time a sample on all ranks; the slowest one's seconds, and this one's single calls.

        A peer that is gone, which rank 0 may be the only one to notice, takes part no more.
        """
        seconds, why = 0.0, ""
        single: Sequence[float] = ()
        try:
            if turn.contender is not None:
                seconds, single = turn.contender.sample(turn.calls, turn.block)
        except Unavailable as error:
            why = str(error)
        told = self._session.gather(seconds, float(bool(why)))
        if any(failed for _, failed in told):
            self._give_up(turn, why or "it is gone")
        return max(slowest for slowest, _ in told), single

    def _give_up(self, turn: Turn, why: str) -> None:
        """Leave a contender out, and what it did so far, if there is a reason."""
        if why:
            turn.remark = why
            turn.samples, turn.call_seconds = [], []

    def _conclude(self, turn: Turn) -> None:
        """Bring every rank's figures together, and let go of the contender."""
        own = turn.call_seconds
        figures = (percentile(own, 50), percentile(own, 99)) if own else (0.0, 0.0)
        told = self._session.gather(float(turn.wrong), *figures)
        turn.wrong = int(sum(wrong for wrong, _, _ in told))
        turn.p50_s = max(p50 for _, p50, _ in told)
        turn.p99_s = max(p99 for _, _, p99 in told)
        turn.extra["stolen_percent"] = turn.stolen.percent
        if turn.contender is not None:
            turn.contender.close()
            turn.contender = None

    def _beside(self, turn: Turn) -> None:
        procedure = engine_procedure(self._session.job, self._case, turn.variant)
        self._session.board.meet()
        with turn.stolen:
            figures = measure_beside(procedure, _SLICES_BESIDE)
        calls = figures.call_seconds
        told = self._session.gather(
            figures.alone_per_second,
            figures.waking_per_second,
            figures.beside_per_second,
            percentile(calls, 50),
            percentile(calls, 99),
        )
        turn.extra = {
            "alone_per_second": sum(one[0] for one in told),
            "waking_per_second": sum(one[1] for one in told),
            "beside_per_second": sum(one[2] for one in told),
            "stolen_percent": turn.stolen.percent,
        }
        turn.p50_s = max(one[3] for one in told)
        turn.p99_s = max(one[4] for one in told)
        turn.calls = len(calls)
        turn.samples = [(turn.p50_s, 0.0, 0.0)]
