"""The project's goals on speed: figure reached, target, and whether it was met. Pure.

Every verdict comes from rows of one run. What the run did not show has no figure and a reason.
Ratios are medians over rounds of samples taken in the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rueda._bench.beside import lost_to_calls, lost_to_waking
from rueda._bench.control_goals import control_verdicts
from rueda._bench.control_rows import ControlRow
from rueda._bench.placement import DIFFERENT_L3, SAME_CORE, SHARED_CORES, SHARED_L3
from rueda._bench.rows import Row
from rueda._bench.text_table import size_text
from rueda._bench.training_goals import training_verdicts
from rueda._bench.verdict import NOT_MEASURED, Verdict, judged

KIB, MIB = 1 << 10, 1 << 20
_SMALL, _LARGE = 4 * KIB, 64 * MIB
_MOST_GAINED = 2.0  # percent


class _Rows:
    """Finds rows by what they are of."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def find(
        self,
        ranks: int,
        road: str,
        *,
        size: int = 0,
        kind: str = "size",
        dtype: str = "float32",
    ) -> Row | None:
        """Return the row of a contender, named as in tables, or None."""
        for row in self._rows:
            case = row.case
            fits = row.ranks == ranks and row.variant.label == road and case.kind == kind
            if fits and case.dtype == dtype and (not size or case.bytes == size):
                return row
        return None

    def of_at_least(self, size: int, road: str) -> list[Row]:
        """Return all rows of a contender from a size on."""
        return [
            row
            for row in self._rows
            if row.variant.label == road and row.case.kind == "size" and row.case.bytes >= size
        ]


def verdicts(all_rows: Sequence[Row], control: Sequence[ControlRow] = ()) -> list[Verdict]:
    """Judge all goals, from what was measured and what was simulated."""
    rows = _Rows(all_rows)
    found: list[Verdict] = []
    for judge in (_one, _two, _three, _four, _five, _six):
        found += judge(rows)
    found += control_verdicts("7", control)
    return [*found, *training_verdicts("8", all_rows), *_nine(rows), *_ten(rows)]


def _share(goal: str, what: str, row: Row | None, target: float) -> Verdict:
    """At least so many percent of the limit."""
    value = row.percent_of_limit if row is not None else None
    wanted = f"at least {target:g} % of the limit"
    if row is None or value is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    return judged(
        Verdict(goal, what, f"{value:.1f} % ({row.placement})", wanted, value >= target), row
    )


def _faster(
    goal: str, what: str, row: Row | None, other: Row | None, name: str, target: float
) -> Verdict:
    """At least so many times faster than a peer."""
    wanted = f"at least {target:g}x {name}" if target != 1 else f"not slower than {name}"
    if row is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    if other is None:
        return Verdict(goal, what, f"{name} was not measured in this run", wanted, None)
    value = row.times_faster_than(other)
    return judged(Verdict(goal, what, f"{value:.1f}x", wanted, value >= target), row)


def _time(
    goal: str,
    what: str,
    row: Row | None,
    target_us: float,
    value: Callable[[Row], float] = lambda row: row.time,
) -> Verdict:
    """At most so many microseconds."""
    wanted = f"at most {target_us:g} us"
    if row is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    found = value(row) * 1e6
    return judged(Verdict(goal, what, f"{found:.2f} us", wanted, found <= target_us), row)


def _one(rows: _Rows) -> list[Verdict]:
    found = []
    for ranks, share, peers in (
        (2, 90, (("torch Gloo", 8), ("Open MPI", 5))),
        (4, 80, (("torch Gloo", 8),)),
    ):
        row = rows.find(ranks, "engine in-place", size=_LARGE)
        what = f"64 MiB in shared buckets, {ranks} ranks"
        if row is not None and ranks > 2:
            what += f" on {row.cores} cores"
        found.append(_share("1", what, row, share))
        for peer, target in peers:
            other = rows.find(ranks, peer, size=_LARGE)
            found.append(_faster("1", what, row, other, peer, target))
    return found


