"""A rank ends or leaves while others still count on it: a clear error instead of a hang."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch

import rueda as hvd


def _returns():
    return None


def _exits_with_0():
    sys.exit(0)


def _exits_with_3():
    sys.exit(3)


def _raises():
    raise KeyError("my bug")


def _shuts_down():
    hvd.shutdown()


def _ends_without_a_word():
    os._exit(0)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("leaver", [0, 1, 2])
@pytest.mark.parametrize(
    ("leave", "code", "text"),
    [
        (_returns, "R202", "it shut down in order. Check that every rank takes the same number"),
        (_exits_with_0, "R202", "it shut down in order"),
        (_exits_with_3, "R202", "it shut down in order"),
        (_shuts_down, "R202", "it shut down in order"),
        (_raises, "R202", "KeyError: 'my bug'"),
        (_ends_without_a_word, "R301", "died: its process ended without shutting down"),
    ],
)
def test_the_others_are_told_who_left_and_why(start_ranks, leave, code, text, leaver, backend):
    def main():
        hvd.init()
        hvd.allreduce(torch.ones(3), name="before")
        if hvd.rank() == leaver:
            leave()
            return
        hvd.allreduce(torch.ones(3), name="needed")

    job = start_ranks(3, main, init=False, interactive=False, env={"RUEDA_BACKEND": backend})
    # Whoever offers after rank 0 has gone hears of it from rank 0's last words.
    for rank in {0, 1, 2} - {leaver}:
        ended = job.ended(rank)
        assert isinstance(ended.error, hvd.HorovodInternalError), job.describe()
        assert f"rank {leaver} (pid {job.pids[leaver]}" in str(ended.error)
        assert text in str(ended.error)
        assert "allreduce 'needed'" in str(ended.error)
        if ended.error.rank == leaver:
            assert ended.error.code == code
        assert ended.code == 1
    job.wait_until_empty()


def test_what_was_offered_before_a_rank_leaves_still_runs(run_ranks):
    def main():
        handle = hvd.allreduce_async(torch.ones(3), name="last", op=hvd.Sum)
        if hvd.rank() == 1:
            return hvd.synchronize(handle).tolist()
        with pytest.raises(hvd.HorovodInternalError) as caught:
            hvd.allreduce(torch.ones(3), name="one more")
        assert caught.value.rank == 1
        return hvd.synchronize(handle).tolist()

    assert run_ranks(3, main) == [[6.0 / 2] * 3] * 3


def test_everything_after_a_rank_left_says_so(start_ranks):
    def main(link):
        if hvd.rank() == 1:
            return
        for name in ("a", "b"):
            with pytest.raises(hvd.HorovodInternalError) as caught:
                hvd.allreduce(torch.ones(1), name=name)
            assert (caught.value.code, caught.value.rank) == ("R202", 1)
        assert hvd.is_initialized()
        link.tell("done")
        # Nobody else leaves before both have seen it.
        link.hear()

    job = start_ranks(3, main)
    assert job.hear(0) == job.hear(2) == "done"
    job.tell(0, "go")
    job.tell(2, "go")
    job.results()


_SCRIPT = """
    import os
    import sys

    import torch

    import rueda as hvd


    def deep_in_the_model():
        raise KeyError("my bug")


    hvd.init()
    for step in range(1000):
        hvd.allreduce(torch.ones(10))
        if hvd.rank() == 1 and step == 10:
            if sys.argv[1] == "raise":
                deep_in_the_model()
            else:
                os._exit(int(sys.argv[1]))
"""


def test_the_launcher_shows_the_traceback_of_the_cause(run_script):
    finished = run_script("ruedarun", 3, _SCRIPT, "raise")
    assert finished.code == 1
    block = finished.err[
        finished.err.index("ruedarun: failed on rank 1 of 3: KeyError: 'my bug'") :
    ]
    assert "in deep_in_the_model" in block
    assert 'raise KeyError("my bug")' in block
    # Not of the victims.
    assert "HorovodInternalError" not in block
    # Rank 2 may have heard of it from rank 0, which left because of it.
    assert block.count("had lost rank") == 2
    assert "had lost rank 1" in block


def test_the_launcher_blames_a_rank_that_ends_early_without_a_failure(run_script):
    finished = run_script("ruedarun", 2, _SCRIPT, "0")
    assert finished.code == 1
    assert "ruedarun: failed on rank 1 of 2" in finished.err
    assert "it had ended with exit code 0 while others still" in finished.err


def test_a_signal_that_asks_to_end_is_told_to_the_others(start_ranks):
    def main(link):
        link.tell("ready")
        if hvd.rank() == 0:
            link.hear()
        hvd.barrier()

    job = start_ranks(2, main)
    assert job.hear(0) == job.hear(1) == "ready"
    job.signal(0, signal.SIGTERM)
    ended = job.ended(1)
    assert ended.error.rank == 0
    assert job.ended(0).code == -signal.SIGTERM
