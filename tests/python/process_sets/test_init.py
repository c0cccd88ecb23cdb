"""Process sets that are there from the start: lists, communicators, and what init refuses."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import rueda as hvd


def test_sets_are_registered_in_the_order_of_the_list(run_ranks):
    def main():
        even, odd = hvd.ProcessSet([2, 0]), hvd.ProcessSet([1, 3])
        hvd.init(process_sets=[even, odd])
        assert (even.process_set_id, odd.process_set_id) == (1, 2)
        assert (even.ranks, odd.ranks) == ([0, 2], [1, 3])
        assert hvd.process_set_ids_and_ranks() == {0: [0, 1, 2, 3], 1: [0, 2], 2: [1, 3]}
        own, other = (even, odd) if hvd.rank() % 2 == 0 else (odd, even)
        assert own.included()
        assert not other.included()
        assert own.size() == other.size() == 2
        assert own.rank() == hvd.rank() // 2
        with pytest.raises(ValueError, match=f"rank {hvd.rank()} is not in ProcessSet"):
            other.rank()
        found = hvd.allreduce(torch.tensor([hvd.rank()]), op=hvd.Sum, process_set=own)
        assert found.item() == (2 if own is even else 4)
        hvd.barrier()

    run_ranks(4, main, init=False)


def test_equal_sets_are_one_and_a_set_of_all_ranks_is_the_global_one(run_ranks):
    def main():
        sets = [hvd.ProcessSet(ranks) for ranks in ([0, 1], [1, 0], [1], range(2))]
        hvd.init(process_sets=sets)
        assert [one.process_set_id for one in sets] == [0, 0, 1, 0]
        assert hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=sets[1]).item() == 2.0

    run_ranks(2, main, init=False)


class _Communicator:
    """Answers as mpi4py's communicators do, over a rueda job that runs already in the parent."""

    def __init__(self, ranks, own):
        self._ranks, self._own = ranks, own

    def Get_rank(self):  # noqa: N802
        return self._ranks.index(self._own)

    def Get_size(self):  # noqa: N802
        return len(self._ranks)

    def allgather(self, value):
        assert value == self._own
        return list(self._ranks)

    def __bool__(self):
        return bool(self._ranks)


def test_communicators_that_differ_between_ranks_are_one_set_each(run_ranks):
    def main(rank):
        # As MPI's Split by rank % 2 leaves them; each rank knows its own part alone.
        half = hvd.ProcessSet(_Communicator([2, 0] if rank % 2 == 0 else [1, 3], rank))
        some = hvd.ProcessSet(_Communicator([1, 2] if rank in (1, 2) else [], rank))
        assert half.ranks is None
        hvd.init(comm=_Communicator([0, 1, 2, 3], rank), process_sets=[half, some])
        assert half.mpi_comm is not None
        assert hvd.process_set_ids_and_ranks() == {0: [0, 1, 2, 3], 1: [0, 2], 2: [1, 3], 3: [1, 2]}
        assert half.ranks == ([0, 2] if rank % 2 == 0 else [1, 3])
        assert half.included()
        assert some.included() == (rank in (1, 2))
        found = hvd.allreduce(torch.tensor([rank]), op=hvd.Sum, process_set=half)
        assert found.item() == sum(half.ranks)
        if some.included():
            assert hvd.allgather(torch.tensor([rank]), process_set=some).tolist() == [1, 2]
        else:
            with pytest.raises(ValueError, match="not registered"):
                hvd.barrier(some)
        hvd.barrier()

    run_each(run_ranks, 4, main)


def run_each(run_ranks, size, main):
    """Run ``main(rank)`` before init, where no function of rueda tells the rank."""

    def start():
        import os

        main(int(os.environ["RANK"]))

    run_ranks(size, start, init=False)