def _two(rows: _Rows) -> list[Verdict]:
    row = rows.find(2, "engine staged", size=_LARGE)
    what = "64 MiB in private tensors, 2 ranks"
    gloo = rows.find(2, "torch Gloo", size=_LARGE)
    gradients = rows.find(2, "python staged", kind="gradients")
    return [
        _with_cached(row, gloo, lambda own, _: _share("2", what, own, 75)),
        _with_cached(row, gloo, lambda own, other: _faster("2", what, own, other, "torch Gloo", 8)),
        _with_cached(gradients, None, lambda own, _: _gradients(own)),
    ]


def _gradients(row: Row | None) -> Verdict:
    what, wanted = "161 gradients of ResNet-50, private, one call", "at most 1.4x the limit"
    share = row.percent_of_limit if row is not None else None
    if row is None or share is None:
        return Verdict("2", what, NOT_MEASURED, wanted, None)
    reached = f"{100 / share:.2f}x the limit ({row.time * 1e3:.1f} ms)"
    return judged(Verdict("2", what, reached, wanted, 100 / share <= 1.4), row)


def _with_cached(
    row: Row | None, other: Row | None, judge: Callable[[Row | None, Row | None], Verdict]
) -> Verdict:
    """Judge all rounds, and tell beside it what those reached in which the ranks shared a cache."""
    verdict = judge(row, other)
    rounds = [] if row is None else row.rounds_at(SHARED_L3)
    if row is None or verdict.met is None or len(rounds) in (0, len(row.measured.samples)):
        return verdict
    near = judge(row.of_rounds(rounds), None if other is None else other.of_rounds(rounds))
    where = f"the {len(rounds)} of {len(row.measured.samples)} rounds with a shared cache"
    return replace(verdict, reached=f"{verdict.reached}; in {where} {near.reached}")


def _three(rows: _Rows) -> list[Verdict]:
    found = []
    placed = rows.of_at_least(MIB, "engine in-place")
    for place in (SAME_CORE, SHARED_L3, DIFFERENT_L3, SHARED_CORES):
        shares = {
            row.case.bytes: row.percent_by_placement()[place]
            for row in placed
            if place in row.percent_by_placement() and row.case.dtype == "float32"
        }
        what = f"shared buckets from 1 MiB on, {place}"
        wanted = "never below 40 % of the limit there"
        if not shares:
            reached = "the machine did not place the ranks so in this run"
            found.append(Verdict("3", what, reached, wanted, None))
            continue
        size = min(shares, key=lambda one: shares[one])
        reached = f"{shares[size]:.1f} % at {size_text(size)}, the lowest"
        found.append(Verdict("3", what, reached, wanted, shares[size] >= 40))
    ratios = {}
    for row in rows.of_at_least(MIB, "engine in-place"):
        gloo = rows.find(row.ranks, "torch Gloo", size=row.case.bytes, dtype=row.case.dtype)
        if gloo is not None:
            key = f"{row.ranks} ranks, {row.case.dtype}, {size_text(row.case.bytes)}"
            ratios[key] = (row.times_faster_than(gloo), row)
    what, wanted = "shared buckets from 1 MiB on, 2 and 4 ranks", "never below 4x torch Gloo"
    if not ratios:
        return [*found, Verdict("3", what, "torch Gloo was not measured", wanted, None)]
    worst = min(ratios, key=lambda one: ratios[one][0])
    ratio, row = ratios[worst]
    reached = f"{ratio:.1f}x at {worst}, the lowest"
    return [*found, judged(Verdict("3", what, reached, wanted, ratio >= 4), row)]


def _four(rows: _Rows) -> list[Verdict]:
    eight = rows.find(2, "transport staged", size=8)
    small = rows.find(2, "transport staged", size=_SMALL)
    found = [
        _time("4", "C++, 8 B", eight, 0.15),
        _faster("4", "C++, 8 B", eight, rows.find(2, "Open MPI", size=8), "Open MPI", 1.5),
        _time("4", "C++, 4 KiB", small, 1.0),
        _faster(
            "4", "C++, 4 KiB", small, rows.find(2, "torch Gloo", size=_SMALL), "torch Gloo", 150
        ),
    ]
    for size in (16 * KIB, 64 * KIB, 256 * KIB):
        row, mpi = rows.find(2, "transport staged", size=size), rows.find(2, "Open MPI", size=size)
        what = f"C++, {size_text(size)}"
        verdict = _faster("4", what, row, mpi, "Open MPI", 4)
        if row is not None and verdict.met is False and row.placement != SHARED_L3:
            # The goal is for a shared last-level cache.
            verdict = Verdict(
                "4", what, f"{verdict.reached} ({row.placement})", verdict.target, None
            )
        found.append(verdict)
    return found


