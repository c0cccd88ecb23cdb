"""What was simulated of the control plane: steps, and rows made of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rueda._bench.statistics import percentile


@dataclass(frozen=True)
class ControlFigures:
    """One step; times are seconds of virtual time since the last rank has submitted.

    Attributes:
        total: Until the last rank has its plan.
        up: Until the coordinator has the last offer.
        decide: From then until it has encoded its answer.
        down: From then until the last rank begins to read it.
        plan: From then until that rank has its plan.
        root_cpu: How long rank 0 computes.
        other_cpu: The mean of the others.
        busiest_cpu: The most of any other.
        messages: All that were sent.
        root_messages: Of these, into rank 0.
        bytes: Of all messages.
        root_bytes: Of those into rank 0.
        frames: The coordinator's answers.
    """

    total: float
    up: float
    decide: float
    down: float
    plan: float
    root_cpu: float
    other_cpu: float
    busiest_cpu: float
    messages: int
    root_messages: int
    bytes: int
    root_bytes: int
    frames: int


def median_step(steps: Sequence[ControlFigures]) -> ControlFigures:
    """Return the step whose time is the median, the shorter one of two; so its parts add up."""
    return sorted(steps, key=lambda step: step.total)[(len(steps) - 1) // 2]


@dataclass(frozen=True)
class ControlRow:
    """One line of the table.

    Attributes:
        case: A key of ``control_settings.CASES``.
        topology: Of ``control_settings.TOPOLOGIES``.
        ranks: How many are simulated.
        steps: With links.
        bare: As many steps with links that cost nothing.
    """

    case: str
    topology: str
    ranks: int
    steps: tuple[ControlFigures, ...]
    bare: tuple[ControlFigures, ...]

    @property
    def step(self) -> ControlFigures:
        """The median step."""
        return median_step(self.steps)

    @property
    def time(self) -> float:
        """Of the median step, in seconds."""
        return self.step.total

    @property
    def bare_time(self) -> float:
        """Of the median step without links, in seconds."""
        return median_step(self.bare).total

    @property
    def spread(self) -> float:
        """The third quartile of the times without links over the first."""
        times = [step.total for step in self.bare]
        return percentile(times, 75) / percentile(times, 25)


def two_ranks_beside(rows: Sequence[ControlRow], row: ControlRow) -> ControlRow | None:
    """Return the row of the same case and topology with two ranks."""
    return find(rows, row.case, row.topology, 2)


def find(rows: Sequence[ControlRow], case: str, topology: str, ranks: int) -> ControlRow | None:
    """Return a row, or None."""
    for row in rows:
        if (row.case, row.topology, row.ranks) == (case, topology, ranks):
            return row
    return None


def control_values(rows: Sequence[ControlRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON's values: seconds and bytes, every step."""
    return [_values(rows, row) for row in rows]


def _values(rows: Sequence[ControlRow], row: ControlRow) -> dict[str, Any]:
    two = two_ranks_beside(rows, row)
    seconds = ("total", "up", "decide", "down", "plan", "root_cpu", "other_cpu", "busiest_cpu")
    figures = {
        f"{name}_s" if name in seconds else name: value for name, value in asdict(row.step).items()
    }
    return {
        "case": row.case,
        "topology": row.topology,
        "ranks": row.ranks,
        **figures,
        "times_two_ranks": None if two is None else row.time / two.time,
        "without_links_s": row.bare_time,
        "without_links_times_two_ranks": None if two is None else row.bare_time / two.bare_time,
        "samples_s": [step.total for step in row.steps],
        "samples_without_links_s": [step.total for step in row.bare],
    }
