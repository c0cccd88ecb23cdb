"""Where gradients lie: buckets, memory that peers map, and what is agreed on."""

from __future__ import annotations

import pytest
import torch

from rueda.exceptions import HorovodInternalError


def _layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 13), torch.nn.ReLU(), torch.nn.Linear(13, 3))


def _inputs(size, *shape):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(*shape, generator=generator) for _ in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("bucket_bytes", [1, 200, 1 << 20])
def test_gradients_are_the_canonical_average(
    make_world, replicas, plain_gradients, average, size, bucket_bytes
):
    job = replicas(make_world(size), _layers, bucket_bytes=bucket_bytes, first_bucket_bytes=1)
    inputs = _inputs(size, 5, 7)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))


def test_sum_with_factors_scales_before_and_after(pair, replicas, plain_gradients):
    job = replicas(pair, _layers, op=1, prescale=0.5, postscale=4.0)
    inputs = _inputs(2, 5, 7)
    job.backward(inputs)
    job.synchronize()
    plain = [plain_gradients(job.models[0], one) for one in inputs]
    job.assert_all_ranks_have({n: (plain[0][n] * 0.5 + plain[1][n] * 0.5) * 4 for n in plain[0]})


def test_first_bucket_is_small_and_others_are_filled_from_the_end(make_world):
    world = make_world(1)
    layers = torch.nn.Sequential(*[torch.nn.Linear(16, 16, bias=False) for _ in range(7)])
    reducer = world.reducer(0, layers, bucket_bytes=2048, first_bucket_bytes=1024)
    assert reducer.gradient_bytes == 7 * 1024
    assert reducer.bucket_count == 1 + 3


def test_a_gradient_above_the_limit_gets_a_bucket_of_its_own(make_world):
    world = make_world(1)
    layers = torch.nn.Sequential(*[torch.nn.Linear(16, 16, bias=False) for _ in range(3)])
    assert world.reducer(0, layers, bucket_bytes=8, first_bucket_bytes=8).bucket_count == 3


def test_each_bucket_holds_one_element_type(pair, replicas, plain_gradients, average):
    class Mixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
            self.b = torch.nn.Parameter(torch.randn(5))
            self.c = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))

        def forward(self, x):
            return self.a * x + self.b * x + self.c * x

    job = replicas(pair, Mixed)
    assert job.reducers[0].bucket_count == 2
    inputs = _inputs(2, 5)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))


def test_buckets_lie_in_memory_that_peers_map_and_gradients_stay_there(pair, replicas):
    job = replicas(pair, _layers, bucket_bytes=300, first_bucket_bytes=100)
    for _ in range(3):
        job.backward(_inputs(2, 5, 7))
        job.synchronize()
        for model in job.models:
            for parameter in model.parameters():
                parameter.grad.zero_()
    for reducer in job.reducers:
        assert reducer.placed_bucket_count == reducer.bucket_count > 1
        assert reducer.copies_in == 4  # the first step's four gradients


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("arena_bytes", ["0", "1"])
def test_gradients_of_any_size_are_copied_in_whole(make_world, average, threads, arena_bytes):
    """Sizes around those from which on copies pass the caches, and PyTorch's own copy is used."""
    borders = [16 << 10, 64 << 10]
    sizes = [1, 15, *(border + more for border in borders for more in (-1, 0, 1, 17))]
    world = make_world(3, RUEDA_ARENA_BYTES=arena_bytes)
    models = [
        torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(n)) for n in sizes])
        for _ in range(3)
    ]
    values = [[torch.randn(n + 3) for n in sizes] for _ in range(3)]

    def main(rank):
        torch.set_num_threads(threads)
        reducer = world.reducer(rank, models[rank])
        for step in range(3):
            # Made anew each time, and not where a cache line begins.
            for parameter, own in zip(models[rank], values[rank], strict=True):
                parameter.grad = own.clone()[step : step + len(parameter)]
            reducer.synchronize()
            assert reducer.copies_in == (step + 1) * len(sizes)
            for index, parameter in enumerate(models[rank]):
                each = [{"": v[index][step : step + len(parameter)]} for v in values]
                assert torch.equal(parameter.grad, average(each)[""]), sizes[index]

    before = torch.get_num_threads()
    try:
        world.run(main)
    finally:
        torch.set_num_threads(before)


