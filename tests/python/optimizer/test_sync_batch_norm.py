"""SyncBatchNorm equals batch normalisation in one process on all ranks' batches together."""

from __future__ import annotations

import copy
import io

import pytest
import torch

import rueda as hvd

_PLAIN = {
    2: torch.nn.BatchNorm1d,
    3: torch.nn.BatchNorm1d,
    4: torch.nn.BatchNorm2d,
    5: torch.nn.BatchNorm3d,
}


def _inputs(sizes, rest, dtype=torch.float32, step=0):
    """One batch a rank, of unequal sizes and with a mean far from zero."""
    generator = torch.Generator().manual_seed(17 + step)
    return [
        (torch.randn(size, 3, *rest, generator=generator) * 2 + 5 + step).to(dtype)
        for size in sizes
    ]


def _weights(like):
    return torch.linspace(-1, 1, like.numel()).view_as(like).to(like.dtype)


def _train(layer, batch):
    """One pass of a loss whose gradient differs everywhere; returns output and gradients."""
    batch = batch.clone().requires_grad_()
    layer.zero_grad()
    output = layer(batch)
    (output * output.detach().cos()).sum().backward()
    return output.detach(), batch.grad, layer.weight.grad.clone(), layer.bias.grad.clone()


def _fill(layer):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.bias.copy_(torch.tensor([1.0, 0.0, -3.0]))
    return layer


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("rest", [(), (7,), (4, 5), (2, 3, 2)])
@pytest.mark.parametrize("sizes", [(4,), (4, 4), (5, 2), (3, 0), (1, 4, 2), (0, 1, 0, 3)])
def test_it_equals_one_process_on_the_whole_batch(run_ranks, sizes, rest, dtype, bound):
    def main():
        own = hvd.rank()
        layer = _fill(hvd.SyncBatchNorm(3)).to(dtype)
        plain = _fill(_PLAIN[2 + len(rest)](3)).to(dtype)
        for step in range(3):
            batches = _inputs(sizes, rest, dtype, step)
            output, gradient, of_weight, of_bias = _train(layer, batches[own])
            whole = _train(plain, torch.cat(batches))
            begin = sum(sizes[:own])
            rows = slice(begin, begin + sizes[own])
            found = [
                output,
                gradient,
                hvd.allreduce(of_weight, op=hvd.Sum),
                hvd.allreduce(of_bias, op=hvd.Sum),
                layer.running_mean,
                layer.running_var,
            ]
            wanted = [whole[0][rows], whole[1][rows], *whole[2:]]
            wanted += [plain.running_mean, plain.running_var]
            for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
                assert one.shape == other.shape
                scale = 1.0 + other.abs().max().item() if other.numel() else 1.0
                assert torch.allclose(one, other, rtol=bound, atol=bound * scale), (step, index)
        assert layer.num_batches_tracked == plain.num_batches_tracked == 3
        return layer.running_mean, layer.running_var

    first, *others = run_ranks(len(sizes), main)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"affine": False},
        {"track_running_stats": False},
        {"momentum": None},
        {"momentum": 0.0},
        {"eps": 0.5, "momentum": 0.7},
    ],
)
def test_options_mean_what_they_mean_in_pytorch(run_ranks, options):
    def main():
        layer, plain = hvd.SyncBatchNorm(3, **options), torch.nn.BatchNorm1d(3, **options)
        assert layer.state_dict().keys() == plain.state_dict().keys()
        for step in range(3):
            batches = _inputs((3, 2), (4,), step=step)
            inputs = batches[hvd.rank()].requires_grad_()
            whole = torch.cat([one.detach() for one in batches]).requires_grad_()
            output, expected = layer(inputs), plain(whole)
            rows = slice(3 * hvd.rank(), 3 * hvd.rank() + len(inputs))
            assert torch.allclose(output, expected[rows], rtol=1e-5, atol=1e-5)
            output.square().sum().backward()
            expected.square().sum().backward()
            assert torch.allclose(inputs.grad, whole.grad[rows], rtol=1e-4, atol=1e-4)
        for name, value in plain.state_dict().items():
            assert torch.allclose(layer.state_dict()[name], value, rtol=1e-5, atol=1e-5), name
        layer.eval()
        plain.eval()
        if plain.track_running_stats:
            assert torch.allclose(layer(inputs), plain(inputs), rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(layer(inputs), plain(inputs))

    run_ranks(2, main)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters", ["float32", "same"])
def test_sixteen_bit_inputs_are_worked_on_in_float32(run_ranks, dtype, parameters):
    def main():
        batches = _inputs((3, 5), (4, 2), dtype)
        layer, plain = _fill(hvd.SyncBatchNorm(3)), _fill(torch.nn.BatchNorm2d(3))
        if parameters == "same":
            layer.to(dtype)
        inputs = batches[hvd.rank()].clone().requires_grad_()
        whole = torch.cat(batches).float().requires_grad_()
        output, expected = layer(inputs), plain(whole)
        assert output.dtype == dtype
        rows = slice(3 * hvd.rank(), 3 * hvd.rank() + len(inputs))
        assert torch.allclose(output.float(), expected[rows], rtol=2e-2, atol=2e-2)
        (output * _weights(output)).sum().backward()
        assert inputs.grad.dtype == dtype
        assert inputs.grad.isfinite().all()
        assert layer.weight.grad.dtype == layer.weight.dtype
        assert layer.running_mean.dtype == layer.running_var.dtype == layer.weight.dtype

    run_ranks(2, main)


def test_evaluation_is_plain_and_needs_no_other_rank(run_ranks):
    def main():
        layer = _fill(hvd.SyncBatchNorm(3)).eval()
        plain = _fill(torch.nn.BatchNorm1d(3)).eval()
        if hvd.rank() == 1:
            inputs = _inputs((4,), ())[0]
            assert torch.equal(layer(inputs), plain(inputs))
        hvd.barrier()

    run_ranks(2, main)


def _net():
    torch.manual_seed(8)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Sequential(torch.nn.Conv2d(6, 4, 3), torch.nn.BatchNorm2d(4)),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 4, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Linear(8, 2),
    )


