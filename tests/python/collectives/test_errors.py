"""Every mistake that the interface names: the right exception within a second, and the job goes on.

What ranks disagree about is told to all of them; what one rank does wrong by itself, to that one.
"""

from __future__ import annotations

import os
import time

import pytest
import torch

import rueda as hvd

_SECONDS = 1.0
_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


def _twos(dtype=torch.float32):
    return torch.ones(2, dtype=dtype)


def _odd():
    return hvd.rank() == 1


# What the ranks do, and words that the error of all of them has. ``_odd()`` is one rank's part.
_DISAGREEMENTS = {
    "dtype of allreduce": (
        lambda: hvd.allreduce(_twos(torch.float64 if _odd() else torch.int32), name="x"),
        ["dtype of 'x'", "float64", "int32"],
    ),
    "shape of allreduce": (
        lambda: hvd.allreduce(torch.ones(3 if _odd() else 2), name="x"),
        ["shape of 'x'", "[3]", "[2]"],
    ),
    "op of allreduce": (
        lambda: hvd.allreduce(_twos(), name="x", op=hvd.Min if _odd() else hvd.Max),
        ["op of allreduce 'x'", "Min", "Max"],
    ),
    "prescale": (
        lambda: hvd.allreduce(_twos(), name="x", prescale_factor=0.5 if _odd() else 1.0),
        ["prescale factor", "0.5"],
    ),
    "postscale": (
        lambda: hvd.allreduce(_twos(), name="x", postscale_factor=0.5 if _odd() else 1.0),
        ["postscale factor", "0.5"],
    ),
    "priority": (
        lambda: hvd.synchronize(hvd.allreduce_async(_twos(), name="x", priority=7 * _odd())),
        ["priority of allreduce 'x'", "7", "0"],
    ),
    "group size": (
        lambda: hvd.grouped_allreduce([_twos()] * (3 if _odd() else 2), name="x"),
        ["number of tensors in allreduce 'x'"],
    ),
    "Adasum beside Sum": (
        lambda: hvd.allreduce(_twos(), name="x", op=hvd.Adasum if _odd() else hvd.Sum),
        ["operation on 'x'"],
    ),
    "kind of operation": (
        lambda: hvd.allgather(_twos(), "x") if _odd() else hvd.alltoall(torch.ones(3), name="x"),
        ["operation on 'x'", "allgather", "alltoall"],
    ),
    "trailing shape of allgather": (
        lambda: hvd.allgather(torch.ones(2, 4 if _odd() else 3), "x"),
        ["shape of 'x'", "[*, 4]", "[*, 3]"],
    ),
    "dtype of allgather": (
        lambda: hvd.allgather(_twos(torch.uint8 if _odd() else torch.int8), "x"),
        ["dtype of 'x'", "uint8", "int8"],
    ),
    "root": (
        lambda: hvd.broadcast(_twos(), 2 if _odd() else 0, "x"),
        ["root rank of broadcast 'x'", "2", "0"],
    ),
    "shape of broadcast": (
        lambda: hvd.broadcast(torch.ones(3 if _odd() else 2), 0, "x"),
        ["shape of 'x'"],
    ),
    "trailing shape of alltoall": (
        lambda: hvd.alltoall(torch.ones(3, 4 if _odd() else 3), name="x"),
        ["shape of 'x'", "[*, 4]"],
    ),
    "shape of reducescatter": (
        lambda: hvd.reducescatter(torch.ones(4 if _odd() else 3), "x"),
        ["shape of 'x'", "[4]", "[3]"],
    ),
    "op of reducescatter": (
        lambda: hvd.reducescatter(torch.ones(3), "x", op=hvd.Sum if _odd() else hvd.Average),
        ["op of reducescatter 'x'", "Sum", "Average"],
    ),
    "root of reduce": (
        lambda: hvd.reduce(_twos(), 2 if _odd() else 0, name="x"),
        ["root rank of reduce 'x'"],
    ),
    "dtype of gather": (
        lambda: hvd.gather(_twos(torch.int64 if _odd() else torch.int32), 0, "x"),
        ["dtype of 'x'"],
    ),
    "root of scatter": (
        lambda: hvd.scatter(torch.ones(3), 2 if _odd() else 0, name="x"),
        ["root rank of scatter 'x'"],
    ),
    "ranks of a new process set": (
        lambda: hvd.add_process_set([0, 1] if _odd() else [0, 2]),
        ["ranks of add_process_set"],
    ),
}


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_what_ranks_disagree_about_is_told_to_all_of_them(run_ranks, report_figure, backend):
    def main():
        told, times = {}, []
        for what, (call, words) in _DISAGREEMENTS.items():
            # Twice, so that the second meets what the first one left in the cache.
            for _ in range(2):
                hvd.barrier()
                started = time.monotonic()
                with pytest.raises(hvd.HorovodInternalError) as caught:
                    call()
                    pytest.fail(what)
                times.append((started, time.monotonic()))
                assert caught.value.code == "R201"
                assert caught.value.rank == 1, what
                for word in [*words, "rank 1"]:
                    assert word in str(caught.value), (what, str(caught.value))
                told[what] = str(caught.value)
            assert hvd.allreduce(_twos(), name="x", op=hvd.Sum).tolist() == [3.0, 3.0]
            assert hvd.allgather(_twos()).numel() == 6
        return told, times

    of_ranks = run_ranks(3, main, env={**_DYNAMIC, "RUEDA_BACKEND": backend})
    first, *others = [told for told, _ in of_ranks]
    assert all(other == first for other in others)
    # From the last rank's call, before which nothing can be found, to the last rank's error.
    seconds = [
        max(raised for _, raised in case) - max(started for started, _ in case)
        for case in zip(*(times for _, times in of_ranks), strict=True)
    ]
    assert len(seconds) == 2 * len(_DISAGREEMENTS)
    report_figure(
        f"errors ({backend}): {len(first)} disagreements, {len(seconds)} calls, "
        f"all 3 ranks told within {1000 * max(seconds):.1f} ms"
    )
    assert max(seconds) < _SECONDS


