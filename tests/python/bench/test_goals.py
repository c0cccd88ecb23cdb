"""Goals are judged from what was measured, and only from that."""

from __future__ import annotations

from dataclasses import replace

from bench_rows import measured, row_of

from rueda._bench.goals import verdicts
from rueda._bench.rows import Sample
from rueda._bench.verdict import Verdict

LARGE = 1 << 24  # elements of 64 MiB


def verdict(found: list[Verdict], goal: str, words: str) -> Verdict:
    [one] = [v for v in found if v.goal == goal and words in f"{v.what} {v.target}"]
    return one


def test_an_empty_run_shows_nothing() -> None:
    found = verdicts([])
    assert {one.goal for one in found} == {str(number) for number in range(1, 11)}
    assert {one.met for one in found} == {None}
    assert all(one.reached for one in found)


def test_a_goal_is_met_or_not_by_its_own_figure() -> None:
    own = row_of("engine", "in-place", LARGE, 1.0, 1.0, limit=(0.95, 0.95))
    gloo = row_of("peer", "gloo", LARGE, 7.0, 7.0)
    found = verdicts([own, gloo])
    share = verdict(found, "1", "64 MiB in shared buckets, 2 ranks at least 90 %")
    assert share.met is True
    assert share.reached == "95.0 % (shared L3)"
    ratio = verdict(found, "1", "2 ranks at least 8x torch Gloo")
    assert (ratio.met, ratio.reached) == (False, "7.0x")
    missing = verdict(found, "1", "2 ranks at least 5x Open MPI")
    assert missing.met is None
    assert "Open MPI was not measured" in missing.reached
    lowest = verdict(found, "3", "never below 4x torch Gloo")
    assert (lowest.met, lowest.reached) == (True, "7.0x at 2 ranks, float32, 64 MiB, the lowest")


def test_a_placement_that_did_not_occur_is_not_judged() -> None:
    found = verdicts([row_of("engine", "in-place", LARGE, 1.0, limit=(0.3,))])
    assert verdict(found, "3", "shared L3").met is False
    different = verdict(found, "3", "different L3")
    assert different.met is None
    assert "did not place" in different.reached


def test_a_goal_for_one_placement_is_not_missed_in_another() -> None:
    def against(trip_ns: float) -> Verdict:
        own = row_of("transport", "staged", 1 << 14, 1.0, trip_ns=trip_ns)
        return verdict(verdicts([own, row_of("peer", "openmpi", 1 << 14, 3.0)]), "4", "C++, 64 KiB")

    assert against(120.0).met is False
    assert against(220.0).met is None
    assert "different L3" in against(220.0).reached


def test_rounds_with_a_shared_cache_are_told_and_change_no_verdict() -> None:
    def staged(*trips_ns: float) -> list[Verdict]:
        own = row_of("engine", "staged", LARGE, *[1.0] * len(trips_ns))
        samples = tuple(Sample(1.0 if trip < 200 else 2.0, trip, trip) for trip in trips_ns)
        limit = measured(*[0.8] * len(trips_ns))
        own = replace(own, measured=replace(own.measured, samples=samples), limit=limit)
        return verdicts([own, row_of("peer", "gloo", LARGE, *[9.0] * len(trips_ns))])

    near, far = 120.0, 400.0
    words = "64 MiB in private tensors, 2 ranks at least"
    mixed = staged(far, near, far, near, far, near, far)
    share = verdict(mixed, "2", f"{words} 75 %")
    where = "in the 3 of 7 rounds with a shared cache"
    assert share.reached == f"40.0 % (different L3); {where} 80.0 % (shared L3)"
    ratio = verdict(mixed, "2", f"{words} 8x torch Gloo")
    assert ratio.reached == f"4.5x; {where} 9.0x"
    assert (share.met, ratio.met) == (False, False)
    # The other way round, too: what all rounds reach is met, whatever some of them did.
    mostly_near = verdict(staged(near, far, near), "2", f"{words} 75 %")
    assert (mostly_near.met, mostly_near.reached[:18]) == (True, "80.0 % (shared L3)")
    alike = verdict(staged(near, near), "2", f"{words} 75 %")
    assert alike.reached == "80.0 % (shared L3)"


def test_ratios_of_other_cases_are_of_medians() -> None:
    own = row_of("engine", "in-place", 1 << 25, 1.0, limit=(0.8,), dtype="bfloat16")
    gloo = row_of("peer", "gloo", 1 << 25, 30.0, dtype="float16")
    found = verdicts([own, gloo])
    assert verdict(found, "9", "64 MiB of bfloat16, shared buckets at least 75").met is True
    ratio = verdict(found, "9", "64 MiB of bfloat16, shared buckets at least 20x")
    assert (ratio.met, ratio.reached) == (True, "30.0x")


def test_computing_beside_calls_is_judged_by_what_it_loses() -> None:
    extra = {"alone_per_second": 100.0, "waking_per_second": 99.0, "beside_per_second": 97.0}
    beside = row_of("engine", "staged", 2, 50e-6, ranks=4, kind="beside", extra=extra)
    found = verdicts([beside])
    lost = verdict(found, "10", "computing loses at most 2 %")
    assert lost.met is False
    assert lost.reached.startswith("3.0 %")
    assert ", waking up alone 1.0 %; " in lost.reached
    assert verdict(found, "10", "thread in each of 4 ranks at most 100 us").met is True


def test_the_tail_is_told_with_what_the_host_took() -> None:
    small = row_of("python", "staged", 1024, 8e-6, extra={"stolen_percent": 2.54})
    tail = verdict(verdicts([small]), "5", "p99 at most 3x the median")
    assert (tail.met, tail.reached) == (True, "16.0 us, 2.0x; the host took 2.5 %")


def test_what_a_busy_machine_disturbed_is_not_judged() -> None:
    own = row_of("engine", "in-place", LARGE, 1.0, limit=(3.0,), trip_ns=400_000.0)
    share = verdict(verdicts([own]), "1", "64 MiB in shared buckets, 2 ranks at least 90 %")
    assert share.met is None
    assert share.reached == "300.0 % (unclear), but the machine was busy"
    extra = {"alone_per_second": 100.0, "waking_per_second": 99.0, "beside_per_second": 150.0}
    beside = row_of("engine", "staged", 2, 50e-6, ranks=4, kind="beside", extra=extra)
    lost = verdict(verdicts([beside]), "10", "computing loses at most 2 %")
    assert lost.met is None
    assert "busy" in lost.reached


def test_ranks_that_share_cores_count_as_a_placement() -> None:
    own = row_of("engine", "in-place", LARGE, 1.0, ranks=4, limit=(0.5,))
    found = verdicts([own])
    shared = verdict(found, "3", "shared cores")
    assert (shared.met, shared.reached) == (True, "50.0 % at 64 MiB, the lowest")
    assert verdict(found, "3", "same core").met is None
