"""Recovery without ranks: when to begin anew, when not, and in which words."""

from __future__ import annotations

import pytest

import rueda as hvd
from rueda.elastic import recovery as module
from rueda.elastic.recovery import RESETS_WITHOUT_COMMIT, Recovery
from rueda.exceptions import HostsUpdatedInterrupt


class _Restarts:
    """Counts what it is asked for, and may fail."""

    def __init__(self):
        self.reasons = []
        self.left = None
        self.error = None

    def leave(self, reason):
        self.left = reason

    def __call__(self, reason):
        self.reasons.append(reason)
        if self.error is not None:
            raise self.error


@pytest.fixture
def restarts(monkeypatch):
    monkeypatch.setattr(module._context, "rank", lambda: 0)
    monkeypatch.setattr(module, "broadcast_object", lambda value, name: value)
    return _Restarts()


@pytest.fixture
def state():
    return hvd.elastic.ObjectState(lambda value: value, lambda: 0, x=1)


def _error(text, code, rank=1):
    return hvd.HorovodInternalError(f"[{code}] {text}", code, rank)


def _left(reason, before=" before offering allreduce 'x: y'"):
    return _error(f"rank 1 (pid 7 on a) left{before}: {reason}", "R202")


@pytest.mark.parametrize("code", ["R201", "R302", "R303", "R304", "R401", "R402", ""])
def test_what_leaves_all_ranks_alive_is_repeated(restarts, state, code, capsys):
    Recovery(state, restarts).recover(_error("first\nsecond", code))
    assert restarts.reasons == [f"it begins anew (rueda.elastic) after: [{code}] first"]
    said = f"[rueda, rank 0] warning: elastic training begins anew after: [{code}] first\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "before", ["", " before offering barrier", " before all ranks had offered allreduce 'x'"]
)
def test_a_rank_that_says_that_it_comes_back_is_believed(restarts, state, before):
    first, second = Recovery(state, restarts), Recovery(state, restarts)
    first.recover(_error("a mismatch", "R201"))
    second.recover(_left(restarts.reasons[0], before))
    assert len(restarts.reasons) == 2
    # What the second quotes is no promise of the first's.
    assert restarts.reasons[1].count("it begins anew") == 1


@pytest.mark.parametrize(
    "error",
    [
        _left("it shut down in order. Check that every rank takes the same number of steps."),
        _left("KeyError: 'my bug'"),
        _left("HorovodInternalError: [R202] rank 0 left before offering x: it began anew after: y"),
        _error("rank 1 (pid 7 on a) died: its process ended without shutting down.", "R301"),
    ],
)
def test_a_rank_that_is_gone_is_not_waited_for(restarts, state, error):
    with pytest.raises(hvd.HorovodInternalError, match="nobody brings rank 1 back") as caught:
        Recovery(state, restarts).recover(error)
    assert restarts.reasons == []
    assert (caught.value.code, caught.value.rank) == (error.code, 1)
    assert caught.value.__cause__ is error
    # A death has ended the job for all; after a leave the others hear why this rank goes, too.
    left = f"it gave up after: {error}" if error.code == "R202" else None
    assert restarts.left == left
    assert str(caught.value).startswith(str(error).rstrip("."))


@pytest.mark.parametrize("code", ["R102", "R105"])
def test_this_process_s_own_mistakes_are_raised_as_they_are(restarts, state, code):
    error = _error("call init() first", code, None)
    with pytest.raises(hvd.HorovodInternalError) as caught:
        Recovery(state, restarts).recover(error)
    assert caught.value is error
    assert restarts.reasons == []


def test_ranks_that_do_not_meet_again_are_named_and_so_is_the_reason(restarts, state):
    restarts.error = _error("rank 2 of 3 did not come.", "R302", 2)
    with pytest.raises(hvd.HorovodInternalError) as caught:
        Recovery(state, restarts).recover(_error("a mismatch.", "R201"))
    assert (caught.value.code, caught.value.rank) == ("R302", 2)
    assert str(caught.value).startswith(
        "[R302] rank 2 of 3 did not come. This rank began anew after: [R201] a mismatch. "
        "The state is back"
    )


def _fail_and_agree(recovery):
    recovery.recover(_error("again", "R201"))
    recovery.agree()


def test_after_some_failures_without_a_commit_all_ranks_give_up(restarts, state):
    recovery = Recovery(state, restarts)
    for _ in range(RESETS_WITHOUT_COMMIT):
        _fail_and_agree(recovery)
    with pytest.raises(hvd.HorovodInternalError) as given_up:
        _fail_and_agree(recovery)
    resets = len(restarts.reasons)
    with pytest.raises(hvd.HorovodInternalError, match="failure 4 in a row") as caught:
        recovery.recover(given_up.value)
    assert len(restarts.reasons) == resets
    assert (caught.value.code, caught.value.rank) == ("R201", 1)


def test_a_commit_begins_the_count_anew_and_news_of_hosts_do_not_count(restarts, state):
    recovery = Recovery(state, restarts)
    for _ in range(4 * RESETS_WITHOUT_COMMIT):
        _fail_and_agree(recovery)
        recovery.recover(HostsUpdatedInterrupt(False))
        state.commit()


def test_the_count_of_rank_0_decides(restarts, state, monkeypatch):
    recovery = Recovery(state, restarts)
    monkeypatch.setattr(module, "broadcast_object", lambda value, name: 1)
    for _ in range(4 * RESETS_WITHOUT_COMMIT):
        _fail_and_agree(recovery)
    monkeypatch.setattr(module, "broadcast_object", lambda value, name: RESETS_WITHOUT_COMMIT + 1)
    with pytest.raises(hvd.HorovodInternalError, match="again"):
        recovery.agree()


def test_ranks_that_cannot_even_agree_on_the_count_end_too(restarts, state):
    recovery = Recovery(state, restarts)
    for _ in range(2 * RESETS_WITHOUT_COMMIT):
        recovery.recover(_error("again", "R302"))
    with pytest.raises(hvd.HorovodInternalError, match="failure 7 in a row"):
        recovery.recover(_error("again", "R302"))