_OWN_MISTAKES = {
    "both op and average": (lambda s: hvd.allreduce(_twos(), True, op=1), "not both"),
    "unknown op": (lambda s: hvd.allreduce(_twos(), op=6), "op=6"),
    "sparse": (lambda s: hvd.allreduce(_twos().to_sparse()), "sparse"),
    "no such device": (lambda s: hvd.allreduce(torch.ones(2, device="meta")), "device meta"),
    "quantized": (
        lambda s: hvd.allgather(torch.quantize_per_tensor(_twos(), 0.1, 0, torch.qint8)),
        "R104|not supported",
    ),
    "root above": (lambda s: hvd.broadcast(_twos(), 3), "root_rank=3 is no rank"),
    "root below": (lambda s: hvd.broadcast_(_twos(), -1), "root_rank=-1 is no rank"),
    "root outside of the set": (
        lambda s: hvd.broadcast(_twos(), 2, process_set=s["with 1"]),
        "root_rank=2 is not in",
    ),
    "scalar reducescatter": (lambda s: hvd.reducescatter(torch.tensor(1.0)), "has none"),
    "splits too short": (lambda s: hvd.alltoall(_twos(), [2]), "splits has 1 entries"),
    "splits of int64": (lambda s: hvd.alltoall(_twos(), torch.tensor([1, 1, 0])), "int64"),
    "splits too large": (lambda s: hvd.alltoall(_twos(), [1, 1, 1]), "needs 3 rows"),
    "rows do not divide": (lambda s: hvd.alltoall(_twos()), "cannot be divided equally"),
    "unknown handle": (lambda s: hvd.poll(10**9), "handle 1000000000 is not known"),
    "set not registered": (lambda s: hvd.barrier(hvd.ProcessSet([0])), "not registered"),
    "no set": (lambda s: hvd.barrier([0]), "no rueda.ProcessSet"),
    "set of others": (lambda s: hvd.barrier(s["without 1"]), "rank 1 is not in"),
    "removed set": (lambda s: hvd.barrier(s["removed"]), "not registered, or not any more"),
}


