"""Process sets over resets: what was registered before ``run`` is registered again."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.fixture
def fail_once():
    """Run a function of the attempt's number under ``run``, which fails once after the first."""

    def run(func):
        attempts = []

        @hvd.elastic.run
        def repeated(state):
            attempts.append(len(attempts))
            value = func(attempts[-1])
            if len(attempts) == 1:
                raise hvd.HorovodInternalError("once")
            return value

        return repeated(hvd.elastic.TorchState(x=1))

    return run


def test_static_sets_and_their_twins_are_there_again(run_ranks, fail_once):
    def main():
        pair, twin, everyone = hvd.ProcessSet([0, 1]), hvd.ProcessSet([0, 1]), hvd.ProcessSet(None)
        other = hvd.ProcessSet([2])
        hvd.init(process_sets=[pair, twin, other, everyone])
        numbers = []

        def use_them(attempt):
            numbers.append([s.process_set_id for s in (pair, twin, other, everyone)])
            own = other if other.included() else (pair, twin)[attempt]
            total = hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=own).item()
            total += hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=everyone).item()
            return total, hvd.process_set_ids_and_ranks()

        total, table = fail_once(use_them)
        assert numbers == [[1, 1, 2, 0]] * 2
        assert table == {0: [0, 1, 2], 1: [0, 1], 2: [2]}
        with pytest.raises(ValueError, match="process sets are fixed"):
            hvd.add_process_set([1])
        return total

    assert run_ranks(3, main, init=False) == [5.0, 5.0, 4.0]


def test_sets_added_inside_are_gone_and_can_be_added_again(run_ranks, fail_once):
    def main():
        hvd.init(process_sets="dynamic")
        hvd.remove_process_set(hvd.add_process_set([1]))
        before = hvd.add_process_set([0])
        inside = hvd.ProcessSet([0, 1])
        ids = []

        def use_them(attempt):
            assert inside.process_set_id is None
            hvd.add_process_set(inside)
            ids.append((before.process_set_id, inside.process_set_id))
            assert before.ranks == [0]
            if not inside.included():
                return 2.0
            return hvd.allreduce(torch.ones(1), op=hvd.Sum, process_set=inside).item()

        assert fail_once(use_them) == 2.0
        return ids

    assert run_ranks(3, main, init=False) == [[(2, 3), (1, 2)]] * 3


def test_an_optimizer_of_a_set_goes_on_in_it(run_ranks, fail_once):
    def main():
        pair = hvd.ProcessSet([0, 2])
        hvd.init(process_sets=[pair])
        weight = torch.nn.Parameter(torch.zeros(2))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD([weight], lr=1.0), op=hvd.Sum, process_set=pair
        )

        def step(attempt):
            optimizer.zero_grad()
            (weight * (hvd.rank() + 1)).sum().backward()
            optimizer.step()
            return weight.tolist()

        return fail_once(step)

    # Two attempts; the ranks of the set move together.
    assert run_ranks(3, main, init=False) == [[-8.0] * 2, [-4.0] * 2, [-8.0] * 2]
