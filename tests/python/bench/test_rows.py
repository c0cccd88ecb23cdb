"""The figures of a row, and how rows are printed and written."""

from __future__ import annotations

import json
import re

import pytest
from bench_rows import LIMIT, case_of, measured, row_of

from rueda._bench import placement
from rueda._bench.chart import NoChart, curves, write_chart
from rueda._bench.markdown import markdown
from rueda._bench.plan import Variant
from rueda._bench.report import Machine, Report, as_json
from rueda._bench.rows import Measured, Row, Sample, rows_of
from rueda._bench.text_table import WIDE, TextTable, micros, size_text

STAGED, GLOO = Variant("engine", "staged"), Variant("peer", "gloo")
MACHINE = Machine("a processor", 2, 1 << 34, "6.1", "3.11", {"rueda": "0.1.0"})


def report_of(*rows: Row) -> Report:
    return Report(MACHINE, "rueda bench", 3, "2020-01-01", 0.1, list(rows))


def test_rates_follow_from_bytes_and_time() -> None:
    row = row_of("engine", "staged", 250, 2e-6, 1e-6, 3e-6, ranks=4)
    assert row.time == 2e-6
    assert row.algbw == pytest.approx(1000 / 2e-6)
    assert row.busbw == pytest.approx(1.5 * row.algbw)


def test_percent_of_the_limit_is_taken_within_rounds() -> None:
    # The machine was twice as slow in the second round, for both.
    row = row_of("engine", "staged", 2, 2.0, 4.0, 2.0, limit=(1.0, 2.0, 1.0))
    assert row.limit_shares == [0.5, 0.5, 0.5]
    assert row.percent_of_limit == pytest.approx(50.0)
    assert row.limit_time == 1.0
    assert row_of("engine", "staged", 2, 2.0).percent_of_limit is None


def test_a_peer_is_compared_within_rounds() -> None:
    own = row_of("engine", "staged", 2, 1.0, 2.0, 1.0)
    peer = row_of("peer", "gloo", 2, 8.0, 16.0, 8.0)
    assert own.times_faster_than(peer) == pytest.approx(8.0)


def test_placements_are_told_apart() -> None:
    samples = (Sample(2.0, 120, 121), Sample(4.0, 220, 221), Sample(4.0, 120, 220))
    limit = measured(1.0, 1.0, 1.0)
    row = Row(case_of(2, STAGED), STAGED, 2, 2, Measured(samples), limit)
    assert row.sample_placements == [
        placement.SHARED_L3,
        placement.DIFFERENT_L3,
        placement.MOVED,
    ]
    assert row.percent_by_placement() == {placement.SHARED_L3: 50.0, placement.DIFFERENT_L3: 25.0}
    assert row.rounds_at(placement.DIFFERENT_L3) == [1]
    far = row.of_rounds([1])
    assert (far.time, far.placement, far.percent_of_limit) == (4.0, placement.DIFFERENT_L3, 25.0)
    crowded = Row(case_of(2, STAGED), STAGED, 4, 2, Measured(samples), limit)
    assert crowded.placement == placement.SHARED_CORES
    assert crowded.round_trip_ns == 0


def test_what_was_left_out_has_no_row() -> None:
    case = case_of(2, STAGED, GLOO)
    rows = rows_of(case, [measured(1.0), measured(2.0), Measured(remark="no Gloo")], 2, 2)
    assert [row.variant for row in rows] == [LIMIT, STAGED]
    assert rows[1].percent_of_limit == pytest.approx(50.0)


@pytest.mark.parametrize("columns", [80, 100, WIDE, None])
def test_tables_fit_their_width_and_align(columns: int | None) -> None:
    case = case_of(1 << 24, STAGED, GLOO)
    results = [measured(4e-3), measured(123456.7e-6), Measured(remark="it is not here " * 12)]
    lines = TextTable(columns, colour=False).case(case, rows_of(case, results, 2, 2), results)
    text = "\n".join(lines)
    width = columns or WIDE
    if columns is not None:
        assert max(map(len, lines)) <= width
    assert "engine staged" in text
    assert "67108864" in text or "64 MiB" in text
    assert "without torch Gloo: it is not here" in text
    title = next(line for line in lines if "algbw" in line)
    row = next(line for line in lines if "engine staged" in line)
    for name in ("time us", "algbw", "wrong", "% limit"):
        end = title.index(name) + len(name)
        assert row[end - 1] != " "
        assert row[end : end + 1] in ("", " ")


def test_a_reason_is_given_once() -> None:
    case = case_of(2, GLOO)
    results = [measured(1.0), Measured(remark="no Gloo")]
    table = TextTable(80, colour=False)
    assert "without torch Gloo: no Gloo" in table.case(case, rows_of(case, results, 2, 2), results)
    again = table.case(case, rows_of(case, results, 2, 2), results)
    assert not any("without" in line for line in again)


def test_a_file_gets_no_colours() -> None:
    case = case_of(2, STAGED)
    results = [measured(1.0), measured(2.0)]
    rows = rows_of(case, results, 2, 2)
    assert "\x1b" not in "".join(TextTable(None, colour=False).case(case, rows, results))
    assert "\x1b" in "".join(TextTable(80, colour=True).case(case, rows, results))


def test_sizes_and_times_are_short() -> None:
    assert [size_text(size) for size in (8, 4096, 1 << 26, 102228128, 1000)] == [
        "8 B",
        "4 KiB",
        "64 MiB",
        "102.2 MB",
        "1000 B",
    ]
    assert [micros(value) for value in (1.234e-7, 1.5e-4, 0.25)] == ["0.12", "150.0", "250000"]


def test_json_holds_figures_and_samples() -> None:
    row = row_of("engine", "staged", 2, 2e-6, 4e-6, limit=(1e-6, 2e-6), wrong=3)
    read = json.loads(json.dumps(as_json(report_of(row))))
    [found] = read["rows"]
    assert found["time_s"] == pytest.approx(3e-6)
    assert found["wrong"] == 3
    assert [sample["seconds"] for sample in found["samples"]] == [2e-6, 4e-6]
    assert read["machine"]["cores"] == 2


def test_markdown_is_a_table_of_equal_rows() -> None:
    text = markdown(report_of(row_of("engine", "staged", 2, 2e-6, limit=(1e-6,))))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert len({line.count("|") for line in table}) == 1
    assert re.search(r"\| engine staged \| 2\.00 \|", table[2])


def test_a_chart_needs_two_sizes(tmp_path) -> None:
    one = row_of("engine", "staged", 2, 2.0, limit=(1.0,))
    two = row_of("engine", "staged", 4, 2.0, limit=(1.0,))
    assert curves([one]) == {}
    assert curves([two, one]) == {"engine staged": [(8, 50.0), (16, 50.0)]}
    with pytest.raises(NoChart, match="two sizes"):
        write_chart(tmp_path / "a.png", [one], "a title")


def test_a_chart_without_matplotlib_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    rows = [row_of("engine", "staged", count, 2.0, limit=(1.0,)) for count in (2, 4)]
    with pytest.raises(NoChart, match="pip install matplotlib"):
        write_chart(tmp_path / "a.png", rows, "a title")


def test_a_chart_is_drawn_where_matplotlib_is(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    rows = [row_of("engine", "staged", count, 2.0, limit=(1.0,)) for count in (2, 4)]
    write_chart(tmp_path / "a.png", rows, "a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_busy_machine_is_named() -> None:
    quiet, busy = report_of(), report_of()
    busy.load = 17.0
    assert quiet.busy == ""
    assert "load average 17.0 on 2 cores" in busy.busy
