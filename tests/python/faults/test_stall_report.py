"""What is said when ranks are waited for: by whom, of whom, how often, and that it is over."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import threading

import pytest
import torch

import rueda as hvd

_HOST = os.uname().nodename
_CHECK = {"RUEDA_STALL_CHECK_TIME_SECONDS": "0.3"}


@pytest.fixture(params=["shm", "gloo", "network"])
def road(request, tmp_path):
    """The environment of each way in which ranks of this host can meet."""
    if request.param != "network":
        return {"RUEDA_BACKEND": request.param, **_CHECK}
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    return {"RUEDA_SECRET_FILE": str(secret), **_CHECK}


@pytest.fixture
def start(start_ranks, road, free_port):
    """Start ranks over the road."""

    def go(size, main, *arguments, **env):
        network = "RUEDA_SECRET_FILE" in road
        meeting = {"RUEDA_RENDEZVOUS": f"127.0.0.1:{free_port()}"} if network else {}
        return start_ranks(size, main, *arguments, env={**road, **meeting, **env})

    return go


@pytest.fixture
def free_port():
    """Return a port that nobody uses; rank 0 listens there a moment later."""

    def find():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


def _reports(text):
    """Return the reports in a rank's output, each with its lines."""
    reports = []
    for line in text.splitlines():
        if line.startswith("[rueda, rank"):
            reports.append([line])
        elif reports and line.startswith("  "):
            reports[-1].append(line)
    return ["\n".join(lines) for lines in reports]


def _withhold_data(link):
    link.tell("here")
    link.hear()


def _one_rank_withholds(link):
    hvd.allreduce(torch.ones(3), name="warm")
    if hvd.rank() == 1:
        _withhold_data(link)
    return hvd.allreduce(torch.ones(1), name="late", op=hvd.Sum).item()


def test_a_rank_elsewhere_in_python_is_shown_with_its_stack(start):
    job = start(3, _one_rank_withholds)
    assert job.hear(1) == "here"
    job.wait_for_output(0, "next report in")
    text = _reports(job.output(0))[0]
    assert text.startswith("[rueda, rank 0] warning: stalled for ")
    assert f"allreduce 'late' waits for rank 1 (pid {job.pids[1]} on {_HOST}), which is in" in text
    assert "its last collective was number 1, allreduce 'warm', " in text
    assert "in _withhold_data" in text
    assert "link.hear()" in text
    assert "rank 2" not in text
    job.tell(1, "go")
    assert job.results() == [3.0, 3.0, 3.0]
    reports = _reports(job.output(0))
    assert "resumed after " in reports[-1]
    assert sum("resumed" in report for report in reports) == 1
    assert _reports(job.output(1)) == _reports(job.output(2)) == []


def test_rank_zero_may_be_the_one_that_is_missing(start):
    def main(link):
        if hvd.rank() == 0:
            _withhold_data(link)
        return hvd.allreduce(torch.ones(1), name="late", op=hvd.Sum).item()

    job = start(2, main)
    assert job.hear(0) == "here"
    job.wait_for_output(0, "next report in")
    text = job.output(0)
    assert "'late' waits for rank 0 (" in text
    assert "in _withhold_data" in text
    assert "it has taken part in no collective yet" in text
    job.tell(0, "go")
    assert job.results() == [2.0, 2.0]


def test_a_rank_whose_native_code_holds_the_lock_is_busy(start):
    def main(link):
        hvd.allreduce(torch.ones(3), name="warm")
        if hvd.rank() == 1:
            link.tell("here")
            # PyDLL keeps the lock during the call, which ends when the test sends a word.
            waited_for = ctypes.create_string_buffer(
                struct.pack("ihh", link.fileno(), select.POLLIN, 0)
            )
            ctypes.PyDLL(None).poll(waited_for, 1, -1)
        return hvd.allreduce(torch.ones(1), name="late", op=hvd.Sum).item()

    job = start(2, main)
    assert job.hear(1) == "here"
    job.wait_for_output(0, "next report in")
    text = job.output(0)
    assert "is busy: its engine answers, but its Python does not; native code holds" in text
    assert "its last collective was number 1, allreduce 'warm', " in text
    job.tell(1, "go")
    assert job.results() == [2.0, 2.0]


