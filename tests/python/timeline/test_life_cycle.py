"""Timelines come and go: by variable, by call, by option; wrong ones are refused in words."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest
import torch
import traces

import rueda as hvd


def _names(trace, rank):
    return [s.args["tensor"] for s in trace.of("request", rank) if s.args["op"] == "allreduce"]


def test_the_variable_records_from_init_to_shutdown(run_ranks, tmp_path):
    def main():
        for i in range(3):
            hvd.allreduce(torch.ones(i + 1), name=f"a{i}")

    path = tmp_path / "trace.json"
    run_ranks(3, main, env={"RUEDA_TIMELINE": str(path), "RUEDA_TIMELINE_MARK_CYCLES": "1"})
    trace = traces.Trace(path)
    assert trace.problems(3) == []
    for rank in range(3):
        assert _names(trace, rank) == ["a0", "a1", "a2"]
        assert rank in {of_rank for of_rank, _ in trace.marks}
        assert trace.metadata[rank]["complete"]
        assert trace.metadata[rank]["clock_offset_ns"] == 0
        assert abs(trace.metadata[rank]["clock_measured_ns"]) < 50_000_000


def test_a_script_that_ends_without_shutdown_leaves_a_whole_file(run_script, tmp_path):
    path = tmp_path / "trace.json"
    source = """
        import torch
        import rueda as hvd
        hvd.init()
        for i in range(5):
            hvd.allreduce(torch.ones(10), name=f"a{i}")
    """
    env = {"RUEDA_TIMELINE": str(path), "RUEDA_TIMELINE_MARK_CYCLES": "1"}
    finished = run_script("ruedarun", 2, source, env=env)
    assert finished.code == 0, finished.stderr
    trace = traces.Trace(path)
    assert trace.problems(2) == []
    assert trace.marks
    for rank in range(2):
        assert _names(trace, rank) == [f"a{i}" for i in range(5)]


@pytest.mark.parametrize("callers", ["all", "rank 0"])
def test_started_and_stopped_again_each_has_its_own_file(run_ranks, tmp_path, callers):
    def main(folder):
        calls = callers == "all" or hvd.rank() == 0
        for number in range(3):
            hvd.allreduce(torch.ones(1), name="outside")
            # What is still in flight when rank 0 starts is recorded: this barrier, on a slow rank.
            hvd.barrier()
            if calls:
                hvd.start_timeline(folder / f"{number}.json")
            hvd.barrier()
            for i in range(number + 1):
                hvd.allreduce(torch.ones(1), name=f"inside.{i}")
            hvd.barrier()
            if calls:
                hvd.stop_timeline()
            # Until rank 0 has stopped, what the others do is recorded.
            hvd.barrier()

    run_ranks(3, main, tmp_path, env={"RUEDA_TIMELINE": "DYNAMIC"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json", "2.json"]
    for number in range(3):
        trace = traces.Trace(tmp_path / f"{number}.json")
        assert trace.problems(3) == []
        for rank in range(3):
            assert _names(trace, rank) == [f"inside.{i}" for i in range(number + 1)]


def test_calls_that_have_nothing_to_do(run_ranks, tmp_path):
    def main(folder):
        hvd.stop_timeline()
        if hvd.rank() == 1:
            hvd.start_timeline("/nowhere/at/all")
            hvd.stop_timeline()
        hvd.barrier()
        return sorted(path.name for path in folder.iterdir())

    assert run_ranks(2, main, tmp_path) == [[], []]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such/folder/trace.json", "No such file or directory"),
        ("", "path is empty"),
        ("/", "directory"),
        ("/dev/null", "no ordinary file"),
        ("a\0b", "zero byte"),
    ],
)
def test_bad_paths_are_refused_and_nothing_is_lost(run_ranks, tmp_path, path, words):
    def main(good):
        if hvd.rank() == 0:
            with pytest.raises(ValueError, match=re.escape(words)):
                hvd.start_timeline(path)
        hvd.start_timeline(good)
        hvd.barrier()
        if hvd.rank() == 0:
            with pytest.raises(ValueError, match=f"{good.name}' already"):
                hvd.start_timeline(path)
        hvd.allreduce(torch.ones(1), name="kept")
        hvd.barrier()
        hvd.stop_timeline()

    good = tmp_path / "good.json"
    run_ranks(2, main, good)
    trace = traces.Trace(good)
    assert [_names(trace, rank) for rank in range(2)] == [["kept"], ["kept"]]


def test_a_bad_variable_ends_init_in_words(start_ranks):
    def main():
        hvd.init()
        hvd.barrier()

    job = start_ranks(
        2, main, init=False, interactive=False, env={"RUEDA_TIMELINE": "/no/such/folder/t.json"}
    )
    ended = job.all_ended()
    assert isinstance(ended[0].error, ValueError)
    assert "/no/such/folder/t.json" in str(ended[0].error)
    assert isinstance(ended[1].error, hvd.HorovodInternalError)
    assert "could not start its timeline" in str(ended[1].error)


def test_before_init_and_after_shutdown_it_is_said():
    for call in (lambda: hvd.start_timeline("x"), hvd.stop_timeline):
        with pytest.raises(hvd.HorovodInternalError, match="R102"):
            call()


def test_a_second_epoch_does_not_overwrite_the_first(run_ranks, tmp_path):
    def main():
        hvd.allreduce(torch.ones(1), name="first")
        hvd.shutdown()
        hvd.init()
        hvd.allreduce(torch.ones(1), name="second")

    run_ranks(2, main, env={"RUEDA_TIMELINE": str(tmp_path / "trace.json")})
    for file, name in (("trace.json", "first"), ("trace.2.json", "second")):
        trace = traces.Trace(tmp_path / file)
        assert [trace.metadata[rank]["complete"] for rank in range(2)] == [True, True]
        assert [_names(trace, rank) for rank in range(2)] == [[name], [name]]


def _ranks_with_requests(path):
    """Return whose requests are in a file that grows, as the trace numbers ranks."""
    found = re.findall(r'"pid":(\d+)[^}]*"cat":"request"', path.read_text(encoding="utf-8"))
    return {int(pid) for pid in found}


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("victim", [0, 1])
def test_after_a_rank_was_killed_the_file_can_be_read(start_ranks, tmp_path, victim, backend):
    def main(link):
        step = 0
        while True:
            hvd.allreduce(torch.ones(1000), name=f"step.{step % 10}")
            step += 1
            if step % 500 == 0:
                link.tell(step)

    path = tmp_path / "trace.json"
    env = {"RUEDA_TIMELINE": str(path), "RUEDA_BACKEND": backend}
    job = start_ranks(2, main, env=env)
    # Spans come to the file some time after they happened, one rank's after the other's.
    while not (path.exists() and _ranks_with_requests(path) == {1, 2}):
        job.hear(1)
    job.signal(victim, signal.SIGKILL)
    survivor = job.ended(1 - victim)
    assert isinstance(survivor.error, hvd.HorovodInternalError), survivor.traceback
    job.wait_until_empty()
    trace = traces.Trace(path)
    assert trace.problems(2) == []
    assert _names(trace, 0)
    assert _names(trace, 1)
    if victim == 1:
        assert not trace.metadata[1]["complete"]
        assert trace.of("request", 0)[-1].args["error"] == "R301"


def test_a_stopped_rank_holds_up_the_end_for_a_bounded_time(start_ranks, tmp_path):
    def main(link, path):
        hvd.start_timeline(path)
        hvd.allreduce(torch.ones(1), name="x")
        link.tell("ready")
        link.hear()
        hvd.stop_timeline()
        link.tell("stopped")
        link.hear()

    path = tmp_path / "trace.json"
    job = start_ranks(2, main, path)
    job.hear(0)
    job.hear(1)
    job.stop(1)
    job.tell(0, "go")
    assert job.hear(0) == "stopped"
    trace = traces.Trace(path)
    assert trace.metadata[0]["complete"]
    assert not trace.metadata[1]["complete"]
    assert _names(trace, 0) == ["x"]
    job.signal(1, signal.SIGCONT)
    for message in ("go", "go"):
        job.tell(1, message)
    job.tell(0, "go")
    assert [ended.error for ended in job.all_ended()] == [None, None]


def test_a_forked_child_cannot_start_one(run_ranks, tmp_path):
    def main(path):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                hvd.start_timeline(path)
            except hvd.HorovodInternalError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.waitpid(child, 0)
        return os.read(reader, 1000).decode()

    assert "R105" in run_ranks(1, main, tmp_path / "trace.json")[0]


def test_the_file_can_be_read_while_it_grows(start_ranks, tmp_path):
    def main(link):
        while link.hear() == "on":
            for i in range(100):
                hvd.allreduce_(torch.ones(10), name=f"a{i % 50}")
            link.tell("did")

    def read():
        # A reader may look in the middle of a write; between two it sees a whole file.
        deadline = time.monotonic() + 30
        while True:
            try:
                return len(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                assert time.monotonic() < deadline

    path = tmp_path / "trace.json"
    job = start_ranks(2, main, env={"RUEDA_TIMELINE": str(path)})
    sizes: set[int] = set()
    # Spans come to the file some time after they happened.
    until = time.monotonic() + 30
    while len(sizes) < 4 and time.monotonic() < until:
        for rank in range(2):
            job.tell(rank, "on")
        for rank in range(2):
            job.hear(rank)
        sizes.add(read())
    for rank in range(2):
        job.tell(rank, "off")
    job.results()
    assert len(sizes) == 4
    assert traces.Trace(path).problems(2) == []
