"""Gradients that travel in 16 bits."""

from __future__ import annotations

import pytest
import torch

_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def _layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(7, 13), torch.nn.ReLU(), torch.nn.Linear(13, 3))


def _inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 7, generator=generator) for _ in range(2)]


def _expected(plain, kind):
    """Rounded, added in float32, halved, rounded once more, and widened."""
    return {
        name: ((plain[0][name].to(kind).float() + plain[1][name].to(kind).float()) / 2)
        .to(kind)
        .to(plain[0][name].dtype)
        for name in plain[0]
    }


@pytest.mark.parametrize("compression", ["fp16", "bf16"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_values_are_rounded_and_gradients_keep_their_type(
    pair, replicas, plain_gradients, compression, set_to_none
):
    job = replicas(pair, _layers, compression=compression)
    kind = _TYPES[compression]
    for seed in range(3):
        inputs = _inputs(seed)
        plain = [plain_gradients(job.models[0], one) for one in inputs]
        job.backward(inputs)
        job.synchronize()
        job.assert_all_ranks_have(_expected(plain, kind))
        for model in job.models:
            model.zero_grad(set_to_none=set_to_none)
    assert job.reducers[0].gradient_bytes == sum(p.numel() * 2 for p in job.models[0].parameters())


def test_accumulated_passes_are_summed_before_they_are_rounded(pair, replicas, plain_gradients):
    job = replicas(pair, _layers, compression="fp16", backward_passes_per_step=2)
    passes = [_inputs(1), _inputs(2)]
    plain = [plain_gradients(job.models[0], passes[0][r], passes[1][r]) for r in range(2)]
    for inputs in passes:
        job.backward(inputs)
    job.synchronize()
    job.assert_all_ranks_have(_expected(plain, torch.float16))


def test_types_of_16_bits_travel_as_they_are_and_doubles_are_rounded(make_world):
    world = make_world(1)
    model = torch.nn.Module()
    model.narrow = torch.nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    model.wide = torch.nn.Parameter(torch.ones(64, dtype=torch.float64))
    reducer = world.reducer(0, model, compression="fp16")
    assert reducer.bucket_count == 2
    assert reducer.gradient_bytes == 2 * 64 * 2
    (model.narrow.sum() * 3e38 + model.wide.sum() * (1 + 2**-30)).backward()
    reducer.synchronize()
    assert torch.equal(model.narrow.grad, torch.full((64,), 3e38, dtype=torch.bfloat16))
    assert torch.equal(model.wide.grad, torch.ones(64, dtype=torch.float64))


def test_a_gradient_that_a_user_holds_is_updated_in_place(pair, replicas):
    job = replicas(pair, _layers, compression="fp16")
    job.backward(_inputs(1))
    held = [p.grad for p in job.models[0].parameters()]
    job.synchronize()
    assert all(p.grad is one for p, one in zip(job.models[0].parameters(), held, strict=True))


def test_unused_parameters_get_zeros(pair, replicas):
    job = replicas(pair, _layers, compression="bf16")
    job.synchronize()
    job.assert_all_ranks_have(
        {name: torch.zeros_like(p) for name, p in job.models[0].named_parameters()}
    )


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_create_graph(pair, replicas, plain_gradients):
    job = replicas(pair, _layers, compression="fp16")
    inputs = _inputs(1)
    plain = [plain_gradients(job.models[0], one) for one in inputs]

    def main(rank):
        job.models[rank](inputs[rank]).square().sum().backward(create_graph=True)
        job.reducers[rank].synchronize()
        assert all(not p.grad.requires_grad for p in job.models[rank].parameters())

    pair.run(main)
    job.assert_all_ranks_have(_expected(plain, torch.float16))


def test_a_model_that_became_half(pair, replicas):
    job = replicas(pair, _layers, compression="fp16")
    job.backward(_inputs(1))
    job.synchronize()
    for model in job.models:
        model.half()
        model.zero_grad()
    for _ in range(2):
        job.backward([one.half() for one in _inputs(2)])
        job.synchronize()
    first, second = job.gradients(0), job.gradients(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(gradient.dtype == torch.float16 for gradient in first.values())