def test_a_stopped_rank_is_told_from_a_busy_one_and_goes_on(start):
    def main(link):
        hvd.allreduce(torch.ones(3), name="warm")
        link.tell("here")
        link.hear()
        return hvd.allreduce(torch.ones(1), name="late", op=hvd.Sum).item()

    job = start(2, main)
    assert job.hear(0) == job.hear(1) == "here"
    job.stop(1)
    job.tell(0, "go")
    job.tell(1, "go")
    job.wait_for_output(0, "next report in")
    pid = job.pids[1]
    assert f"is stopped (by SIGSTOP or Ctrl-Z; kill -CONT {pid} continues it)" in job.output(0)
    job.signal(1, signal.SIGCONT)
    assert job.results() == [2.0, 2.0]
    assert "resumed after" in job.output(0)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_a_rank_that_is_stopped_in_the_middle_of_its_work_is_named(start_ranks, stopped, backend):
    def main(link):
        own = torch.ones(1_000_000)
        link.tell("go")
        while True:
            hvd.allreduce_(own, name="x", op=hvd.Average)
            has_word = torch.tensor([int(bool(select.select([link], [], [], 0)[0]))])
            if hvd.allreduce(has_word, name="has word", op=hvd.Max).item():
                return

    job = start_ranks(3, main, env={"RUEDA_BACKEND": backend, **_CHECK})
    for rank in range(3):
        job.hear(rank)
    job.stop(stopped)
    # Whether it stops inside a bucket, before its next offer, or, as rank 0, before its answer: the
    # lowest rank that can tell does.
    speaker = 1 if stopped == 0 else 0
    job.wait_for_output(speaker, f"kill -CONT {job.pids[stopped]} continues it")
    assert f"rank {stopped} (pid {job.pids[stopped]} on {_HOST})" in job.output(speaker)
    job.signal(stopped, signal.SIGCONT)
    job.tell(speaker, "end")
    job.results()
    assert "resumed after" in job.output(speaker)
    if backend == "shm":  # a ring's members wait for each other, too
        assert _reports(job.output(({0, 1, 2} - {stopped, speaker}).pop())) == []


def test_a_rank_that_has_ended_its_script_is_told_from_a_busy_one(start_ranks):
    def main(link):
        hvd.init()
        hvd.allreduce(torch.ones(1), name="step")
        if hvd.rank() == 1:
            threading.Thread(target=link.hear).start()  # Python waits for it before it exits
            return
        hvd.allreduce(torch.ones(1), name="step")

    job = start_ranks(2, main, init=False, full_exit=True, env=_CHECK)
    job.wait_for_output(0, "next report in")
    assert "which has ended its script; Python waits for its other threads" in job.output(0)
    assert "its last collective was number 1, allreduce 'step', " in job.output(0)
    job.tell(1, "go")
    assert job.ended(0).error.code == "R202", job.describe()


def test_a_rank_that_has_joined_is_not_named(start_ranks):
    def main(link):
        if hvd.rank() == 2:
            _withhold_data(link)
        if hvd.rank() != 1:
            hvd.allreduce(torch.ones(1), name="late")
        hvd.join()

    job = start_ranks(3, main, env=_CHECK)
    job.wait_for_output(0, "next report in")
    text = job.output(0)
    assert "'late' waits for rank 2 (" in text
    assert "rank 1" not in text
    job.tell(2, "go")
    job.results()


def test_tensors_that_wait_for_different_ranks_are_told_apart(start_ranks):
    def main(link):
        handles = [hvd.allreduce_async(torch.ones(1), name=name) for name in names()]
        _withhold_data(link)
        missing = [
            hvd.allreduce_async(torch.ones(1), name=name)
            for name in ["a", "b", "c"]
            if name not in names()
        ]
        for handle in handles + missing:
            hvd.synchronize(handle)

    def names():
        return {0: ["a", "b", "c"], 1: ["c"], 2: ["a", "b"]}[hvd.rank()]

    job = start_ranks(3, main, env=_CHECK)
    job.wait_for_output(0, "next report in")
    text = job.output(0)
    assert "3 collectives wait for rank 1 (" in text
    assert "\n  allreduce 'a' and 'b' wait for rank 1 (" in text
    assert "\n  allreduce 'c' waits for rank 2 (" in text
    assert text.count(" is in _receive (") == text.count("in _withhold_data") == 2
    # Each is missing where the other waits.
    assert "it has in flight: allreduce 'c'" in text
    for rank in range(3):
        job.tell(rank, "go")
    job.results()


