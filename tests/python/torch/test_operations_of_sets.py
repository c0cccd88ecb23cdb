"""Operations that divide rows, and those of the engine itself: process sets, pairs, joins."""

from __future__ import annotations

import torch

from rueda import _torch

SUM, MAX = 1, 4


def test_operations_that_divide_rows(make_world):
    world = make_world(3)

    def main(rank):
        operations = world.operations[rank]

        def run(kind, tensor, **options):
            return operations.wait(operations.submit(kind, [tensor], None, None, **options))

        own = torch.arange(6.0) + 10 * rank
        scattered = run(_torch.REDUCESCATTER, own[:4], op=SUM)
        output, received = run(_torch.ALLTOALL, own, parts=[1, 2, 3], with_splits=True)
        gathered = run(_torch.GATHER, own[:rank], root=2)
        part = run(_torch.SCATTER, own, root=0, parts=[3, 0, 2] if rank == 0 else [])
        reduced = run(_torch.REDUCE, own, root=1, op=MAX)
        return scattered, output, received, gathered, part, reduced

    results = world.run(main)
    assert [one[0].tolist() for one in results] == [[30.0, 33.0], [36.0], [39.0]]
    assert [one[1].tolist() for one in results] == [
        [0.0, 10.0, 20.0],
        [1.0, 2.0, 11.0, 12.0, 21.0, 22.0],
        [3.0, 4.0, 5.0, 13.0, 14.0, 15.0, 23.0, 24.0, 25.0],
    ]
    assert [one[2].tolist() for one in results] == [[1] * 3, [2] * 3, [3] * 3]
    assert results[0][2].dtype == torch.int32
    assert [one[3].tolist() for one in results] == [[], [], [10.0, 20.0, 21.0]]
    assert [one[4].tolist() for one in results] == [[0.0, 1.0, 2.0], [], [3.0, 4.0]]
    assert [one[5].shape for one in results] == [(0,), (6,), (0,)]
    assert results[1][5].tolist() == [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]


def test_process_sets_pairs_and_joins(make_world):
    world = make_world(3)

    def main(rank):
        operations = world.operations[rank]

        def run(kind, tensors, **options):
            return operations.wait(operations.submit(kind, tensors, None, None, **options))

        own = torch.tensor([1.0 + rank])
        number = run(_torch.ADD_PROCESS_SET, [], parts=[2, 0])
        found = run(_torch.ALLREDUCE, [own], process_set=number) if rank != 1 else None
        if rank != 1:
            run(_torch.BARRIER, [], process_set=number)
        assert run(_torch.REMOVE_PROCESS_SET, [], parts=[number]) is None
        received = None
        if rank < 2:
            pair = _torch.pair_of(1, 0)
            received = run(_torch.BROADCAST, [own], root=1, process_set=pair)
        if rank == 2:
            run(_torch.ALLREDUCE, [own])
        return number, found, received, run(_torch.JOIN, [])

    results = world.run(main)
    assert [one[0] for one in results] == [1, 1, 1]
    assert [one[1] for one in results] == [torch.tensor([4.0]), None, torch.tensor([4.0])]
    assert [one[2] for one in results] == [torch.tensor([2.0]), torch.tensor([2.0]), None]
    assert len({one[3] for one in results}) == 1
