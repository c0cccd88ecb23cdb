"""From init to shutdown: before, after, again, in forks, alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

import rueda as hvd

_PLACES = ["rank", "size", "local_rank", "local_size", "cross_rank", "cross_size"]


def _collectives():
    tensor = torch.ones(2)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {
        "allreduce": lambda: hvd.allreduce(tensor),
        "allreduce_": lambda: hvd.allreduce_(tensor),
        "allreduce_async": lambda: hvd.allreduce_async(tensor),
        "allreduce_async_": lambda: hvd.allreduce_async_(tensor),
        "grouped_allreduce": lambda: hvd.grouped_allreduce([tensor]),
        "grouped_allreduce_async_": lambda: hvd.grouped_allreduce_async_([tensor]),
        "allgather": lambda: hvd.allgather(tensor),
        "allgather_async": lambda: hvd.allgather_async(tensor),
        "broadcast": lambda: hvd.broadcast(tensor, 0),
        "broadcast_": lambda: hvd.broadcast_(tensor, 0),
        "alltoall": lambda: hvd.alltoall(tensor),
        "reducescatter": lambda: hvd.reducescatter(tensor),
        "grouped_reducescatter": lambda: hvd.grouped_reducescatter([tensor]),
        "grouped_allgather": lambda: hvd.grouped_allgather([tensor]),
        "adasum": lambda: hvd.allreduce(tensor, op=hvd.Adasum),
        "sparse_allreduce_async": lambda: hvd.sparse_allreduce_async(
            tensor.to_sparse(), None, hvd.Sum
        ),
        "reduce": lambda: hvd.reduce(tensor, 0),
        "gather": lambda: hvd.gather(tensor, 0),
        "scatter": lambda: hvd.scatter(tensor, 0),
        "send": lambda: hvd.send(tensor, 1),
        "recv_async": lambda: hvd.recv_async(tensor, 1),
        "join": hvd.join,
        "barrier": hvd.barrier,
        "add_process_set": lambda: hvd.add_process_set([0]),
        "remove_process_set": lambda: hvd.remove_process_set(hvd.ProcessSet([0])),
        "process_set_ids_and_ranks": hvd.process_set_ids_and_ranks,
        "poll": lambda: hvd.poll(0),
        "synchronize": lambda: hvd.synchronize(0),
        "allgather_object": lambda: hvd.allgather_object(1),
        "DistributedOptimizer": lambda: hvd.DistributedOptimizer(optimizer),
        "broadcast_parameters": lambda: hvd.broadcast_parameters(model.state_dict(), 0),
    }


@pytest.mark.parametrize("kind", [ValueError, hvd.HorovodInternalError])
def test_what_comes_before_init_is_an_error_of_either_kind_that_scripts_expect(kind):
    model = torch.nn.Linear(2, 2)
    twice = [("same", parameter) for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for call in (
        hvd.rank,
        hvd.barrier,
        lambda: hvd.allreduce(torch.ones(2)),
        lambda: hvd.DistributedOptimizer(optimizer, named_parameters=twice),
    ):
        with pytest.raises(kind, match=r"\[R102\] rueda is not initialised") as caught:
            call()
        assert caught.value.code == "R102"


def _assert_switched_off(code, text):
    for name, call in _collectives().items():
        with pytest.raises(hvd.HorovodInternalError, match=text) as caught:
            call()
        assert caught.value.code == code, name


def test_before_init_and_after_shutdown_everything_says_so(run_ranks):
    def main():
        text = r"\[R102\] rueda is not initialised: call rueda.init\(\) first"
        for _ in range(2):
            assert not hvd.is_initialized()
            for name in _PLACES:
                with pytest.raises(ValueError, match=text):
                    getattr(hvd, name)()
            _assert_switched_off("R102", text)
            hvd.shutdown()
            hvd.init()
            assert hvd.is_initialized()
            hvd.shutdown()

    run_ranks(2, main, init=False)


def test_places_are_those_of_the_launcher(run_ranks):
    def main():
        return [getattr(hvd, name)() for name in _PLACES]

    assert run_ranks(3, main) == [[rank, 3, rank, 3, 0, 1] for rank in range(3)]


def test_without_a_launcher_the_job_has_one_rank(run_ranks):
    def main():
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "RUEDA_JOB_ID"):
            del os.environ[name]
        hvd.init()
        assert [getattr(hvd, name)() for name in _PLACES] == [0, 1, 0, 1, 0, 1]
        assert hvd.allreduce(torch.ones(2)).tolist() == [1.0, 1.0]
        assert hvd.allgather(torch.ones(2)).tolist() == [1.0, 1.0]
        assert hvd.broadcast_object("x") == "x"
        hvd.barrier()

    run_ranks(1, main, init=False, full_exit=True)


def test_init_again_does_nothing_until_shutdown(run_ranks):
    def main():
        handle = hvd.allreduce_async(torch.ones(1), op=hvd.Sum)
        hvd.init()
        hvd.init(comm=[0, 1])
        assert hvd.synchronize(handle).item() == 2.0
        hvd.shutdown()
        hvd.shutdown()

    run_ranks(2, main)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"comm": [0]}, r"init\(comm=\[0\]\): only None, the list of all 2 ranks"),
        ({"comm": [1, 0]}, r"init\(comm=\[1, 0\]\): only None, the list of all 2 ranks"),
        ({"process_sets": "static"}, 'expected a list of rueda.ProcessSet, or "dynamic"'),
        ({"process_sets": [[0, 1]]}, "expected a list of rueda.ProcessSet"),
    ],
)
def test_arguments_of_init_that_are_not_supported_are_refused(run_ranks, arguments, text):
    def main():
        with pytest.raises(ValueError, match=text):
            hvd.init(**arguments)
        hvd.init()
        hvd.barrier()

    run_ranks(2, main, init=False)


def test_fifty_jobs_in_one_process_leave_nothing_behind(run_ranks):
    def main():
        def footprint():
            status = Path("/proc/self/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            return {
                "descriptors": sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208
                "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208
                "maps": len(Path("/proc/self/maps").read_text().splitlines()),
                "resident MiB": int(resident.split()[1]) >> 10,
            }

        def use_a_job():
            hvd.init()
            assert hvd.allreduce(torch.ones(300_000), op=hvd.Sum).sum().item() == 600_000.0
            model = torch.nn.Linear(30, 10)
            optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
            model(torch.ones(2, 30)).sum().backward()
            optimizer.step()
            hvd.shutdown()

        # What PyTorch and the allocator set up once is there after a few jobs.
        for _ in range(5):
            use_a_job()
        before = footprint()
        for _ in range(45):
            use_a_job()
        after = footprint()
        assert after["descriptors"] == before["descriptors"]
        assert after["threads"] == before["threads"] == 1
        assert abs(after["maps"] - before["maps"]) <= 3
        # Each job maps some MiB: 45 of them would show.
        assert after["resident MiB"] - before["resident MiB"] < 30

    run_ranks(2, main, init=False)


def test_work_in_flight_at_shutdown_ends_with_an_error(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            link.hear()
            return
        handle = hvd.allreduce_async(torch.ones(1), name="mine")
        failures = []

        def wait():
            try:
                hvd.synchronize(handle)
            except hvd.HorovodInternalError as error:
                failures.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        hvd.shutdown()
        waiter.join()
        link.tell([(error.code, str(error)) for error in failures])

    job = start_ranks(2, main)
    [(code, text)] = job.hear(0)
    assert code == "R303"
    assert "rank 0 (pid" in text
    assert "shut" in text
    assert "allreduce 'mine'" in text
    job.tell(1, "go")
    job.results()


def test_tensors_outlive_the_job(run_ranks):
    def main():
        model = torch.nn.Linear(100, 100)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        model(torch.ones(2, 100)).sum().backward()
        optimizer.step()
        before = model.weight.grad.clone()
        hvd.shutdown()
        assert torch.equal(model.weight.grad, before)
        model.weight.grad.add_(1)
        with pytest.raises(hvd.HorovodInternalError):
            optimizer.step()
        del optimizer
        model.zero_grad(set_to_none=False)
        model(torch.ones(2, 100)).sum().backward()
        assert torch.equal(model.weight.grad, torch.full((100, 100), 2.0))

    run_ranks(2, main, full_exit=True)


def test_a_forked_child_knows_its_place_and_is_told_that_it_is_no_rank(run_ranks):
    def main():
        own_rank = hvd.rank()
        weights = torch.nn.Linear(4, 4)
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(weights.parameters(), lr=0.1))
        weights(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert not hvd.is_initialized()
                assert (hvd.rank(), hvd.size()) == (own_rank, 2)
                _assert_switched_off("R105", "forked from a rank of a rueda job")
                with pytest.raises(hvd.HorovodInternalError, match="call init"):
                    hvd.init()
                hvd.shutdown()
                # Its copies of the gradients are its own.
                weights.weight.grad.fill_(7)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not weights.weight.grad.eq(7).any()
        weights(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        hvd.barrier()

    run_ranks(2, main)


def test_a_forked_child_that_ends_by_itself_does_not_end_the_job(run_ranks):
    def main():
        for ending in (os._exit, sys.exit):
            child = os.fork()
            if child == 0:
                ending(0)
            assert os.waitpid(child, 0)[1] == 0
            assert hvd.allreduce(torch.ones(1), op=hvd.Sum).item() == 2.0

    run_ranks(2, main)


def test_a_child_that_outlives_its_rank_does_not_hold_the_job(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            child = os.fork()
            if child == 0:
                signal.pause()
            link.tell(child)
            link.hear()
            os._exit(0)
        hvd.barrier()

    job = start_ranks(2, main)
    child = job.hear(1)
    job.tell(1, "go")
    ended = job.ended(0)
    assert "rank 1" in str(ended.error)
    assert ended.error.rank == 1
    assert ended.raised_at - job.ended(1).at < 1.0
    os.kill(child, signal.SIGKILL)
    job.wait_until_empty()
