"""Percentiles, factors and how samples grow."""

from __future__ import annotations

import pytest

from rueda._bench import placement
from rueda._bench.statistics import (
    MOST_CALLS,
    block_of,
    bus_factor,
    calls_after,
    calls_for,
    median,
    paired_ratios,
    percentile,
)


def test_percentiles_interpolate_between_the_nearest_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert percentile(values, 0) == 1.0
    assert percentile(values, 100) == 4.0
    assert percentile(values, 10) == pytest.approx(1.3)
    assert median(values) == 2.5
    assert median([7.0]) == 7.0


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("collective", "ranks", "factor"),
    [
        ("allreduce", 1, 0.0),
        ("allreduce", 2, 1.0),
        ("allreduce", 4, 1.5),
        ("allgather", 4, 0.75),
        ("reducescatter", 2, 0.5),
        ("broadcast", 3, 1.0),
        ("broadcast", 1, 0.0),
    ],
)
def test_bus_factors_are_those_of_nccl_tests(collective: str, ranks: int, factor: float) -> None:
    assert bus_factor(collective, ranks) == factor


def test_ratios_pair_the_samples_of_a_round() -> None:
    assert paired_ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        paired_ratios([1.0], [1.0, 2.0])


def test_a_sample_grows_until_it_is_long_enough_to_be_believed() -> None:
    assert calls_for(1, 1e-6, 0.01) == (16, False)
    calls, settled = calls_for(4096, 1e-6, 0.01)
    assert settled
    assert calls == pytest.approx(10_000, abs=1)
    assert calls_for(1, 0.05, 0.01) == (1, True)


def test_a_sample_that_was_over_too_soon_is_followed_by_a_longer_one() -> None:
    # Found out while a call took 40 us, which takes one.
    assert calls_after(256, 40e-6, 0.01) == 256
    assert calls_after(256, 1e-6, 0.01) == 16 * 256
    assert calls_after(16 * 256, 1e-6, 0.01) == 10_000
    assert calls_after(10_000, 1e-6, 0.01) == 10_000
    assert calls_after(10_000, 0.6e-6, 0.01) == 10_000
    assert calls_after(1, 0.2, 0.01) == 1


def test_a_sample_never_has_more_than_the_most_calls() -> None:
    assert calls_for(MOST_CALLS, 1e-9, 10.0) == (MOST_CALLS, True)


def test_blocks_are_long_against_the_clock_and_few() -> None:
    assert block_of(100, 1e-3) == 1
    assert block_of(100, 1e-7) == 20
    assert block_of(100_000, 1e-3) == 100


@pytest.mark.parametrize(
    ("nanoseconds", "word"),
    [
        (29.0, placement.SAME_CORE),
        (120.0, placement.SHARED_L3),
        (220.0, placement.DIFFERENT_L3),
        (400_000.0, placement.UNCLEAR),
    ],
)
def test_a_round_trip_names_the_placement(nanoseconds: float, word: str) -> None:
    assert placement.placement_of(nanoseconds) == word
    assert placement.placement_of_sample(nanoseconds, nanoseconds) == word


def test_a_sample_whose_probes_differ_has_moved() -> None:
    assert placement.placement_of_sample(29.0, 220.0) == placement.MOVED


def test_ranks_that_share_cores_are_not_probed() -> None:
    assert placement.without_probe(1, 2) == placement.ONE_RANK
    assert placement.without_probe(2, 2) == ""
    assert placement.without_probe(4, 2) == placement.SHARED_CORES