def _five(rows: _Rows) -> list[Verdict]:
    row = rows.find(2, "python staged", size=_SMALL)
    what = "Python, synchronous 4 KiB"
    found = [_time("5", what, row, 30)]
    for peer, target in (("torch Gloo", 10), ("Horovod", 30)):
        found.append(_faster("5", what, row, rows.find(2, peer, size=_SMALL), peer, target))
    wanted = "p99 at most 3x the median"
    if row is None:
        return [*found, Verdict("5", what, NOT_MEASURED, wanted, None)]
    ratio = row.measured.p99_s / row.measured.p50_s
    stolen = row.measured.extra["stolen_percent"]
    reached = f"{row.measured.p99_s * 1e6:.1f} us, {ratio:.1f}x; the host took {stolen:.1f} %"
    return [*found, judged(Verdict("5", what, reached, wanted, ratio <= 3), row)]


def _six(rows: _Rows) -> list[Verdict]:
    each = rows.find(2, "python staged", kind="async")
    group = rows.find(2, "python staged", kind="grouped")
    return [
        _time("6", "Python, 300 x 1 KiB submitted and waited for", each, 500),
        _time("6", "Python, 300 x 1 KiB in one grouped call", group, 100),
    ]


def _nine(rows: _Rows) -> list[Verdict]:
    found = []
    gloo = rows.find(2, "torch Gloo", size=_LARGE, dtype="float16")
    for dtype in ("bfloat16", "float16"):
        row = rows.find(2, "engine in-place", size=_LARGE, dtype=dtype)
        what = f"64 MiB of {dtype}, shared buckets"
        found += [
            _share("9", what, row, 75),
            _across_cases("9", what, row, gloo, "torch Gloo's float16", 20),
        ]
    return found


def _across_cases(
    goal: str, what: str, row: Row | None, other: Row | None, name: str, target: float
) -> Verdict:
    """As ``_faster``, where the two took their turns in different cases of one run."""
    if row is None or other is None or row.case == other.case:
        return _faster(goal, what, row, other, name, target)
    value = other.time / row.time
    verdict = Verdict(goal, what, f"{value:.1f}x", f"at least {target:g}x {name}", value >= target)
    return judged(verdict, row)


def _ten(rows: _Rows) -> list[Verdict]:
    found = []
    for level, name in (("transport staged", "C++"), ("engine staged", "C++, engine")):
        row = rows.find(4, level, size=8)
        what = f"{name}, 8 B, 4 ranks on {row.cores if row else 2} cores"
        found.append(_time("10", what, row, 6))
        if level == "transport staged":
            mpi = rows.find(4, "Open MPI", size=8)
            found.append(_faster("10", what, row, mpi, "Open MPI", 1))
    beside = rows.find(4, "engine staged", kind="beside")
    what = "8 B a millisecond beside a computing thread in each of 4 ranks"
    found.append(_time("10", what, beside, 100, lambda row: row.measured.p50_s))
    wanted = "computing loses at most 2 %"
    if beside is None:
        return [*found, Verdict("10", what, NOT_MEASURED, wanted, None)]
    extra = beside.measured.extra
    lost = lost_to_calls(extra)
    reached = (
        f"{lost:.1f} %, waking up alone {lost_to_waking(extra):.1f} %; "
        f"a call's p99 {beside.measured.p99_s * 1e6:.0f} us"
    )
    if lost < -_MOST_GAINED:
        # Nobody computes faster for being interrupted: something else ran in the other slices.
        return [*found, Verdict("10", what, f"{reached}, but the machine was busy", wanted, None)]
    return [*found, Verdict("10", what, reached, wanted, lost <= 2)]
