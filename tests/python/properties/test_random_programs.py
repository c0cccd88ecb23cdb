"""Random programs on 1 to 4 ranks give what one process works out: 500 of them a run.

The ranks live on from program to program. On a failure hypothesis looks for a smaller program and
prints it; the seed, printed for each run, gives the same programs again.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator

import program_runner
import pytest
import random_programs

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}
_COUNTS = {
    ("shm", 1): 40,
    ("shm", 2): 120,
    ("shm", 3): 140,
    ("shm", 4): 120,
    ("gloo", 2): 30,
    ("gloo", 3): 30,
    ("gloo", 4): 20,
}
_DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def totals(report_figure: Callable[[str], None]) -> Iterator[Counter[str]]:
    """How many programs were "checked" in all, and how many were found "wrong"."""
    counts: Counter[str] = Counter()
    yield counts
    report_figure(f"random programs in all: {counts['checked']}, {counts['wrong']} wrong")


def test_five_hundred_programs_are_run():
    assert sum(_COUNTS.values()) == 500


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("backend", "size"), _COUNTS)
def test_programs_give_what_one_process_works_out(
    start_ranks, full_size, totals, report_figure, backend, size
):
    run_program = program_runner.run_program

    def main(link):
        while (program := link.hear()) is not None:
            link.tell(run_program(program))

    number = secrets.randbits(32)
    count = _COUNTS[backend, size] * (10 if full_size else 1)
    print(f"seed {number}")  # for the case that they hang
    before = totals.copy()
    job = start_ranks(
        size, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend}, deadline=_DEADLINE_SECONDS
    )

    def check(program):
        totals.update(checked=1, wrong=1)
        job.renew_deadline()
        for rank in range(size):
            job.tell(rank, program)
        told = [job.hear(rank) for rank in range(size)]
        problems = {rank: one["problems"] for rank, one in enumerate(told) if one["problems"]}
        assert not problems
        lasts = {}
        for one in told:
            for number_of_round, last in one["lasts"]:
                assert lasts.setdefault(number_of_round, last) == last
        totals.subtract(wrong=1)

    try:
        random_programs.check_each(size, count, number, check)
    finally:
        report_figure(
            f"random programs ({backend}, {size}), seed {number}: "
            f"{totals['checked'] - before['checked']}, {totals['wrong'] - before['wrong']} wrong"
        )
    assert totals["checked"] - before["checked"] >= count
    for rank in range(size):
        job.tell(rank, None)
    job.results()
