"""What a host takes from its guests is read as the kernel writes it."""

from __future__ import annotations

import pytest

from rueda._bench.report import Report, this_machine
from rueda._bench.stolen import StolenTime, stolen_ticks

STAT = """\
cpu  3000 1 20 4000 5 0 7 111 0 0
cpu0 1000 1 10 2000 5 0 7 60 0 0
cpu1 1000 0 10 2000 0 0 0 50 0 0
cpu12 1000 0 0 0 0 0 0 1 0 0
intr 99 1 2 3 4 5 6 7 8 9
cpufreq 1 2 3 4 5 6 7 8 9
"""


@pytest.mark.parametrize(
    ("processors", "ticks"),
    [((0, 1, 12), 111), ((0,), 60), ((1,), 50), ((2,), 0), ((), 0)],
)
def test_the_processors_that_count_are_added_up(processors: tuple[int, ...], ticks: int) -> None:
    assert stolen_ticks(STAT, processors) == ticks


@pytest.mark.parametrize("stat", ["", "\n", "cpu0 1000 1 10 2000 5 0 7\n"])
def test_a_kernel_that_does_not_count_it_tells_nothing(stat: str) -> None:
    assert stolen_ticks(stat, (0,)) == 0


def test_what_is_entered_twice_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stolen = iter([10.0, 12.0, 20.0, 22.0]), iter([1.0, 1.5, 3.0, 3.5])
    watch = StolenTime()
    monkeypatch.setattr(watch, "_processors", {0, 1})
    monkeypatch.setattr(watch, "_now", lambda: next(stolen))
    monkeypatch.setattr("rueda._bench.stolen.time.perf_counter", lambda: next(clock))
    assert watch.percent == 0
    with watch:
        pass
    with watch:
        pass
    # One second of two processors' four each.
    assert watch.percent == pytest.approx(12.5)


def test_this_machine_is_read() -> None:
    with StolenTime() as watch:
        sum(range(1000))
    assert watch.percent >= 0


def test_a_run_says_how_much_was_stolen_where_it_matters() -> None:
    def of(percent: float) -> str:
        return Report(this_machine(), "rueda bench", 3, "", 0.0, stolen_percent=percent).stolen

    assert of(0.2) == ""
    assert "for 3.1 % of the run" in of(3.14)
