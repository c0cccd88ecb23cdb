"""Rows of the simulated control plane: medians, growth, text and goals."""

from __future__ import annotations

import pytest
from control_rows_by_hand import control_row

from rueda._bench.control_goals import control_verdicts
from rueda._bench.control_rows import control_values, median_step
from rueda._bench.control_settings import TOPOLOGIES, ControlSettings, Link
from rueda._bench.control_table import ControlTable, amount, control_cells, how_made
from rueda._bench.verdict import Verdict

TOPOLOGY = TOPOLOGIES[-1]


def test_the_median_step_is_one_that_was() -> None:
    row = control_row("cached", 2, 9.0, 1.0, 3.0, 2.0)
    step = median_step(row.steps)
    assert step.total == 2.0
    assert step.up + step.decide + step.down + step.plan == step.total


def test_growth_is_against_two_ranks_of_the_same_case() -> None:
    rows = [
        control_row("cached", 2, 2.0, bare=(1.0,)),
        control_row("mix", 2, 5.0),
        control_row("cached", 64, 6.0, bare=(10.0,)),
        control_row("sets", 64, 6.0),
    ]
    values = control_values(rows)
    assert values[2]["times_two_ranks"] == pytest.approx(3.0)
    assert values[2]["without_links_times_two_ranks"] == pytest.approx(10.0)
    assert values[3]["times_two_ranks"] is None
    assert values[2]["total_s"] == 6.0
    assert values[2]["samples_s"] == [6.0]
    assert values[2]["root_messages"] == 1023
    titles, cells = control_cells(rows)
    assert cells[2][titles.index("time x")] == "3.0"
    assert cells[3][titles.index("no links x")] == ""


@pytest.mark.parametrize("columns", [40, 80, 143, 144, 200, None])
def test_every_width_gets_a_table(columns: int | None) -> None:
    table = ControlTable(columns)
    rows, lines = [], []
    for case in ("uncached", "mix"):
        for ranks in (2, 1024):
            rows.append(control_row(case, ranks, 0.625735))
            lines += table.lines(rows)
    assert sum(line.strip().startswith(("2 ", "uncached star", "mix      star")) for line in lines)
    assert max(map(len, lines)) <= max(columns or 200, 80)
    narrow = columns is not None and columns < 144
    assert sum(line.startswith("uncached, star: the first step") for line in lines) == narrow
    assert sum("no links x" in line for line in lines) == 1 + narrow


def test_amounts_keep_three_digits() -> None:
    assert [
        amount(number) for number in (7, 9_999, 17_780, 999_499, 47_313_750, 1_893_937_500)
    ] == [
        *("7", "9999", "17.8k", "999k", "47.3M", "1.89G"),
    ]


def test_what_is_assumed_is_said() -> None:
    text = how_made(ControlSettings(between_hosts=Link(7.0, 0.0, 2.0), skew_us=40.0))
    assert "7 us, 2 us of CPU at either end between hosts" in text
    assert "0.2 us and 10 GB/s" in text
    assert "submitted within 40 us" in text


def judged(*rows: tuple[str, int, float]) -> list[Verdict]:
    made = [control_row(case, ranks, t, topology=TOPOLOGY) for case, ranks, t in rows]
    return control_verdicts("7", made)


def test_goals_of_the_control_plane_are_judged_each_by_its_figure() -> None:
    assert [one.met for one in judged()] == [None, None, None]
    good = judged(("cached", 2, 4e-6), ("cached", 1024, 48e-6), ("uncached", 1024, 9e-3))
    assert [one.met for one in good] == [True, True, True]
    assert good[1].reached.startswith("12.0x (48.00 us")
    bad = judged(("cached", 2, 6e-6), ("cached", 1024, 80e-6), ("uncached", 1024, 11e-3))
    assert [one.met for one in bad] == [False, False, False]
    assert bad[2].reached.startswith("11.0 ms")
    assert [one.met for one in judged(("cached", 2, 4e-6))] == [True, None, None]


def test_goals_are_not_judged_by_steps_that_a_busy_machine_stretched() -> None:
    row = control_row("cached", 2, 4e-6, bare=(4e-6, 4e-6, 9e-6, 9e-6), topology=TOPOLOGY)
    [cycle, *_] = control_verdicts("7", [row])
    assert cycle.met is None
    assert "the machine was busy" in cycle.reached
