"""Gradients that travel as 16 bits."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("kind", ["fp16", "bf16"])
@pytest.mark.parametrize("size", [2, 3])
def test_each_rank_rounds_and_the_sum_is_rounded_once(
    run_ranks, make_model, batch, loss, train_alone, assert_equal, tree_sum, size, kind, passes
):
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[kind]

    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def reduce(gradients):
        sent = [one.to(dtype).float() for one in gradients]
        return (tree_sum(sent) / size).to(dtype).float()

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            make(model),
            compression=getattr(hvd.Compression, kind),
            backward_passes_per_step=passes,
        )
        for step in range(4):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(passes):
                loss(model, batch(step, hvd.rank(), which_pass)).backward()
            optimizer.step()
        assert model[0].weight.grad.dtype == torch.float32
        assert_equal(model, train_alone(size, make, passes=passes, reduce=reduce))

    run_ranks(size, main)


def test_gradients_of_16_bits_are_sent_as_they_are(run_ranks):
    def main():
        parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD([parameter], lr=1.0), compression=hvd.Compression.fp16
        )
        (parameter * 1e30).sum().backward()
        optimizer.step()
        assert parameter.grad.dtype == torch.bfloat16
        assert parameter.grad.isfinite().all()

    run_ranks(2, main)


def test_clipping_works_on_the_decompressed_gradient(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=1.0), compression=hvd.Compression.fp16
        )
        for step in range(3):
            before = [parameter.detach().clone() for parameter in model.parameters()]
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.synchronize()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            with optimizer.skip_synchronize():
                optimizer.step()
            moved = [p.detach() - q for p, q in zip(model.parameters(), before, strict=True)]
            assert torch.cat([one.flatten() for one in moved]).norm().item() < 1.1e-3
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize("wrong", [hvd.Compression, object, "fp16"])
def test_other_compressions_are_refused(run_ranks, make_model, wrong):
    def main():
        model = make_model()
        with pytest.raises(ValueError, match="the optimizer takes rueda"):
            hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), compression=wrong)

    run_ranks(2, main)
