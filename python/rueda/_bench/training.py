"""What communication costs in training: steps with it beside steps without. Pure.

All times are medians over the rounds of differences within a round, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rueda._bench.plan import BARE, STEP, TRAINING_ROADS, Variant
from rueda._bench.rows import Row
from rueda._bench.statistics import median, paired_ratios

_ALONE = {False: "alone", True: "alone-kept"}
_DDP = {False: "ddp", True: "ddp-kept"}


@dataclass(frozen=True)
class TrainingRow:
    """One line of the table: who reduces, beside the same step of ranks that do not communicate.

    Attributes:
        step: The whole step.
        alone: The same without communication, in the same rounds.
        bare: A step that computes nothing.
        bare_alone: The same without communication.
    """

    step: Row
    alone: Row | None
    bare: Row | None
    bare_alone: Row | None

    @property
    def road(self) -> str:
        """A key of ``TRAINING_ROADS``."""
        return self.step.variant.road

    @property
    def is_alone(self) -> bool:
        """Whether nothing is communicated."""
        return self.road in _ALONE.values()

    @property
    def exposed(self) -> float | None:
        """What communication adds to a step."""
        return None if self.is_alone else _added(self.step, self.alone)

    @property
    def lost_percent(self) -> float | None:
        """The same in percent of the step without communication."""
        if self.is_alone or self.alone is None:
            return None
        ratios = paired_ratios(self.step.seconds, self.alone.seconds)
        return 100 * (median(ratios) - 1)

    @property
    def communication(self) -> float | None:
        """What communication adds to a step that computes nothing, so that nothing hides it."""
        return None if self.is_alone else _added(self.bare, self.bare_alone)

    @property
    def overlap(self) -> float | None:
        """The share of the communication that a step hides behind its computing."""
        exposed, whole = self.exposed, self.communication
        if exposed is None or whole is None or whole <= 0:
            return None
        return 1 - exposed / whole

    def times_faster_than(self, other: TrainingRow | None) -> float | None:
        """Return how many times longer the other's communication takes."""
        own = self.communication
        theirs = None if other is None else other.communication
        return None if own is None or theirs is None or own <= 0 else theirs / own


def _added(with_it: Row | None, without: Row | None) -> float | None:
    if with_it is None or without is None:
        return None
    pairs = zip(with_it.seconds, without.seconds, strict=True)
    return median([one - other for one, other in pairs])


def training_rows(rows: Sequence[Row]) -> list[TrainingRow]:
    """Return the lines of one number of ranks, in the order of ``TRAINING_ROADS``."""
    found = {row.variant: row for row in rows if row.case.kind == "train"}
    lines = []
    for name, road in TRAINING_ROADS.items():
        step = found.get(Variant(STEP, name))
        if step is not None:
            alone = _ALONE[road.keeps]
            bare, bare_alone = found.get(Variant(BARE, name)), found.get(Variant(BARE, alone))
            lines.append(TrainingRow(step, found.get(Variant(STEP, alone)), bare, bare_alone))
    return lines


def line_of(lines: Sequence[TrainingRow], road: str) -> TrainingRow | None:
    """Return the line of a road, or None."""
    return next((line for line in lines if line.road == road), None)


def ddp_beside(lines: Sequence[TrainingRow], line: TrainingRow) -> TrainingRow | None:
    """Return DDP's line with the same ``zero_grad``, or None."""
    return line_of(lines, _DDP[TRAINING_ROADS[line.road].keeps])


def training_values(lines: Sequence[TrainingRow]) -> list[dict[str, Any]]:
    """Return the figures by name, for JSON."""
    return [_values(lines, line) for line in lines]


def _values(lines: Sequence[TrainingRow], line: TrainingRow) -> dict[str, Any]:
    step, case = line.step, line.step.case
    return {
        "model": case.model,
        "tensors": len(case.shapes),
        "bytes": case.bytes,
        "compute_s": case.compute_ms / 1e3,
        "ranks": step.ranks,
        "road": line.road,
        "label": step.variant.label,
        "keeps_gradients": TRAINING_ROADS[line.road].keeps,
        "step_s": step.time,
        "alone_s": None if line.alone is None else line.alone.time,
        "exposed_s": line.exposed,
        "lost_percent": line.lost_percent,
        "communication_s": line.communication,
        "overlap": line.overlap,
        "times_faster_than_ddp": line.times_faster_than(ddp_beside(lines, line)),
        "wrong": step.measured.wrong,
        "placement": step.placement,
        "round_trip_ns": step.round_trip_ns,
        "step_samples_s": step.seconds,
        "step_placements": step.sample_placements,
        "bare_step_samples_s": [] if line.bare is None else line.bare.seconds,
    }