def test_what_one_rank_does_wrong_is_told_to_it_and_others_wait_for_its_next_try(
    run_ranks, report_figure
):
    def main():
        seconds = []
        sets = {
            "with 1": hvd.add_process_set([0, 1]),
            "without 1": hvd.add_process_set([0, 2]),
            "removed": hvd.add_process_set([1, 2]),
        }
        hvd.remove_process_set(sets["removed"])
        for what, (call, words) in _OWN_MISTAKES.items():
            if hvd.rank() == 1:
                started = time.monotonic()
                with pytest.raises(ValueError, match=words):
                    call(sets)
                    pytest.fail(what)
                seconds.append(time.monotonic() - started)
            # Unnamed calls of each kind still match.
            assert hvd.allreduce(_twos(), op=hvd.Sum).tolist() == [3.0, 3.0]
            assert hvd.allgather(_twos()).numel() == 6
            assert hvd.broadcast(_twos() + hvd.rank(), 2).tolist() == [3.0, 3.0]
            assert hvd.alltoall(torch.ones(3)).numel() == 3
            assert hvd.reducescatter(torch.ones(3), op=hvd.Sum).item() == 3.0
        return seconds

    seconds = run_ranks(3, main, env=_DYNAMIC)[1]
    assert len(seconds) == len(_OWN_MISTAKES)
    report_figure(
        f"errors: {len(seconds)} mistakes of one rank, told within {1000 * max(seconds):.1f} ms"
    )
    assert max(seconds) < _SECONDS


def test_a_scalar_in_allgather_is_an_index_error(run_ranks):
    def main():
        for call in (hvd.allgather, hvd.allgather_async):
            with pytest.raises(IndexError):
                call(torch.tensor(1.0))
        hvd.barrier()

    run_ranks(2, main)


def test_the_same_name_twice_tells_where_the_first_came_from(start_ranks):
    def first():
        return hvd.allreduce_async(_twos(), name="same", op=hvd.Sum)

    def main(link):
        if hvd.rank() == 1:
            link.hear()
            return hvd.allreduce(_twos(), name="same", op=hvd.Sum).tolist()
        line = first.__code__.co_firstlineno + 1
        handle = first()
        again = {
            "allreduce": lambda: hvd.allreduce(_twos(), name="same"),
            "in place": lambda: hvd.allreduce_async_(_twos(), name="same"),
            "group": lambda: hvd.grouped_allreduce([_twos()], name="same"),
            "adasum": lambda: hvd.allreduce(_twos(), name="same", op=hvd.Adasum),
            "allgather": lambda: hvd.allgather(_twos(), "same"),
            "broadcast": lambda: hvd.broadcast(_twos(), 0, "same"),
            "alltoall": lambda: hvd.alltoall(_twos(), name="same"),
            "reducescatter": lambda: hvd.reducescatter(_twos(), "same"),
            "reduce": lambda: hvd.reduce(_twos(), 0, name="same"),
            "gather": lambda: hvd.gather(_twos(), 0, "same"),
            "scatter": lambda: hvd.scatter(_twos(), 0, name="same"),
        }
        for what, call in again.items():
            with pytest.raises(ValueError, match=r"\[R103\] 'same' is already in flight") as caught:
                call()
                pytest.fail(what)
            assert f"first(), {os.path.realpath(__file__)}:{line}." in str(caught.value), what
        link.tell("checked")
        return hvd.synchronize(handle).tolist()

    job = start_ranks(2, main)
    job.hear(0)
    job.tell(1, "go")
    assert job.results() == [[2.0, 2.0]] * 2


def test_a_peer_that_is_gone_is_an_error_of_every_collective(start_ranks, report_figure):
    def main(link):
        if hvd.rank() == 2:
            link.hear()
            link.tell(time.monotonic())
            os._exit(3)
        with pytest.raises(hvd.HorovodInternalError) as caught:
            link.tell("waits")
            hvd.alltoall(torch.ones(3))
        assert caught.value.code == "R301"
        assert caught.value.rank == 2
        calls = [
            lambda: hvd.allreduce(_twos()),
            lambda: hvd.reducescatter(_twos()),
            lambda: hvd.send(_twos(), 1 - hvd.rank()),
            hvd.join,
            lambda: hvd.add_process_set([0, 1]),
            lambda: hvd.gather(_twos(), 0),
        ]
        for call in calls:
            with pytest.raises(hvd.HorovodInternalError) as again:
                call()
            assert again.value.code == "R301"
        return 1 + len(calls)

    job = start_ranks(3, main, env=_DYNAMIC)
    for rank in (0, 1):
        job.hear(rank)
    job.tell(2, "go")
    gone_at = job.hear(2)
    ended = job.all_ended()
    assert [one.code for one in ended] == [0, 0, 3], job.describe()
    seconds = max(ended[rank].raised_at for rank in (0, 1)) - gone_at
    report_figure(
        f"errors: a rank gone, {ended[0].value} calls after it, "
        f"all told to the other 2 ranks within {1000 * seconds:.1f} ms"
    )
    assert seconds < _SECONDS
