from __future__ import annotations

import random
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda.launch.crash import CrashReport
from rueda.launch.verdict import Evidence, Exit, evidence_of, find_cause


def error(rank: int) -> CrashReport:
    return CrashReport(rank, "h", 100 + rank, "ValueError", "bad", "Traceback", 1, None, False)


def lost(rank: int, blames: int | None) -> CrashReport:
    return CrashReport(rank, "h", 100 + rank, "RuedaError", "lost", "Traceback", 1, blames, True)


def test_nobody_failed() -> None:
    assert find_cause([Exit(0, 0, 1.0), Exit(1, 0, 0.1)]) is None
    assert find_cause([]) is None


def test_ranks_that_the_launcher_ended_are_no_cause() -> None:
    assert find_cause([Exit(0, 0, 1.0), Exit(1, -15, 2.0, stopped=True)]) is None


def test_a_death_by_signal_comes_before_earlier_victims() -> None:
    exits = [
        Exit(0, 1, 1.0, report=lost(0, 2)),
        Exit(1, 1, 1.1, report=lost(1, 2)),
        Exit(2, -9, 1.5),
    ]
    verdict = find_cause(exits)
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (2, 137)
    assert "2 other ranks lost it" in verdict.reason


def test_a_death_by_signal_comes_before_an_earlier_error() -> None:
    verdict = find_cause([Exit(0, 1, 1.0, report=error(0)), Exit(1, -11, 9.0)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 139)


def test_an_error_of_its_own_comes_before_a_bare_exit_code() -> None:
    verdict = find_cause([Exit(0, 7, 1.0), Exit(1, 3, 2.0, report=error(1))])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 3)


def test_a_bare_exit_code_comes_before_victims() -> None:
    verdict = find_cause([Exit(0, 1, 1.0, report=lost(0, 1)), Exit(1, 5, 2.0)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 5)


def test_a_victim_that_aborts_afterwards_stays_a_victim() -> None:
    verdict = find_cause([Exit(0, -6, 1.0, report=lost(0, 1)), Exit(1, 5, 2.0)])
    assert verdict is not None
    assert verdict.cause == 1


def test_between_equals_the_one_whom_victims_name_is_the_cause() -> None:
    exits = [Exit(0, 1, 1.0), Exit(1, 2, 2.0), Exit(2, 1, 3.0, report=lost(2, 1))]
    verdict = find_cause(exits)
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 2)


def test_time_decides_last() -> None:
    verdict = find_cause([Exit(0, 1, 2.0), Exit(1, 2, 1.0), Exit(2, 3, 1.0)])
    assert verdict is not None
    assert verdict.cause == 1


def test_a_rank_that_hung_is_the_cause_when_all_victims_name_it() -> None:
    exits = [
        Exit(0, 1, 1.0, report=lost(0, 1)),
        Exit(1, -9, 6.0, stopped=True),
        Exit(2, 4, 1.1, report=lost(2, 1)),
    ]
    verdict = find_cause(exits)
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 1)
    assert "showed no error of its own and did not end" in verdict.reason


def test_a_rank_that_raised_and_was_ended_on_its_way_out_has_the_code_it_would_have_had() -> None:
    exits = [
        Exit(0, -15, 2.0, stopped=True, report=lost(0, 1)),
        Exit(1, -15, 2.1, stopped=True, report=error(1)),
    ]
    verdict = find_cause(exits)
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 1)


def test_when_all_are_ended_on_their_way_out_the_code_is_still_that_of_an_error() -> None:
    exits = [
        Exit(0, -15, 2.0, stopped=True, report=lost(0, 1)),
        Exit(1, -15, 2.1, stopped=True),
    ]
    verdict = find_cause(exits)
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 1)


