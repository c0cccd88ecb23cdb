"""rueda.elastic.run on real ranks: what it repairs, bit for bit."""

from __future__ import annotations

import os
import signal

import pytest
import torch

import rueda as hvd

_BEGINS_ANEW = "elastic training begins anew after:"


def _mismatch(state, attempt):
    if attempt == 1:
        hvd.allreduce(torch.ones(2 + (hvd.rank() == 1)), name="x")


def _own_error_of(rank):
    def raise_it(state, attempt):
        if attempt == 1 and hvd.rank() == rank:
            raise hvd.HorovodInternalError("a failure of this rank alone")

    return raise_it


def _spoiled(state, attempt):
    """Change all that a restore has to bring back."""
    if attempt == 1:
        with torch.no_grad():
            for parameter in state.model.parameters():
                parameter.fill_(7.0)
        state.optimizer.state.clear()
        state.optimizer.param_groups[0]["lr"] = 55.0
        state.scheduler.last_epoch = 99
        state.sampler.set_epoch(9)
        state.seen.append("lost")
        state.step = 77
        raise hvd.HorovodInternalError("everything is spoiled")


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize(
    ("size", "trouble"),
    [
        (1, _spoiled),
        (2, _own_error_of(0)),
        (2, _spoiled),
        (3, _own_error_of(1)),
        (3, _mismatch),
        (4, _own_error_of(3)),
    ],
)
def test_after_a_failure_training_arrives_where_it_would_have(
    run_ranks, disturbed, undisturbed, size, trouble, backend
):
    results = run_ranks(size, disturbed(trouble), env={"RUEDA_BACKEND": backend})
    if backend == "shm":  # Gloo adds in another order
        assert results[0][0] == undisturbed(size)
    for found, attempts in results:
        assert found == results[0][0]
        # What had been agreed on when one rank alone failed the others still did and committed.
        assert attempts in ([0, 5], [0, 6])


@pytest.mark.parametrize("trouble", [_own_error_of(0), _own_error_of(2), _mismatch])
def test_ranks_that_met_over_a_network_meet_there_again(run_ranks, disturbed, network, trouble):
    first, *others = run_ranks(3, disturbed(trouble), env=network)
    assert [found for found, _ in others] == [first[0]] * 2
    assert len(first[1]) == 2


def test_a_rank_that_stalls_is_waited_for_after_the_limit_has_ended_the_epoch(
    start_ranks, disturbed, undisturbed
):
    def stall(state, attempt, link):
        if attempt == 1 and hvd.rank() == 1:
            # Its gradients are on their way already; this one is missed.
            link.hear()
        if attempt == 1:
            hvd.barrier()

    env = {"RUEDA_STALL_CHECK_TIME_SECONDS": "0.5", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "1"}
    job = start_ranks(3, disturbed(stall), env=env)
    job.wait_for_output(0, _BEGINS_ANEW)
    assert "R304" in job.output(0)
    job.tell(1, "go on")
    results = job.results()
    assert [found for found, _ in results] == [undisturbed(3)] * 3
    assert [attempts for _, attempts in results] == [[0, 5]] * 3


def test_a_bucket_that_times_out_is_repeated_when_the_stopped_rank_goes_on(
    start_ranks, disturbed, undisturbed
):
    def keep_busy(state, attempt, link):
        if attempt > 1:
            return
        link.tell("busy")
        large = torch.ones(300_000)
        try:
            while True:  # until the time is over
                hvd.allreduce_(large, name="large")
        except hvd.HorovodInternalError as error:
            link.tell(error.code)
            raise

    # Whether it stops inside a bucket, which is timed, or before its next offer, which is a stall.
    env = {"RUEDA_TIMEOUT_SECONDS": "1", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "1"}
    job = start_ranks(2, disturbed(keep_busy), env=env)
    assert job.hear(0) == job.hear(1) == "busy"
    job.stop(1)
    assert job.hear(0) in ("R302", "R304")
    job.signal(1, signal.SIGCONT)
    results = job.results()
    assert [found for found, _ in results] == [undisturbed(2)] * 2


def test_failures_with_commits_between_them_have_no_limit(run_ranks, make_state):
    def main():
        state = make_state()
        failed = set()

        @hvd.elastic.run
        def train(state):
            for _ in range(state.step, 12):
                if state.step not in failed:
                    failed.add(state.step)
                    raise hvd.HorovodInternalError("once a step")
                state.step += 1
                state.commit()
            return len(failed)

        return train(state)

    assert run_ranks(2, main) == [12, 12]


def test_a_callback_that_fails_is_a_failure_like_any_other(run_ranks, make_state):
    def main():
        state = make_state()
        calls = []

        def callback():
            calls.append(hvd.size())
            if len(calls) == 1:
                raise hvd.HorovodInternalError("in a callback")

        state.register_reset_callbacks([callback])

        @hvd.elastic.run
        def train(state):
            if not calls:
                raise hvd.HorovodInternalError("to begin with")
            return calls

        return train(state)

    assert run_ranks(2, main) == [[2, 2]] * 2


def test_fifty_resets_leave_nothing_behind(run_ranks, make_state, train):
    def main():
        def footprint():
            return {
                "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
                "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208
            }

        state = make_state()
        before = footprint()
        seen = []

        @hvd.elastic.run
        def fail_often(state):
            state.model(torch.ones(1, 4)).sum().backward()
            state.optimizer.step()
            state.commit()
            seen.append(footprint())
            if len(seen) < 50:
                raise hvd.HorovodInternalError("again")
            return seen[1], seen[-1]

        early, late = fail_often(state)
        assert early == late
        assert footprint() == before

    run_ranks(2, main)
