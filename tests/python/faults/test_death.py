"""A rank is killed: the others say so at once and name it, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
from pathlib import Path

import pytest
import torch

import rueda as hvd

_SECONDS = 5.0  # a death is known within one; loaded machines get more


@pytest.fixture(scope="module")
def seconds_until_known(report_figure):
    """How long it took each survivor to raise, from the signal on."""
    seconds = []
    yield seconds
    if seconds:
        report_figure(
            f"deaths: {len(seconds)} survivors raised within {1000 * max(seconds):.0f} ms, "
            f"half of them within {1000 * statistics.median(seconds):.0f} ms"
        )


@pytest.fixture
def repeats(full_size):
    """How often ranks are killed at random moments."""
    return 30 if full_size else 5


@pytest.fixture
def assert_named(seconds_until_known):
    """Assert that a survivor raised in time, naming the dead rank."""

    def check(ended, rank, pid, killed_at):
        assert isinstance(ended.error, hvd.HorovodInternalError), ended.traceback
        assert (ended.error.code, ended.error.rank) == ("R301", rank)
        assert f"rank {rank} (pid {pid} on {os.uname().nodename})" in str(ended.error)
        seconds_until_known.append(ended.raised_at - killed_at)
        assert seconds_until_known[-1] < _SECONDS
        assert ended.code == 1

    return check


def _work_for_ever(link, elements):
    """Every kind of operation, some of them in flight at any moment."""
    model = torch.nn.Linear(300, 100)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    own = torch.ones(elements)
    step = 0
    while True:
        link.tell(step)
        handles = [hvd.allreduce_async(own, name="a"), hvd.broadcast_async(own, 1, "b")]
        hvd.allgather(torch.ones(hvd.rank() + 1, 100), name="c")
        for handle in handles:
            hvd.synchronize(handle)
        model(torch.ones(2, 300)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        hvd.barrier()
        step += 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_killed_in_the_middle_of_its_work(
    start_ranks, assert_named, repeats, victim, backend, tmp_path
):
    chance = random.Random(f"{victim} {backend}")
    shared_memory = set(os.listdir("/dev/shm"))  # noqa: PTH208
    for _ in range(repeats):
        elements = chance.choice([10, 10_000, 1_000_000])
        env = {"RUEDA_BACKEND": backend, "TMPDIR": str(tmp_path)}
        job = start_ranks(3, _work_for_ever, elements, env=env)
        for rank in range(3):
            assert job.hear(rank) == 0
        # Steps take different times on different machines; what follows the last word is chance.
        for _ in range(chance.randrange(8)):
            job.hear(victim)
        killed_at = job.signal(victim, signal.SIGKILL)
        for rank in {0, 1, 2} - {victim}:
            assert_named(job.ended(rank), victim, job.pids[victim], killed_at)
        job.wait_until_empty()
        job.close()
    left = set(os.listdir("/dev/shm")) - shared_memory  # noqa: PTH208
    assert not [name for name in left if "rueda" in name]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_while_another_waits_for_it(start_ranks, assert_named, victim, backend):
    def main(link):
        if hvd.rank() == victim:
            link.hear()
        link.tell("waiting")
        hvd.barrier()

    job = start_ranks(2, main, env={"RUEDA_BACKEND": backend})
    assert job.hear(1 - victim) == "waiting"
    killed_at = job.signal(victim, signal.SIGKILL)
    assert_named(job.ended(1 - victim), victim, job.pids[victim], killed_at)


def test_killed_while_nobody_waits_is_told_at_the_next_operation(start_ranks):
    def main(link):
        link.tell("ready")
        link.hear()
        for _ in range(2):
            with pytest.raises(hvd.HorovodInternalError, match=r"rank 1 \(pid .* died") as caught:
                hvd.allreduce(torch.ones(1))
            assert caught.value.rank == 1
        with pytest.raises(hvd.HorovodInternalError, match=r"rank 1 \(pid .* died"):
            hvd.barrier()
        assert (hvd.rank(), hvd.size()) == (0, 2)

    job = start_ranks(2, main)
    assert job.hear(0) == job.hear(1) == "ready"
    job.signal(1, signal.SIGKILL)
    assert job.ended(1).code == -signal.SIGKILL
    job.tell(0, "go")
    assert job.ended(0).error is None, job.describe()


def test_killed_in_the_middle_of_shutdown_the_others_still_end(start_ranks):
    def main(link):
        hvd.barrier()
        link.tell("here")
        if hvd.rank() == 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    job = start_ranks(3, main)
    for rank in range(3):
        job.hear(rank)
    job.signal(1, signal.SIGKILL)
    for rank in (0, 2):
        ended = job.ended(rank)
        assert (ended.error, ended.code) == (None, 0), job.describe()


@pytest.mark.parametrize("absent", [0, 1])
def test_a_rank_that_dies_before_init_is_missed_by_name(start_ranks, absent):
    def main(link):
        link.tell("here")
        if hvd_rank_of_environment() == absent:
            os.kill(os.getpid(), signal.SIGKILL)
        hvd.init()

    def hvd_rank_of_environment():
        return int(os.environ["RANK"])

    env = {"RUEDA_START_TIMEOUT_SECONDS": "1"}
    job = start_ranks(3, main, init=False, env=env)
    for rank in {0, 1, 2} - {absent}:
        ended = job.ended(rank)
        assert isinstance(ended.error, hvd.HorovodInternalError), job.describe()
        assert f"rank {absent}" in str(ended.error)
        assert " 1 s" in str(ended.error)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_survivors_are_left_as_they_were_and_can_make_a_new_job(start_ranks, backend):
    def main(link):
        def belongings():
            descriptors = sorted(Path("/proc/self/fd").iterdir())
            return descriptors, len(list(Path("/proc/self/task").iterdir()))

        before = belongings()
        hvd.init()
        link.tell("ready")
        with pytest.raises(hvd.HorovodInternalError):
            while True:
                hvd.allreduce(torch.ones(1000))
        hvd.shutdown()
        assert belongings() == before
        # The survivors make a job of their own.
        os.environ.update(link.hear())
        hvd.init()
        found = hvd.allreduce(torch.ones(1), op=hvd.Sum).item()
        hvd.shutdown()
        assert belongings() == before
        return found

    job = start_ranks(3, main, init=False, env={"RUEDA_BACKEND": backend})
    for rank in range(3):
        job.hear(rank)
    job.signal(1, signal.SIGKILL)
    for rank, number in ((0, "0"), (2, "1")):
        place = {"RANK": number, "WORLD_SIZE": "2", "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": "2"}
        job.tell(rank, {**place, "RUEDA_JOB_ID": f"second job of {job.pids[0]}"})
    assert [job.ended(rank).value for rank in (0, 2)] == [2.0, 2.0], job.describe()


_TRAINING = """
    import json
    import os
    import random
    import signal
    import sys
    import time

    import torch

    import rueda as hvd


    class Ones(torch.utils.data.Dataset):
        def __len__(self):
            return 1_000_000

        def __getitem__(self, index):
            return torch.ones(1000)


    def note(**facts):
        # One write, so that lines of several ranks stay whole.
        os.write(1, ("NOTE " + json.dumps({"rank": hvd.rank(), **facts}) + "\\n").encode())


    victim, step_of_death = int(sys.argv[1]), int(sys.argv[2])
    hvd.init()
    batches = iter(torch.utils.data.DataLoader(Ones(), batch_size=4, num_workers=2))
    model = torch.nn.Linear(1000, 1000)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    try:
        for step in range(1_000_000):
            model(next(batches)).sum().backward()
            if hvd.rank() == victim and step == step_of_death:
                note(pid=os.getpid(), killed=time.monotonic())
                os.kill(os.getpid(), signal.SIGKILL)
            optimizer.step()
            optimizer.zero_grad()
    except hvd.HorovodInternalError as error:
        note(raised=time.monotonic(), blames=error.rank, text=str(error))
        raise