def test_the_parameters_of_withheld_gradients_are_named(start_ranks):
    def main(link):
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1), named_parameters=model.named_parameters()
        )
        if hvd.rank() == 1:
            _withhold_data(link)
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()

    job = start_ranks(2, main, env=_CHECK)
    job.wait_for_output(0, "next report in")
    text = job.output(0)
    assert "of 4 tensors (" in text
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert f"{name}'" in text
    job.tell(1, "go")
    job.results()


def test_a_stall_of_a_process_set_and_of_a_barrier(start_ranks):
    def main(link, in_set):
        pair = hvd.add_process_set([1, 2])
        if hvd.rank() == 2:
            _withhold_data(link)
        if not in_set:
            hvd.barrier()
        elif hvd.rank() > 0:
            hvd.allreduce(torch.ones(1), name="pair", process_set=pair)
        else:
            link.hear()

    for in_set, words in [(True, "allreduce 'pair' in process set 1 waits"), (False, "barrier '")]:
        env = {"RUEDA_DYNAMIC_PROCESS_SETS": "1", **_CHECK}
        job = start_ranks(3, main, in_set, env=env)
        # On a busy machine the set's own making may stall, and be told of, first.
        job.wait_for_output(0, words)
        job.wait_for_output(0, "for rank 2 (pid ")
        job.tell(2, "go")
        if in_set:
            job.tell(0, "go")
        job.results()


def test_a_thousand_tensors_make_one_message(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            _withhold_data(link)
        tensors = [torch.ones(1) for _ in range(1000)]
        handles = [
            hvd.allreduce_async(tensor, name=f"tensor {index:03}")
            for index, tensor in enumerate(tensors)
        ]
        for handle in handles:
            hvd.synchronize(handle)

    job = start_ranks(2, main, env={"RUEDA_STALL_CHECK_TIME_SECONDS": "2"})
    job.wait_for_output(0, "next report in")
    (report,) = _reports(job.output(0))
    assert "'tensor 003' and 996 more wait for rank 1 (" in report
    assert len(report) < 3000
    job.tell(1, "go")
    job.results()


def test_reports_of_a_long_stall_become_rare(start_ranks):
    job = start_ranks(2, _one_rank_withholds, env={"RUEDA_STALL_CHECK_TIME_SECONDS": "0.1"})
    job.wait_for_output(0, "next report in 800 ms")
    # More may have come since.
    reports = _reports(job.output(0).partition("next report in 800 ms")[0])
    assert len(reports) == 4
    job.tell(1, "go")
    job.results()


def test_without_the_check_nothing_is_written(start_ranks):
    env = {"RUEDA_STALL_CHECK_TIME_SECONDS": "0", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "0.6"}

    def main(link):
        if hvd.rank() == 1:
            _withhold_data(link)
        with pytest.raises(hvd.HorovodInternalError, match="Rank 1 is in _receive ") as caught:
            hvd.allreduce(torch.ones(1), name="late")
        assert caught.value.code == "R304"
        link.tell("raised")
        link.hear()

    job = start_ranks(3, main, env=env)
    assert job.hear(1) == "here"
    assert job.hear(0) == job.hear(2) == "raised"
    assert [_reports(job.output(rank)) for rank in range(3)] == [[], [], []]


def test_no_thread_is_left_after_a_question(start_ranks):
    def main(link):
        hvd.init()
        hvd.allreduce(torch.ones(3), name="warm")
        if hvd.rank() == 1:
            _withhold_data(link)
        hvd.allreduce(torch.ones(1), name="late")
        hvd.shutdown()
        return sorted(os.listdir("/proc/self/task")), threading.active_count()  # noqa: PTH208

    job = start_ranks(2, main, init=False, env=_CHECK)
    job.wait_for_output(0, "next report in")
    job.tell(1, "go")
    assert job.results() == [([str(pid)], 1) for pid in job.pids]