def test_a_communicator_of_other_ranks_is_refused(run_ranks):
    def main(rank):
        with pytest.raises(ValueError, match=f"rank {1 - rank} of 2 in the communicator"):
            hvd.init(comm=_Communicator([1, 0], rank))
        with pytest.raises(ValueError, match="rank 0 of 1 in the communicator"):
            hvd.init(comm=_Communicator([rank], rank))
        hvd.init(comm=[0, 1])
        hvd.barrier()

    run_each(run_ranks, 2, main)


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([0, 2], "names a rank that does not exist. Ranks are 0 to 1"),
        ([0, 0], "names a rank twice"),
        ([], "has no ranks"),
    ],
)
def test_a_set_that_cannot_be_is_refused_on_all_ranks_and_init_works_again(run_ranks, ranks, text):
    def main():
        wrong = hvd.ProcessSet(ranks)
        with pytest.raises(ValueError, match=text):
            hvd.init(process_sets=[hvd.ProcessSet([1]), wrong])
        assert not hvd.is_initialized()
        assert wrong.process_set_id is None
        right = hvd.ProcessSet([1])
        hvd.init(process_sets=[right])
        assert right.process_set_id == 1

    run_ranks(2, main, init=False)


def test_lists_that_differ_between_ranks_are_refused_on_all_of_them(run_ranks):
    def main(rank):
        with pytest.raises(hvd.HorovodInternalError, match=r"\[R201\].*process_sets") as caught:
            hvd.init(process_sets=[hvd.ProcessSet([0, 1] if rank == 0 else [1, 2])])
        assert caught.value.code == "R201"
        with pytest.raises(hvd.HorovodInternalError, match=r"process_sets=.* differs"):
            hvd.init(process_sets=[hvd.ProcessSet([0])] * (rank + 1))
        with pytest.raises(hvd.HorovodInternalError, match="RUEDA_DYNAMIC_PROCESS_SETS differs"):
            hvd.init(process_sets="dynamic" if rank == 0 else None)
        hvd.init()
        hvd.barrier()

    run_each(run_ranks, 3, main)


@pytest.mark.parametrize("ranks", [3, "01", [0.0], [True], ["0"], [None]])
def test_what_names_no_ranks_is_refused(ranks):
    with pytest.raises(ValueError, match="expected a list of ranks or an mpi4py communicator"):
        hvd.ProcessSet(ranks)


def test_sets_of_an_earlier_job_are_forgotten(run_ranks):
    def main():
        pair = hvd.ProcessSet([0, 1])
        hvd.init(process_sets=[pair])
        assert pair.process_set_id == 1
        kept = pickle.loads(pickle.dumps(pair))
        hvd.shutdown()
        assert pair.process_set_id is None
        hvd.init(process_sets=[hvd.ProcessSet([1, 2])])
        for one in (pair, kept):
            with pytest.raises(ValueError, match="not registered, or not any more"):
                hvd.barrier(one)
        hvd.shutdown()
        hvd.init(process_sets=[pair])
        assert pair.process_set_id == 1
        hvd.barrier()

    run_ranks(3, main, init=False)


def test_before_init_a_set_knows_no_place(run_ranks):
    def main():
        pair = hvd.ProcessSet([0, 1])
        assert (pair.size(), pair.rank()) == (None, None)
        for call in (pair.included, hvd.global_process_set.size, hvd.global_process_set.rank):
            with pytest.raises(ValueError, match="rueda is not initialised"):
                call()
        assert hvd.global_process_set.ranks is None
        hvd.init()
        assert (pair.size(), pair.rank(), pair.included()) == (None, None, True)
        assert hvd.global_process_set.ranks == [0, 1]
        assert hvd.global_process_set.size() == 2

    run_ranks(2, main, init=False)


def test_copies_of_models_keep_their_set(run_ranks):
    def main():
        pair = hvd.ProcessSet([0, 1])
        hvd.init(process_sets=[pair])
        assert copy.deepcopy({"set": pair})["set"] is pair
        sent = pickle.loads(pickle.dumps(pair))
        assert sent.process_set_id == 1
        if pair.included():
            hvd.barrier(sent)
        assert pickle.loads(pickle.dumps(hvd.global_process_set)).size() == 3
        hvd.barrier()

    run_ranks(3, main, init=False)
