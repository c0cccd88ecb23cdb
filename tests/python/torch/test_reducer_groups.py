"""Groups of the reducer, gradients that others reduce, and sparse gradients."""

from __future__ import annotations

import pytest
import torch


def make_model():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("groups", "buckets"),
    [([], 1), ([[0, 1], [2, 3]], 2), ([[3, 0]], 2), ([[], [1, 2, 3, 0]], 1), ([[2]], 2)],
)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_unit_is_a_bucket_and_the_sums_are_the_same(
    make_world, replicas, plain_gradients, average, size, groups, buckets
):
    copies = replicas(make_world(size), make_model, groups=groups)
    inputs = [torch.full((2, 4), 1.0 + rank) for rank in range(size)]
    expected = average([plain_gradients(copies.models[0], one) for one in inputs])
    for _ in range(2):
        copies.backward(inputs)
        copies.synchronize()
        copies.assert_all_ranks_have(expected)
        assert copies.reducers[0].bucket_count == buckets
        for model in copies.models:
            model.zero_grad()


def test_groups_are_larger_than_bucket_limits_and_mix_element_types(pair):
    parameters = [
        [torch.nn.Parameter(torch.ones(3, dtype=d)) for d in (torch.float32, torch.float64)]
        for _ in range(2)
    ]
    reducers = [
        _reducer(pair, rank, parameters[rank], groups=[[0, 1]], bucket_bytes=1) for rank in (0, 1)
    ]

    def main(rank):
        for scale in (1.0, 2.0):
            for parameter in parameters[rank]:
                parameter.grad = None
            ((rank + scale) * (parameters[rank][0].double() + parameters[rank][1])).sum().backward()
            reducers[rank].synchronize()
            assert all(p.grad.eq(0.5 + scale).all() for p in parameters[rank])
        assert reducers[rank].bucket_count == 1

    pair.run(main)


def _reducer(world, rank, parameters, **options):
    from rueda import _torch

    return _torch.GradientReducer(
        world.engines[rank].capsule(),
        parameters,
        [f"p{i}" for i in range(len(parameters))],
        **options,
    )


@pytest.mark.parametrize("late", [False, True])
def test_parameters_set_apart_are_counted_and_not_reduced(pair, late):
    parameters = [[torch.nn.Parameter(torch.ones(3)) for _ in range(3)] for _ in range(2)]
    options = {} if late else {"apart": [1]}
    reducers = [_reducer(pair, rank, parameters[rank], **options) for rank in range(2)]

    def main(rank):
        own = parameters[rank]
        # The last one has no gradient, so the bucket of all waits for the synchronisation.
        (own[0] * (rank + 1) + own[1] * (rank + 1)).sum().backward()
        if late:
            reducers[rank].set_apart([1])
        with pytest.raises(AssertionError, match="parameter 'p1'"):
            own[1].sum().backward()
        reducers[rank].synchronize()
        assert own[0].grad.eq(1.5).all()
        assert own[1].grad.eq(rank + 1).all()
        assert not own[2].grad.any()
        assert not reducers[rank].pending()

    pair.run(main)


def test_wrong_numbers_are_refused(make_world):
    world = make_world(1)
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    with pytest.raises(ValueError, match="there is no parameter 2"):
        _reducer(world, 0, parameters, groups=[[0, 2]])
    with pytest.raises(ValueError, match="parameter 'p1' is in two groups"):
        _reducer(world, 0, parameters, groups=[[0, 1], [1]])
    with pytest.raises(ValueError, match="there is no parameter 7"):
        _reducer(world, 0, parameters, apart=[7])
    reducer = _reducer(world, 0, parameters)
    with pytest.raises(ValueError, match="there is no parameter 5"):
        reducer.set_apart([0, 5])
    sum(p.sum() for p in parameters).backward()
    with pytest.raises(ValueError, match="the gradient of parameter 'p1' is being reduced already"):
        reducer.set_apart([1])
    reducer.synchronize()
    assert parameters[1].grad.eq(1).all()


@pytest.mark.parametrize("compression", ["none", "bf16"])
@pytest.mark.parametrize("as_dense", [True, False])
def test_a_sparse_gradient_is_made_dense_for_a_while_or_for_good(pair, as_dense, compression):
    tables = [torch.nn.Embedding(6, 2, sparse=True) for _ in range(2)]
    reducers = [
        _reducer(
            pair,
            rank,
            list(tables[rank].parameters()),
            sparse_as_dense=as_dense,
            compression=compression,
        )
        for rank in range(2)
    ]

    def main(rank):
        for _ in range(2):
            tables[rank](torch.tensor([1, 1, rank + 2])).sum().backward()
            if compression == "none":
                assert tables[rank].weight.grad.is_sparse is not as_dense
            reducers[rank].synchronize()
            expected = torch.zeros(6, 2)
            expected[1] = 2
            expected[2:4] = 0.5
            assert tables[rank].weight.grad.is_sparse is as_dense
            assert torch.equal(tables[rank].weight.grad.to_dense(), expected)
            tables[rank].weight.grad = None

    pair.run(main)


def test_sparse_passes_add_up(pair):
    tables = [torch.nn.Embedding(6, 2, sparse=True) for _ in range(2)]
    reducers = [
        _reducer(pair, rank, list(tables[rank].parameters()), backward_passes_per_step=2)
        for rank in range(2)
    ]

    def main(rank):
        tables[rank](torch.tensor([1])).sum().backward()
        tables[rank](torch.tensor([1, rank])).sum().backward()
        reducers[rank].synchronize()
        expected = torch.zeros(6, 2)
        expected[0], expected[1] = 0.5, 2.5
        assert torch.equal(tables[rank].weight.grad, expected)

    pair.run(main)