@pytest.mark.parametrize("sizes", [(4, 4), (3, 3, 3)])
def test_a_converted_net_trains_as_in_one_process(run_ranks, sizes):
    def main():
        net = hvd.SyncBatchNorm.convert_sync_batchnorm(_net())
        alone = _net()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(net.parameters(), lr=0.05), net.named_parameters()
        )
        plain = torch.optim.SGD(alone.parameters(), lr=0.05)
        for step in range(4):
            generator = torch.Generator().manual_seed(step)
            batches = [torch.randn(n, 3, 8, 8, generator=generator) for n in sizes]
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            net(batches[hvd.rank()]).square().mean().backward()
            optimizer.step()
            plain.zero_grad()
            alone(torch.cat(batches)).square().mean().backward()
            plain.step()
        assert net.state_dict().keys() == alone.state_dict().keys()
        for name, value in alone.state_dict().items():
            assert torch.allclose(net.state_dict()[name], value, rtol=1e-4, atol=1e-4), name
        return net.state_dict()

    first, *others = run_ranks(len(sizes), main)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_conversion_keeps_parameters_mode_and_other_layers(run_ranks):
    def main():
        net = _net()
        net[3][1].eval()
        before = dict(net.named_parameters())
        converted = hvd.SyncBatchNorm.convert_sync_batchnorm(net)
        assert converted is net
        assert all(p is before[name] for name, p in net.named_parameters())
        layers = [m for m in net.modules() if isinstance(m, hvd.SyncBatchNorm)]
        assert [(m.num_features, m.training) for m in layers] == [(6, True), (4, False), (8, True)]
        again = hvd.SyncBatchNorm.convert_sync_batchnorm(net)
        assert [m for m in again.modules() if isinstance(m, hvd.SyncBatchNorm)] == layers
        single = torch.nn.BatchNorm1d(3, affine=False, track_running_stats=False)
        assert isinstance(hvd.SyncBatchNorm.convert_sync_batchnorm(single), hvd.SyncBatchNorm)
        kept = torch.nn.InstanceNorm2d(4)
        assert hvd.SyncBatchNorm.convert_sync_batchnorm(kept) is kept

    run_ranks(1, main)


def test_layers_used_twice_copied_and_saved(run_ranks):
    def main():
        own = _inputs((3, 4), ())[hvd.rank()]
        layer = _fill(hvd.SyncBatchNorm(3))
        twin = copy.deepcopy(layer)
        first = layer(layer(own)) + twin(own)
        first.square().sum().backward()
        assert torch.allclose(layer.weight.grad.isfinite().float(), torch.ones(3))
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        assert torch.equal(loaded(own), layer(own))

    run_ranks(2, main)


def test_two_layers_on_two_threads_do_not_collide(run_ranks):
    import threading

    def main():
        layers = [_fill(hvd.SyncBatchNorm(3)) for _ in range(2)]
        own = _inputs((3, 4), ())[hvd.rank()]
        for layer in layers:  # names are given in the order of first use
            layer(own)
        outputs = {}

        def use(which):
            for _ in range(20):
                outputs[which] = layers[which](own * (which + 1))
                outputs[which].sum().backward()

        order = (0, 1) if hvd.rank() else (1, 0)
        threads = [threading.Thread(target=use, args=(which,)) for which in order]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = torch.cat(_inputs((3, 4), ()))
        for which, output in outputs.items():
            expected = _fill(torch.nn.BatchNorm1d(3))(whole * (which + 1))
            rows = slice(3 * hvd.rank(), 3 * hvd.rank() + len(own))
            assert torch.allclose(output, expected[rows], rtol=1e-5, atol=1e-5)

    run_ranks(2, main)


def test_a_second_derivative_is_refused_in_words(run_ranks):
    def main():
        layer = _fill(hvd.SyncBatchNorm(3))
        own = _inputs((3, 4), ())[hvd.rank()].requires_grad_()
        (slope,) = torch.autograd.grad(layer(own).square().sum(), own, create_graph=True)
        assert slope.isfinite().all()
        with pytest.raises(RuntimeError, match="SyncBatchNorm has no second derivative"):
            slope.square().sum().backward()
        hvd.barrier()

    run_ranks(2, main)


def test_what_is_refused(run_ranks):
    def main():
        layer = hvd.SyncBatchNorm(3)
        with pytest.raises(ValueError, match=r"expected an input of shape \(N, 3, ...\)"):
            layer(torch.ones(4, 2))
        with pytest.raises(ValueError, match=r"expected an input of shape"):
            layer(torch.ones(3))
        with pytest.raises(ValueError, match="all ranks together have 1"):
            layer(torch.ones(1 if hvd.rank() else 0, 3))
        with pytest.raises(ValueError, match="all ranks together have 0"):
            layer(torch.ones(0, 3))
        other = hvd.SyncBatchNorm(3 + hvd.rank())
        with pytest.raises(hvd.HorovodInternalError, match="disagree on the shape"):
            other(torch.ones(2, 3 + hvd.rank()))
        hvd.barrier()

    run_ranks(2, main)
