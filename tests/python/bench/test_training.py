"""Figures of training steps follow from steps with and without communication, and from no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_rows import measured, row_of

from rueda._bench.goals import verdicts
from rueda._bench.markdown import markdown
from rueda._bench.plan import BARE, STEP, plan_cases
from rueda._bench.report import Machine, Report, as_json
from rueda._bench.rows import Row, rows_of
from rueda._bench.settings import Settings
from rueda._bench.text_table import TextTable
from rueda._bench.training import TrainingRow, ddp_beside, line_of, training_rows
from rueda._bench.verdict import Verdict

MACHINE = Machine("a processor", 2, 1 << 34, "6.1", "3.11", {"rueda": "0.1.0"})


def steps(road: str, whole: tuple[float, ...], bare: tuple[float, ...]) -> list[Row]:
    """Return a road's two rows, of two ranks and ResNet-50."""
    return [
        replace(row, case=replace(row.case, model="resnet50", compute_ms=200))
        for row in (
            row_of(STEP, road, 100, *whole, kind="train"),
            row_of(BARE, road, 100, *bare, kind="train"),
        )
    ]


ALONE = steps("alone", (0.200, 0.230, 0.210), (0.020, 0.024, 0.021))
RUEDA = steps("rueda", (0.206, 0.236, 0.218), (0.030, 0.033, 0.033))
DDP = steps("ddp", (0.250, 0.283, 0.260), (0.080, 0.084, 0.081))


def line(rows: list[Row], road: str) -> TrainingRow:
    found = line_of(training_rows(rows), road)
    assert found is not None
    return found


def test_differences_are_taken_within_a_round() -> None:
    rueda = line(ALONE + RUEDA, "rueda")
    # A round in which everything was slow changes nothing.
    assert rueda.exposed == pytest.approx(0.006)
    assert rueda.communication == pytest.approx(0.010)
    assert rueda.overlap == pytest.approx(0.4)
    assert rueda.lost_percent == pytest.approx(3.0)


def test_communication_is_compared_with_ddp_of_the_same_kind() -> None:
    lines = training_rows(ALONE + RUEDA + DDP)
    rueda = line(ALONE + RUEDA + DDP, "rueda")
    ddp = ddp_beside(lines, rueda)
    assert ddp is not None
    assert rueda.times_faster_than(ddp) == pytest.approx(6.0)
    assert ddp.times_faster_than(ddp) == pytest.approx(1.0)
    kept = steps("alone-kept", (0.2,), (0.02,)) + steps("rueda-kept", (0.2,), (0.02,))
    assert ddp_beside(training_rows(DDP + kept), line(kept, "rueda-kept")) is None


def test_what_was_not_measured_has_no_figure() -> None:
    without = line(RUEDA, "rueda")
    assert without.exposed is without.lost_percent is without.communication is None
    assert without.overlap is None
    alone = line(ALONE, "alone")
    assert alone.exposed is alone.communication is alone.overlap is None
    # Nothing is hidden of what takes no time.
    nothing = steps("rueda", (0.2, 0.23, 0.2), (0.02, 0.024, 0.021))
    assert line(ALONE + nothing, "rueda").overlap is None


@pytest.mark.parametrize("columns", [80, None])
def test_the_table_has_a_line_for_each_road(columns: int | None) -> None:
    rows = ALONE + RUEDA + DDP
    case = rows[0].case
    shown = TextTable(columns, colour=False).case(case, rows, [measured() for _ in case.variants])
    assert "steps of resnet50 that compute 200 ms" in shown[1]
    text = {words[0]: words for words in map(str.split, shown[2:])}
    assert text["alone"][1] == "210.0"
    assert text["rueda"][1:8] == ["218.0", "210.0", "6.0", "3.0", "10.0", "40", "%"]
    assert text["rueda"][8] == "6.0x"
    assert max(map(len, shown)) <= (columns or 120)
    assert ("shared L3" in shown[1]) == (columns == 80)


