"""A user's own compression class."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


class _Halved:
    """Sends half of each value, as float64: lossless."""

    @staticmethod
    def compress(tensor):
        return tensor.double() / 2, tensor.dtype

    @staticmethod
    def decompress(tensor, ctx):
        return (tensor * 2).to(ctx)


class _EverySecond:
    """An instance with settings; drops every second element."""

    def __init__(self, step):
        self.step = step

    def compress(self, tensor):
        return tensor.flatten()[:: self.step], tensor.shape

    def decompress(self, tensor, ctx):
        full = torch.zeros(ctx).flatten()
        full[:: self.step] = tensor
        return full.view(ctx)


class _LikeFp16(hvd.Compression.fp16):
    """Derived from rueda's, but another one."""

    calls = 0

    @staticmethod
    def compress(tensor):
        _LikeFp16.calls += 1
        return tensor, None


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_it_packs_is_reduced_and_unpacked(
    run_ranks, make_model, batch, loss, train_alone, assert_equal, tree_sum, size, passes
):
    def reduce(gradients):
        return ((tree_sum([one.double() / 2 for one in gradients]) / size) * 2).float()

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model), compression=_Halved, backward_passes_per_step=passes
        )
        for step in range(4):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(passes):
                loss(model, batch(step, hvd.rank(), which_pass)).backward()
            optimizer.step()
        alone = {"reduce": reduce} if size > 1 else {}
        assert_equal(model, train_alone(size, _sgd, passes=passes, **alone))

    run_ranks(size, main)


def test_an_instance_and_a_derived_class_are_used_as_they_are(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model), compression=_EverySecond(2))
        loss(model, batch(0, hvd.rank())).backward()
        own = [p.grad.clone() for p in model.parameters()]
        optimizer.synchronize()
        for parameter, before in zip(model.parameters(), own, strict=True):
            kept = hvd.allreduce(before).flatten()[::2]
            assert torch.equal(parameter.grad.flatten()[::2], kept)
            assert not parameter.grad.flatten()[1::2].any()
        derived = hvd.DistributedOptimizer(_sgd(make_model()), compression=_LikeFp16)
        derived.step()
        assert _LikeFp16.calls == 4

    run_ranks(2, main)


def test_passes_are_counted_and_gradients_without_a_value_are_zeros(run_ranks, make_model):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _sgd(model), model.named_parameters(), compression=_Halved
        )
        model[0](torch.ones(1, 6)).sum().backward()
        with pytest.raises(AssertionError, match=r"optimizer\.zero_grad"):
            optimizer.zero_grad()
        with pytest.raises(AssertionError, match=r"parameter '0\."):
            model[0](torch.ones(1, 6)).sum().backward()
        optimizer.step()
        assert not model[2].weight.grad.any()
        assert model[0].weight.grad.eq(1).all()

    run_ranks(2, main)


@pytest.mark.parametrize("what", ["compress", "decompress"])
def test_a_compressor_that_returns_something_else_is_named(
    run_ranks, make_model, batch, loss, what
):
    class Wrong(_Halved):
        if what == "compress":

            @staticmethod
            def compress(tensor):
                return tensor

        else:

            @staticmethod
            def decompress(tensor, ctx):
                return tensor.flatten()[:1]

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_sgd(model), compression=Wrong)
        loss(model, batch(0, hvd.rank())).backward()
        with pytest.raises(ValueError, match=rf"Wrong.*\.{what} must return"):
            optimizer.step()
        hvd.barrier()

    run_ranks(2, main)


def test_an_interrupted_step_reduces_nothing_twice(run_ranks):
    from rueda import _own_compression

    waits = []

    def interrupted_once(handle):
        waits.append(handle)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return plain(handle)

    plain = _own_compression.results

    def main():
        _own_compression.results = interrupted_once
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD([parameter], lr=1.0), op=hvd.Sum, compression=_Halved
        )
        parameter.sum().backward()
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
        assert parameter.eq(1).all()
        optimizer.step()
        assert parameter.grad.eq(2).all()
        assert parameter.eq(-1).all()
        assert len(waits) == 2

    run_ranks(2, main)


def test_ranks_that_disagree_are_told_and_the_job_goes_on(run_ranks):
    def main():
        parameter = torch.nn.Parameter(torch.ones(3 + hvd.rank()))
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD([parameter], lr=0.1), compression=_Halved
        )
        parameter.sum().backward()
        with pytest.raises(hvd.HorovodInternalError, match="ranks disagree on the shape"):
            optimizer.step()
        assert parameter.eq(1).all()
        hvd.barrier()

    run_ranks(2, main)