def test_without_room_in_the_arena_buckets_are_private_and_right(
    make_world, replicas, plain_gradients, average
):
    def wide() -> torch.nn.Module:
        return torch.nn.Linear(3000, 1000)

    world = make_world(2, RUEDA_ARENA_BYTES="1")
    job = replicas(world, wide)
    assert job.reducers[0].placed_bucket_count < job.reducers[0].bucket_count
    inputs = _inputs(2, 2, 3000)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))


def test_a_bucket_that_is_private_on_one_rank_only_is_right(make_world, plain_gradients, average):
    # Rank 1's arena is full when its reducer is made.
    pair = make_world(2, RUEDA_ARENA_BYTES=str(64 << 20))
    models = [torch.nn.Linear(50, 40) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    fillers = []
    while not fillers or fillers[-1].placed_bucket_count == 1:
        filler = torch.nn.Module()
        filler.p = torch.nn.Parameter(torch.empty(1 << 20, dtype=torch.float32))
        fillers.append(pair.reducer(1, filler, name=f"filler.{len(fillers)}"))
        assert len(fillers) <= 16
    inputs = _inputs(2, 5, 50)
    plain = average([plain_gradients(models[0], one) for one in inputs])

    def main(rank):
        reducer = pair.reducer(rank, models[rank])
        models[rank](inputs[rank]).square().sum().backward()
        reducer.synchronize()
        return {name: p.grad for name, p in models[rank].named_parameters()}

    for gradients in pair.run(main):
        for name, gradient in gradients.items():
            assert torch.equal(gradient, plain[name])


def test_tied_parameters_count_once(pair, replicas, plain_gradients, average):
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(6, 6, bias=False)
            self.outer = torch.nn.Linear(6, 6, bias=False)
            self.outer.weight = self.inner.weight

        def forward(self, x):
            return self.outer(self.inner(x))

        def named_parameters(self, *args, **kwargs):
            yield "inner.weight", self.inner.weight
            if not args and not kwargs:
                yield "outer.weight", self.outer.weight

    job = replicas(pair, Tied)
    assert job.reducers[0].gradient_bytes == 6 * 6 * 4
    inputs = _inputs(2, 3, 6)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))


def test_scalars_and_empty_parameters_take_part(pair, replicas, plain_gradients, average):
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scalar = torch.nn.Parameter(torch.tensor(2.0))
            self.empty = torch.nn.Parameter(torch.empty(0, 3))
            self.prime = torch.nn.Parameter(torch.randn(101))

        def forward(self, x):
            return self.scalar * self.prime * x + self.empty.sum()

    job = replicas(pair, Odd, bucket_bytes=1, first_bucket_bytes=1)
    inputs = _inputs(2, 101)
    for _ in range(2):
        job.backward(inputs)
        job.synchronize()
        job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))
        for model in job.models:
            model.zero_grad()


def test_gradients_of_channels_last_parameters_keep_their_strides(
    pair, replicas, plain_gradients, average
):
    def convolution() -> torch.nn.Module:
        return torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)

    job = replicas(pair, convolution)
    inputs = _inputs(2, 2, 3, 8, 8)
    job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(average([plain_gradients(job.models[0], one) for one in inputs]))
    assert job.models[0].weight.grad.stride() == job.models[0].weight.stride()


def test_a_memory_format_that_not_all_ranks_use_is_an_error_that_names_it(pair):
    def main(rank):
        model = torch.nn.Conv2d(3, 3, 3)
        if rank == 1:
            model = model.to(memory_format=torch.channels_last)
        reducer = pair.reducer(rank, model)
        with pytest.raises(HorovodInternalError, match=r"weight \(memory order 0 2 3 1\)"):
            reducer.synchronize()

    pair.run(main)


def test_a_model_without_parameters_is_reduced_at_once(pair, replicas):
    job = replicas(pair, torch.nn.Identity)
    job.synchronize()
    assert job.reducers[0].bucket_count == 0


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        (torch.zeros(2).to(torch.float8_e5m2), "float8_e5m2"),
        (torch.zeros(2, device="meta"), "device meta"),
        (torch.zeros(2, 2).to_sparse(), "sparse"),
    ],
)
def test_a_parameter_that_cannot_be_reduced_is_refused_by_name(make_world, parameter, why):
    model = torch.nn.Module()
    model.odd = torch.nn.Parameter(parameter)
    with pytest.raises(ValueError, match=f"'odd'.*{why}"):
        make_world(1).reducer(0, model)