def test_a_rank_that_left_early_is_the_cause_when_the_others_needed_it() -> None:
    verdict = find_cause([Exit(0, 1, 2.0, report=lost(0, 1)), Exit(1, 0, 1.0)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (1, 1)
    assert "exit code 0 while others still needed it" in verdict.reason


def test_victims_that_name_each_other_have_the_most_named_as_cause() -> None:
    exits = [
        Exit(0, 1, 1.0, report=lost(0, 1)),
        Exit(1, 1, 2.0, report=lost(1, 0)),
        Exit(2, 1, 3.0, report=lost(2, 1)),
    ]
    verdict = find_cause(exits)
    assert verdict is not None
    assert verdict.cause == 1


def test_a_victim_that_names_nobody_is_better_than_nothing() -> None:
    verdict = find_cause([Exit(0, 1, 1.0, report=lost(0, None)), Exit(1, 0, 0.5)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (0, 1)


def test_an_error_before_the_launcher_stopped_it_counts() -> None:
    verdict = find_cause([Exit(0, -15, 3.0, stopped=True, report=error(0)), Exit(1, 0, 1.0)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (0, 1)


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        (137, Evidence.SIGNAL),
        (139, Evidence.SIGNAL),
        (143, Evidence.EXIT_CODE),
        (1, Evidence.EXIT_CODE),
    ],
)
def test_exit_codes_of_shells_stand_for_crashes(code: int, evidence: Evidence) -> None:
    assert evidence_of(Exit(0, code, 1.0)) is evidence


def test_a_wrong_exit_code_in_a_report_does_not_become_success() -> None:
    for code in (0, 256, -300, 10**9):
        report = CrashReport(0, "h", 1, "E", "m", "t", code, None, False)
        verdict = find_cause([Exit(0, 0, 1.0, report=report)])
        assert verdict is not None
        assert 1 <= verdict.code <= 255


@st.composite
def exit_lists(draw: st.DrawFn) -> list[Exit]:
    size = draw(st.integers(1, 6))
    result = []
    for rank in range(size):
        report = draw(
            st.none()
            | st.just(error(rank))
            | st.builds(lost, st.just(rank), st.none() | st.integers(0, size - 1))
        )
        # A report comes from a process that fails; one without may have ended well.
        codes = [1, 2, 137, -6, -9, -11, -15] if report else [0, 0, 1, 2, 137, -6, -9, -15]
        result.append(
            Exit(
                rank,
                draw(st.sampled_from(codes)),
                draw(st.sampled_from([0.1, 0.5, 1.0, 2.0])),
                draw(st.booleans()),
                report,
            )
        )
    return result


@given(exit_lists(), st.randoms())
def test_the_order_in_which_exits_are_listed_does_not_matter(
    exits: list[Exit], rng: random.Random
) -> None:
    shuffled = list(exits)
    rng.shuffle(shuffled)
    assert find_cause(shuffled) == find_cause(exits)


@given(exit_lists())
def test_a_failed_job_never_ends_with_success(exits: list[Exit]) -> None:
    verdict = find_cause(exits)
    failed = any(evidence_of(end) is not Evidence.NONE for end in exits)
    assert (verdict is not None) == failed
    if verdict is not None:
        assert 1 <= verdict.code <= 255
        assert verdict.reason
        assert verdict.cause in {end.rank for end in exits}


@given(exit_lists())
def test_no_rank_with_weaker_evidence_is_preferred(exits: list[Exit]) -> None:
    verdict = find_cause(exits)
    strongest = min(evidence_of(end) for end in exits)
    if strongest < Evidence.VICTIM:
        assert verdict is not None
        cause = next(end for end in exits if end.rank == verdict.cause)
        assert evidence_of(cause) is strongest


@given(exit_lists(), st.integers(0, 5))
def test_a_lone_death_by_signal_is_always_the_cause(exits: list[Exit], chosen: int) -> None:
    chosen %= len(exits)
    others = [end for end in exits if evidence_of(end) is not Evidence.SIGNAL]
    others = [end for end in others if end.rank != chosen]
    verdict = find_cause([*others, Exit(chosen, -signal.SIGSEGV, 99.0)])
    assert verdict is not None
    assert (verdict.cause, verdict.code) == (chosen, 139)


@given(exit_lists(), st.floats(0.001, 1000))
def test_the_scale_of_time_does_not_matter(exits: list[Exit], factor: float) -> None:
    scaled = [
        Exit(end.rank, end.code, end.seconds * factor, end.stopped, end.report) for end in exits
    ]
    assert find_cause(scaled) == find_cause(exits)
