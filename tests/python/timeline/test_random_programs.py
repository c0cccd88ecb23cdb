"""Whatever ranks do, the trace is in order: random programs, recorded at random times."""

from __future__ import annotations

import random
import secrets

import program_runner
import pytest
import random_programs
import traces

import rueda as hvd

_COUNTS = {
    ("shm", 1): 10,
    ("shm", 2): 20,
    ("shm", 3): 20,
    ("shm", 4): 15,
    ("gloo", 2): 10,
    ("gloo", 3): 10,
}
_DEADLINE_SECONDS = 60.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("backend", "size"), _COUNTS)
def test_random_programs_leave_traces_in_order(start_ranks, tmp_path, report_figure, backend, size):
    run_program = program_runner.run_program

    def main(link):
        while (order := link.hear()) is not None:
            path, program, marks = order
            # Rank 0 starts and stops while the others may be at work already, or still.
            if hvd.rank() == 0:
                hvd.start_timeline(path, mark_cycles=marks)
            problems = run_program(program)["problems"]
            if hvd.rank() == 0:
                hvd.stop_timeline()
            link.tell(problems)

    number = secrets.randbits(32)
    # Before they run, so that the seed is there if they hang.
    count = _COUNTS[backend, size]
    report_figure(f"recorded programs ({backend}, {size}), seed {number}: {count}")
    env = {"RUEDA_DYNAMIC_PROCESS_SETS": "1", "RUEDA_BACKEND": backend}
    job = start_ranks(size, main, env=env, deadline=_DEADLINE_SECONDS)
    path = tmp_path / "trace.json"

    def check(program):
        job.renew_deadline()
        marks = random.Random(program["seed"]).random() < 0.5
        for rank in range(size):
            job.tell(rank, (path, program, marks))
        assert [job.hear(rank) for rank in range(size)] == [[]] * size
        trace = traces.Trace(path)
        assert trace.problems(size) == []
        assert all(of_rank["dropped_spans"] == 0 for of_rank in trace.metadata.values())
        assert all(of_rank["complete"] for of_rank in trace.metadata.values())
        assert marks or not trace.marks

    random_programs.check_each(size, count, number, check)
    for rank in range(size):
        job.tell(rank, None)
    job.results()