"""


@pytest.mark.timeout(900)
def test_under_ruedarun_with_forked_workers(run_script, full_size, tmp_path):
    chance = random.Random(1)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for _ in range(10 if full_size else 1):
        victim, step = chance.randrange(3), chance.randrange(30)
        arguments = (str(victim), str(step))
        env = {"TMPDIR": str(temporary)}
        finished = run_script("ruedarun", 3, _TRAINING, *arguments, env=env)
        notes = [
            json.loads(line.partition("NOTE ")[2])
            for line in finished.out.splitlines()
            if "NOTE " in line
        ]
        [death] = [note for note in notes if "killed" in note]
        survivors = [note for note in notes if "raised" in note]
        assert {note["rank"] for note in survivors} == {0, 1, 2} - {victim}
        for note in survivors:
            assert note["blames"] == victim
            assert f"rank {victim} (pid {death['pid']}" in note["text"]
            assert note["raised"] - death["killed"] < _SECONDS
        assert finished.code == 128 + signal.SIGKILL
        assert f"ruedarun: failed on rank {victim} of 3" in finished.err
        assert f"pid       {death['pid']}" in finished.err
        assert "SIGKILL" in finished.err
        # run_script has seen that no process is left.
        assert not [name for name in Path("/dev/shm").iterdir() if "rueda" in name.name]
        # PyTorch makes its compiler's cache when it makes the first optimizer.
        left = [entry.name for entry in temporary.iterdir()]
        assert not [name for name in left if not name.startswith("torchinductor")]