def test_json_and_markdown_keep_training_apart_from_messages() -> None:
    report = Report(MACHINE, "rueda bench --train", 3, "now", 0.0, rows=ALONE + RUEDA + DDP)
    values = as_json(report)
    assert values["rows"] == []
    assert [one["label"] for one in values["training"]] == ["alone", "rueda", "DDP(gloo)"]
    own = values["training"][1]
    assert own["exposed_s"] == pytest.approx(0.006)
    assert own["step_samples_s"] == [0.206, 0.236, 0.218]
    page = markdown(report)
    assert "| rueda | 218.0 | 210.0 | 6.0 | 3.0 | 10.0 | 40 % | 6.0x | 0 |" in page
    assert "busbw" not in page


def judged(rows: list[Row], words: str) -> Verdict:
    [one] = [
        verdict
        for verdict in verdicts(rows)
        if verdict.goal == "8" and words in f"{verdict.what} {verdict.target}"
    ]
    return one


def test_the_goal_is_judged_by_communication_and_by_what_a_step_loses() -> None:
    rows = ALONE + RUEDA + DDP
    ddp = judged(rows, "None communication at least 5x faster than DDP(gloo)")
    assert (ddp.met, ddp.reached) == (True, "6.0x (10.0 ms)")
    lost = judged(rows, "None below 5 %")
    assert (lost.met, lost.reached) == (True, "3.0 % of 210 ms")
    assert judged(rows, "faster than Horovod").met is None
    assert judged(rows, "zeros below 5 %").met is None
    slow = steps("rueda", (0.220, 0.253, 0.231), (0.040, 0.060, 0.041))
    assert judged(ALONE + slow + DDP, "None below 5 %").met is False
    assert judged(ALONE + slow + DDP, "None communication at least 5x").met is False


def test_steps_that_show_nothing_are_not_judged() -> None:
    short = steps("alone", (0.1,), (0.02,)) + steps("rueda", (0.2,), (0.03,))
    assert judged(short, "None below 5 %").met is None
    gained = steps("alone", (0.3,), (0.02,)) + steps("rueda", (0.2,), (0.03,))
    assert judged(gained, "None below 5 %").met is None
    mlp = [replace(row, case=replace(row.case, model="mlp")) for row in ALONE + RUEDA + DDP]
    assert {judged(mlp, words).met for words in ("None below", "zeros below")} == {None}
    unsteady = steps("alone", (0.2, 0.3, 0.4), (0.02, 0.02, 0.02))
    lost = judged(
        unsteady + steps("rueda", (0.204, 0.306, 0.408), (0.03, 0.03, 0.03)), "None below"
    )
    assert lost.met is None
    assert lost.reached == "2.0 % of 300 ms, but the machine was busy (alone 250 to 350 ms)"
    nothing = steps("rueda", (0.2, 0.23, 0.2), (0.02, 0.024, 0.021))
    assert judged(ALONE + nothing + DDP, "None communication at least 5x").met is None


def test_horovod_is_judged_by_the_slower_of_its_roads_first() -> None:
    def against(bare: tuple[float, ...]) -> bool | None:
        return judged(ALONE + RUEDA + steps("horovod", bare, bare), "Horovod").met

    assert against((0.130, 0.150, 0.131)) is True
    assert against((0.060, 0.080, 0.061)) is False
    # Enough if it ran on MPI, which nothing here tells.
    assert against((0.090, 0.110, 0.091)) is None


def test_peers_that_are_not_asked_for_are_not_planned() -> None:
    settings = Settings(workloads=("train",), peers=("openmpi",))
    [case] = plan_cases(settings)
    assert [variant.label for variant in case.variants[::2]] == [
        *("alone", "rueda", "alone, kept", "rueda, kept")
    ]
    [case] = plan_cases(replace(settings, peers=("gloo", "horovod"), model="mlp", compute_ms=7))
    assert "Horovod" in {variant.label for variant in case.variants}
    assert (case.model, case.compute_ms, len(case.shapes)) == ("mlp", 7, 8)
    results = [measured(1.0, 1.0) for _ in case.variants]
    assert len(training_rows(rows_of(case, results, 2, 2))) == len(case.variants) // 2
