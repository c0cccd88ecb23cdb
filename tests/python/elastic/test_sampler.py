"""ElasticSampler: who gets which index, and that none is lost or given twice over resets."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rueda.elastic import sampler as module
from rueda.elastic.sampler import ElasticSampler


class _Ranks:
    """All ranks' samplers in one process; their number may change at a reset."""

    def __init__(self, monkeypatch, count, length, shuffle=True, seed=0):
        self._monkeypatch = monkeypatch
        self.be(0, count)
        self._make = lambda: ElasticSampler(range(length), shuffle, seed)
        self.samplers = []
        self.become(count)

    def be(self, rank, count):
        self._monkeypatch.setattr(module, "rank", lambda: rank)
        self._monkeypatch.setattr(module, "size", lambda: count)

    def become(self, count):
        """Go on with so many ranks from what rank 0 knows, as a sync makes all ranks do."""
        known = self.samplers[0].state_dict() if self.samplers else {"epoch": 0, "processed_num": 0}
        self.samplers = []
        for rank in range(count):
            self.be(rank, count)
            self.samplers.append(self._make())
            self.samplers[-1].load_state_dict(known)

    def each(self, call):
        for rank, sampler in enumerate(self.samplers):
            self.be(rank, len(self.samplers))
            call(sampler)


@pytest.fixture
def make_ranks(monkeypatch):
    """Make the samplers of so many ranks."""

    def make(count, length, **options):
        return _Ranks(monkeypatch, count, length, **options)

    return make


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 24])
def test_shares_are_equal_and_hold_every_index(make_ranks, count, length):
    ranks = make_ranks(count, length)
    shares = [list(sampler) for sampler in ranks.samplers]
    assert {len(share) for share in shares} == {len(sampler) for sampler in ranks.samplers}
    assert len({len(share) for share in shares}) == 1
    flat = [index for share in shares for index in share]
    assert set(flat) == set(range(length))
    assert length <= len(flat) < length + count


def test_the_order_is_that_of_horovod_and_another_in_each_epoch(make_ranks):
    (sampler,) = make_ranks(1, 20, seed=4).samplers
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected = list(range(20))
        random.Random(4 + epoch).shuffle(expected)
        assert list(sampler) == expected
        assert list(sampler) == expected  # again, as nothing was recorded
        orders.append(tuple(expected))
    assert len(set(orders)) == 3


def test_without_shuffling_indices_come_in_their_order(make_ranks):
    ranks = make_ranks(2, 5, shuffle=False)
    assert [list(sampler) for sampler in ranks.samplers] == [[0, 2, 4], [1, 3, 0]]


def test_what_is_left_is_shared_out_at_a_reset_and_not_before(make_ranks):
    ranks = make_ranks(2, 8, shuffle=False)
    ranks.each(lambda sampler: sampler.record_batch(0, 2))
    first = ranks.samplers[0]
    assert (first.processed_num, len(first), first.remaining_indices) == (4, 4, list(range(8)))
    ranks.each(ElasticSampler.reset)
    assert [list(sampler) for sampler in ranks.samplers] == [[4, 6], [5, 7]]
    ranks.each(lambda sampler: sampler.set_epoch(1))
    assert [len(sampler) for sampler in ranks.samplers] == [4, 4]


def test_a_data_loader_has_the_length_of_the_share(make_ranks):
    (sampler,) = make_ranks(1, 7).samplers
    loader = torch.utils.data.DataLoader(range(7), batch_size=2, sampler=sampler)
    assert len(loader) == 4
    sampler.record_batch(0, 2)
    sampler.reset()
    assert len(loader) == 3
    assert sum(len(batch) for batch in loader) == 5


def test_the_state_is_two_numbers(make_ranks):
    (sampler,) = make_ranks(1, 7).samplers
    sampler.set_epoch(3)
    sampler.record_batch(0, 2)
    assert sampler.state_dict() == {"epoch": 3, "processed_num": 2}


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("batches"), st.integers(1, 4)),
        st.just(("commit", 0)),
        st.just(("fail", 0)),
        st.tuples(st.just("become"), st.integers(1, 5)),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(0, 60),
    batch_size=st.integers(1, 4),
    first=st.integers(1, 5),
    seed=st.integers(0, 5),
    actions=_ACTIONS,
)
def test_each_index_is_processed_once_in_an_epoch_whatever_happens(
    length, batch_size, first, seed, actions
):
    """Failures take back what was not committed; the number of ranks changes after some."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        ranks = _Ranks(monkeypatch, first, length, seed=seed)
        done, committed = [], ([], ranks.samplers[0].state_dict())
        shares = [iter(list(sampler)) for sampler in ranks.samplers]

        def process(batches):
            for number in range(batches):
                taken = [list(itertools.islice(share, batch_size)) for share in shares]
                assert len({len(batch) for batch in taken}) == 1  # nobody waits for another
                if not taken[0]:
                    return
                # Rank by rank within a batch is the order of what is left.
                done.extend(index for row in zip(*taken, strict=True) for index in row)
                for sampler in ranks.samplers:
                    sampler.record_batch(number, len(taken[0]))

        for action, number in [*actions, ("batches", length)]:
            if action == "batches":
                process(number)
            elif action == "commit":
                committed = (list(done), ranks.samplers[0].state_dict())
            else:
                if action == "fail":
                    done = list(committed[0])
                    ranks.samplers[0].load_state_dict(committed[1])
                ranks.become(number or len(ranks.samplers))
                shares = [iter(list(sampler)) for sampler in ranks.samplers]

        assert set(done) == set(range(length))
        # Where the number does not divide, the first ones fill up the last batch.
        assert done[:length] == list(dict.fromkeys(done))
        assert len(done) - length < max(5, first)
