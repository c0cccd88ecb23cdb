"""Unnamed calls match on all ranks, whatever happened before."""

from __future__ import annotations

import random
import threading

import pytest
import torch

import rueda as hvd

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


def _check_all_kinds(process_set=hvd.global_process_set):
    """One unnamed call of each kind, with values that only the right partners give."""
    members = process_set.ranks
    own = torch.tensor([float(hvd.rank())])
    total = float(sum(members))
    arguments = {"process_set": process_set}
    assert hvd.allreduce(own, op=hvd.Sum, **arguments).item() == total
    assert hvd.grouped_allreduce([own, own], op=hvd.Sum, **arguments)[1].item() == total
    assert hvd.allreduce(own + 1, op=hvd.Adasum, **arguments).numel() == 1
    assert hvd.allgather(own, **arguments).tolist() == members
    assert hvd.broadcast(own, members[-1], **arguments).item() == members[-1]
    assert hvd.alltoall(own.repeat(len(members)), **arguments).tolist() == members
    assert hvd.reducescatter(own.repeat(len(members)), op=hvd.Sum, **arguments).item() == total
    assert hvd.reduce(own, members[0], hvd.Sum, **arguments).numel() <= 1
    assert hvd.gather(own, members[0], **arguments).numel() in (0, len(members))
    assert hvd.scatter(own.repeat(len(members)), members[0], **arguments).item() == members[0]
    sparse = hvd.sparse_allreduce_async(own.to_sparse(), None, hvd.Sum, **arguments)()
    assert sparse.to_dense().item() == total
    hvd.barrier(process_set)


def test_calls_that_failed_on_all_ranks(run_ranks):
    def main():
        for _ in range(3):
            for call in (hvd.allreduce, hvd.allgather, hvd.alltoall, hvd.reducescatter):
                dtype = torch.float64 if hvd.rank() == 1 else torch.float32
                with pytest.raises(hvd.HorovodInternalError, match="dtype"):
                    call(torch.ones(3, dtype=dtype))
            _check_all_kinds()

    run_ranks(3, main)


def test_calls_that_failed_on_one_rank_alone(run_ranks):
    def main():
        for step in range(6):
            if step % 3 == hvd.rank():
                for call in (
                    lambda: hvd.allreduce(torch.ones(2), op=99),
                    lambda: hvd.allreduce(torch.ones(2, device="meta")),
                    lambda: hvd.grouped_allreduce([torch.ones(2).to_sparse()]),
                    lambda: hvd.allgather(torch.ones(2).to_sparse()),
                    lambda: hvd.broadcast(torch.ones(2), 9),
                    lambda: hvd.alltoall(torch.ones(2), [3, 3, 3]),
                    lambda: hvd.reducescatter(torch.tensor(1.0)),
                    lambda: hvd.reduce(torch.ones(2), 9),
                    lambda: hvd.scatter(torch.ones(2), hvd.rank()),
                    lambda: hvd.allreduce(torch.ones(2, dtype=torch.int64), op=hvd.Adasum),
                    lambda: hvd.sparse_allreduce_async(torch.ones(2), None, hvd.Sum),
                    lambda: hvd.add_process_set(["a"]),
                ):
                    with pytest.raises(ValueError):
                        call()
            _check_all_kinds()

    run_ranks(3, main, env=_DYNAMIC)


def test_calls_on_some_process_sets_only(run_ranks):
    def main():
        sets = [hvd.add_process_set(ranks) for ranks in ([0, 1], [1, 2], [2])]
        chooser = random.Random(5)
        for _ in range(12):
            some = chooser.choice([*sets, hvd.global_process_set])
            if some.included():
                _check_all_kinds(some)
        _check_all_kinds()

    run_ranks(3, main, env=_DYNAMIC)


def test_joins_of_the_job_and_of_sets(run_ranks):
    def main():
        pair = hvd.add_process_set([0, 2])
        own = torch.ones(1)
        for turn in range(3):
            if pair.included():
                for _ in range((hvd.rank() + turn) % 3):
                    hvd.allreduce(own, process_set=pair)
                hvd.join(process_set=pair)
                _check_all_kinds(pair)
            for _ in range((hvd.rank() * 2 + turn) % 3):
                hvd.allreduce(own)
                hvd.allgather(own)
            hvd.join()
            _check_all_kinds()
            if pair.included():
                _check_all_kinds(pair)

    run_ranks(3, main, env=_DYNAMIC)


def test_a_set_that_was_removed_and_added_again(run_ranks):
    def main():
        pair = hvd.ProcessSet([0, 1])
        for turn in range(3):
            hvd.add_process_set(pair)
            if pair.included():
                for _ in range(turn):
                    hvd.allreduce(torch.ones(1), process_set=pair)
                _check_all_kinds(pair)
            hvd.remove_process_set(pair)
            _check_all_kinds()

    run_ranks(3, main, env=_DYNAMIC)


def test_a_wait_that_was_interrupted(start_ranks):
    def main(link):
        own = torch.ones(1)
        if hvd.rank() == 0:
            main_thread = threading.main_thread().ident
            timer = threading.Timer(0.05, lambda: _interrupt(main_thread))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                hvd.allreduce(own, op=hvd.Sum)
            timer.join()
            link.tell("interrupted")
        else:
            link.hear()
            # Its partner is the call that was interrupted, which goes on.
            assert hvd.allreduce(own, op=hvd.Sum).item() == 2.0
        _check_all_kinds()

    job = start_ranks(2, main)
    assert job.hear(0) == "interrupted"
    job.tell(1, "go")
    job.results()


def _interrupt(thread):
    import signal

    signal.pthread_kill(thread, signal.SIGINT)
