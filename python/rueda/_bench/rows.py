"""Rows: what was measured of one variant of one case, and the figures that follow from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rueda._bench import placement as places
from rueda._bench.plan import LIMIT, Case, Variant
from rueda._bench.statistics import bus_factor, median, paired_ratios, percentile


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        seconds: Of one call, on the rank where it took longest.
        before_ns: Round trip of a cache line before it; 0 where it was not probed.
        after_ns: The same after it.
    """

    seconds: float
    before_ns: float
    after_ns: float


@dataclass(frozen=True)
class Measured:
    """What the ranks told about one variant.

    Attributes:
        samples: One a round.
        wrong: Elements that were wrong on all ranks together.
        p50_s: Median of single calls, on the rank where it is longest.
        p99_s: Their 99th percentile, likewise.
        calls: Calls in a sample.
        remark: Why there are no samples; empty if there are.
        extra: Further figures by name.
    """

    samples: tuple[Sample, ...] = ()
    wrong: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    calls: int = 0
    remark: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)

    def of_rounds(self, rounds: Sequence[int]) -> Measured:
        """Return the samples of these rounds alone; what is of single calls stays as it is."""
        return replace(self, samples=tuple(self.samples[one] for one in rounds))


@dataclass(frozen=True)
class Row:
    """One line of a table; times in seconds, rates in bytes a second."""

    case: Case
    variant: Variant
    ranks: int
    cores: int
    measured: Measured
    limit: Measured | None

    @property
    def seconds(self) -> list[float]:
        """Of one call, by round."""
        return [sample.seconds for sample in self.measured.samples]

    @property
    def time(self) -> float:
        """Median over the rounds."""
        return median(self.seconds)

    @property
    def p10(self) -> float:
        """Tenth percentile over the rounds."""
        return percentile(self.seconds, 10)

    @property
    def p90(self) -> float:
        """Ninetieth percentile over the rounds."""
        return percentile(self.seconds, 90)

    @property
    def algbw(self) -> float:
        """Message bytes by time."""
        return self.case.bytes / self.time

    @property
    def busbw(self) -> float:
        """Algbw times what every rank must send and receive at least."""
        return self.algbw * bus_factor(self.case.collective, self.ranks)

    @property
    def limit_time(self) -> float | None:
        """Median time of the limit in the same rounds."""
        if self.limit is None or not self.limit.samples:
            return None
        return median([sample.seconds for sample in self.limit.samples])

    @property
    def limit_shares(self) -> list[float]:
        """Limit by time, by round; empty without a limit."""
        if self.limit is None or not self.limit.samples:
            return []
        return paired_ratios([sample.seconds for sample in self.limit.samples], self.seconds)

    @property
    def percent_of_limit(self) -> float | None:
        """Median over the rounds of limit by time, in percent."""
        shares = self.limit_shares
        return 100 * median(shares) if shares else None

    @property
    def sample_placements(self) -> list[str]:
        """Where the ranks ran, by round."""
        fixed = places.without_probe(self.ranks, self.cores)
        return [
            fixed or places.placement_of_sample(sample.before_ns, sample.after_ns)
            for sample in self.measured.samples
        ]

    @property
    def placement(self) -> str:
        """Where the ranks ran in most samples."""
        return places.most_common(self.sample_placements)[0]

    @property
    def round_trip_ns(self) -> float:
        """Median of the probes beside the samples that ``placement`` names; 0 if it names none."""
        if self.placement not in (places.SAME_CORE, places.SHARED_L3, places.DIFFERENT_L3):
            return 0.0
        return median(
            [
                (sample.before_ns + sample.after_ns) / 2
                for sample, place in zip(self.measured.samples, self.sample_placements, strict=True)
                if place == self.placement
            ]
        )

    def rounds_at(self, placement: str) -> list[int]:
        """Return the rounds in which its ranks ran so throughout."""
        return [number for number, at in enumerate(self.sample_placements) if at == placement]

    def of_rounds(self, rounds: Sequence[int]) -> Row:
        """Return what these rounds alone, of which there is one, say of it and its limit."""
        limit = None if self.limit is None else self.limit.of_rounds(rounds)
        return replace(self, measured=self.measured.of_rounds(rounds), limit=limit)

    def percent_by_placement(self) -> dict[str, float]:
        """Return percent of the limit for each placement that a round had throughout."""
        shares: dict[str, list[float]] = {}
        if self.limit is None:
            return {}
        for place, share in zip(self.sample_placements, self.limit_shares, strict=True):
            if place not in (places.MOVED, places.UNCLEAR):
                shares.setdefault(place, []).append(share)
        return {place: 100 * median(values) for place, values in shares.items()}

    def times_faster_than(self, other: Row) -> float:
        """Return how many times longer the other took: the median over the rounds."""
        return median(paired_ratios(other.seconds, self.seconds))


def rows_of(case: Case, results: Sequence[Measured], ranks: int, cores: int) -> list[Row]:
    """Return a case's rows, the limit's among them, without what was left out."""
    limit = next(
        (
            result
            for variant, result in zip(case.variants, results, strict=True)
            if variant.level == LIMIT and result.samples
        ),
        None,
    )
    return [
        Row(case, variant, ranks, cores, result, limit)
        for variant, result in zip(case.variants, results, strict=True)
        if result.samples
    ]


def measured_from(told: Mapping[str, Any]) -> Measured:
    """Read what a rank wrote as JSON."""
    return Measured(
        samples=tuple(Sample(*values) for values in told["samples"]),
        wrong=told["wrong"],
        p50_s=told["p50_s"],
        p99_s=told["p99_s"],
        calls=told["calls"],
        remark=told["remark"],
        extra=told["extra"],
    )
