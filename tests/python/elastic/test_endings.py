"""rueda.elastic.run on real ranks: how it ends where it cannot repair, in words and soon."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch

import rueda as hvd

_SECONDS = 5.0  # a death is known within one; loaded machines get more


@pytest.mark.parametrize("victim", [0, 1])
def test_survivors_of_a_death_hear_at_once_that_nobody_comes_back(start_ranks, hopeless, victim):
    def trouble(link):
        if hvd.rank() == victim:
            link.tell("here")
            link.hear()

    job = start_ranks(3, hopeless(trouble))
    assert job.hear(victim) == "here"
    killed_at = job.signal(victim, signal.SIGKILL)
    for rank in {0, 1, 2} - {victim}:
        ended = job.ended(rank)
        assert ended.error is None, job.describe()
        text, code, blamed = ended.value
        assert (code, blamed) == ("R301", victim), text
        assert f"rank {victim} (pid {job.pids[victim]}" in text
        assert f"nobody brings rank {victim} back" in text
        assert "torchrun --max-restarts" in text
        assert ended.raised_at - killed_at < _SECONDS


def _returns_early():
    sys.exit(0)


def _has_a_bug():
    raise KeyError("my bug")


@pytest.mark.parametrize(
    ("leave", "reason"), [(_returns_early, "it shut down in order"), (_has_a_bug, "'my bug'")]
)
@pytest.mark.parametrize("leaver", [0, 2])
def test_a_rank_that_leaves_for_good_is_not_waited_for(
    start_ranks, hopeless, leaver, leave, reason
):
    def trouble():
        if hvd.rank() == leaver:
            leave()

    job = start_ranks(3, hopeless(trouble), interactive=False)
    for rank in {0, 1, 2} - {leaver}:
        text, code, blamed = job.ended(rank).value
        assert code == "R202", text
        # Or rank 0, which gave up for that reason.
        assert blamed in (leaver, 0), text
        assert f"rank {leaver} (pid {job.pids[leaver]}" in text
        assert reason in text
        assert f"nobody brings rank {blamed} back" in text


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_while_the_others_wait_for_it_is_missed_at_once(
    start_ranks, hopeless, victim
):
    def trouble(link):
        if hvd.rank() != victim:
            link.tell("failing")
            raise hvd.HorovodInternalError("a failure of these ranks")
        link.tell("here")
        link.hear()

    job = start_ranks(3, hopeless(trouble))
    assert job.hear(victim) == "here"
    waiting = sorted({0, 1, 2} - {victim})
    for rank in waiting:
        assert job.hear(rank) == "failing"
        job.wait_until_asleep(rank)
    killed_at = job.signal(victim, signal.SIGKILL)
    for rank in waiting:
        ended = job.ended(rank)
        assert ended.error is None, job.describe()
        text, code, blamed = ended.value
        assert (code, blamed) == ("R301", victim), text
        assert f"rank {victim} (host {os.uname().nodename}, pid {job.pids[victim]}) ended" in text
        assert "This rank began anew after: a failure of these ranks" in text
        assert ended.raised_at - killed_at < _SECONDS


def test_a_rank_that_lives_but_does_not_come_is_waited_for_no_longer_than_at_the_start(
    start_ranks, hopeless
):
    def trouble(link):
        if hvd.rank() != 1:
            raise hvd.HorovodInternalError("a failure of these ranks")
        link.hear()

    job = start_ranks(3, hopeless(trouble), env={"RUEDA_START_TIMEOUT_SECONDS": "2"})
    for rank in (0, 2):
        text, code, blamed = job.ended(rank).value
        assert (code, blamed) == ("R302", 1), text
        assert "rank 1 of 3 did not come" in text
        assert "nobody brings rank 1 back" in text
    job.tell(1, "go on")
    text, code, _ = job.ended(1).value
    assert code in ("R202", "R301"), text


def test_a_failure_that_comes_again_and_again_ends_on_all_ranks_alike(run_ranks, hopeless):
    def main():
        attempts = []

        def trouble():
            attempts.append(hvd.rank())
            hvd.allreduce(torch.ones(2 + (hvd.rank() == 1)), name="x")

        told = hopeless(trouble)()
        assert len(attempts) == 4
        hvd.barrier()  # the job goes on, for who wants to save something
        return told

    first, *others = run_ranks(3, main)
    text, code, blamed = first
    assert (code, blamed) == ("R201", 1)
    assert "It was failure 4 in a row without a commit in between" in text
    assert others == [first] * 2


def test_other_exceptions_are_the_callers(run_ranks, make_state):
    def main():
        @hvd.elastic.run
        def train(state):
            raise LookupError("not of the job")

        with pytest.raises(LookupError, match="not of the job"):
            train(make_state())
        hvd.barrier()

    run_ranks(2, main)


def test_before_init_it_is_said(run_ranks):
    def main():
        @hvd.elastic.run
        def train(state):
            return state

        with pytest.raises(hvd.HorovodInternalError, match="R102"):
            train(hvd.elastic.ObjectState(hvd.broadcast_object, hvd.rank))

    run_ranks(1, main, init=False)


def test_over_a_network_a_death_is_said_too(start_ranks, hopeless, network):
    def trouble(link):
        if hvd.rank() == 1:
            link.tell("here")
            link.hear()

    job = start_ranks(3, hopeless(trouble), env=network)
    assert job.hear(1) == "here"
    job.signal(1, signal.SIGKILL)
    for rank in (0, 2):
        text, code, _ = job.ended(rank).value
        # Who hears it from rank 0 may hear first that rank 0 has ended, too.
        assert code in ("R301", "R202"), text
        assert "nobody brings rank" in text
