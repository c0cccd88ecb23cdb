"""Gradients through Min, Max and Product, which are not linear, and through what divides rows."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_CHOSEN = ["Min", "Max", "Product"]
_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


def _values(rank, dtype=torch.float64):
    """All different, so that finite differences have one answer; with a zero for products."""
    values = torch.tensor([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]], dtype=dtype) + 0.37 * rank
    return torch.where(torch.arange(6).view(2, 3) == rank, torch.zeros(()), values).to(dtype)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("op", _CHOSEN)
def test_allreduce(run_ranks, check_gradients, size, op):
    chosen = getattr(hvd, op)

    def main():
        own = _values(hvd.rank())
        check_gradients(own, lambda x: hvd.allreduce(x, op=chosen))
        check_gradients(own, lambda x: hvd.allreduce(x.t(), op=chosen, name="named"))
        check_gradients(
            own,
            lambda x: hvd.allreduce(x, op=chosen, prescale_factor=-0.5, postscale_factor=3.0),
        )

    run_ranks(size, main)


@pytest.mark.parametrize("op", _CHOSEN)
def test_allreduce_of_a_group(run_ranks, check_gradients, op):
    chosen = getattr(hvd, op)

    def main():
        def group(x):
            whole = torch.tensor([4 + hvd.rank(), 6])
            first, counted, last = hvd.grouped_allreduce(
                [x[0], whole, x], op=chosen, name="group", postscale_factor=0.5
            )
            assert counted.dtype == torch.int64
            assert not counted.requires_grad
            return torch.cat([first, last.flatten()])

        check_gradients(_values(hvd.rank()), group)

    run_ranks(3, main)


@pytest.mark.parametrize("op", ["Sum", "Average", *_CHOSEN])
def test_process_sets(run_ranks, check_gradients, op):
    chosen = getattr(hvd, op)

    def main():
        pair = hvd.add_process_set([1, 3])
        if pair.included():
            check_in(pair)
        hvd.barrier()  # rank 0 leads the job: when it leaves, nothing goes on

    def check_in(pair):
        own = _values(hvd.rank())
        linear = chosen in (hvd.Sum, hvd.Average)

        def check(operation, factor=1.0):
            check_gradients(own, operation, factor, pair)

        check(lambda x: hvd.allreduce(x, op=chosen, process_set=pair))
        check(lambda x: hvd.grouped_allreduce([x, x[0]], op=chosen, process_set=pair)[1])
        check(
            lambda x: hvd.reducescatter(x, op=chosen, process_set=pair), factor=2 if linear else 1
        )
        check(lambda x: hvd.reduce(x, 3, op=chosen, process_set=pair))

    run_ranks(4, main, env=_DYNAMIC)


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_ranks_that_have_the_same_element_share_its_gradient(run_ranks, op):
    def main():
        own = torch.tensor([2.0, 2.0, float(hvd.rank() > 0)], requires_grad=True)
        hvd.allreduce(own, op=getattr(hvd, op)).sum().backward()
        # Three ranks' losses; torch.amax divides alike.
        stacked = torch.stack([torch.tensor([2.0, 2.0, float(rank > 0)]) for rank in range(3)])
        stacked.requires_grad_()
        plain = stacked.amin(0) if op == "Min" else stacked.amax(0)
        (3 * plain).sum().backward()
        assert torch.allclose(own.grad, stacked.grad[hvd.rank()])

    run_ranks(3, main)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("op", ["Sum", "Average", *_CHOSEN])
def test_reducescatter(run_ranks, check_gradients, size, op):
    chosen = getattr(hvd, op)
    # As in Horovod, Average and Sum have the gradient of all losses times the number of ranks.
    factor = size if op in ("Sum", "Average") else 1

    def main():
        # One row more than can be divided equally.
        own = torch.cat([_values(hvd.rank())] * size)[: 2 * size - 1]
        check_gradients(own, lambda x: hvd.reducescatter(x, op=chosen), factor)
        check_gradients(
            own,
            lambda x: hvd.reducescatter(
                x, "named", op=chosen, prescale_factor=0.5, postscale_factor=3.0
            ),
            factor,
        )

        def group(x):
            kept, counted = hvd.grouped_reducescatter([x, torch.ones(3).to(torch.int32)], op=chosen)
            assert not counted.requires_grad
            return kept

        check_gradients(own, group, factor)

    run_ranks(size, main)


@pytest.mark.parametrize("op", ["Sum", "Average", *_CHOSEN])
def test_reduce(run_ranks, check_gradients, op):
    chosen = getattr(hvd, op)

    def main():
        own = _values(hvd.rank())
        check_gradients(own, lambda x: hvd.reduce(x, 1, op=chosen))
        check_gradients(
            own,
            lambda x: hvd.reduce(x, 0, chosen, "named", prescale_factor=0.5, postscale_factor=-3.0),
        )

    run_ranks(3, main)


def test_the_gradient_that_comes_in_is_left_alone(run_ranks):
    def main():
        calls = [
            lambda x: hvd.reducescatter(x, op=hvd.Sum, postscale_factor=2.0),
            lambda x: hvd.allreduce(x, op=hvd.Sum, prescale_factor=2.0),
            lambda x: hvd.allreduce(x, op=hvd.Max),
            hvd.allgather,
            hvd.alltoall,
            lambda x: hvd.broadcast(x, 1),
            lambda x: hvd.reduce(x, 0),
            lambda x: hvd.gather(x, 0),
            lambda x: hvd.scatter(x, 0),
        ]
        for call in calls:
            leaf = torch.ones(4, requires_grad=True)
            found = call(leaf)
            incoming = torch.full_like(found, 3.0)
            version = incoming._version
            found.backward(incoming)
            assert incoming.eq(3.0).all()
            assert incoming._version == version

    run_ranks(2, main)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_small_floats_have_gradients_of_their_own_type(run_ranks, dtype):
    def main():
        for op in (hvd.Sum, hvd.Max, hvd.Product):
            leaf = torch.tensor([1.0, 2.0 + hvd.rank()], dtype=dtype, requires_grad=True)
            hvd.allreduce(leaf, op=op).sum().backward()
            assert leaf.grad.dtype == dtype
            expected = {
                hvd.Sum: [2.0, 2.0],
                hvd.Max: [1.0, 2.0 * hvd.rank()],
                hvd.Product: [2.0, 2.0 * (3.0 - hvd.rank())],
            }
            assert leaf.grad.tolist() == expected[op]

    run_ranks(2, main)


@pytest.mark.parametrize("op", ["Sum", "Average", *_CHOSEN])
def test_gradients_of_gradients_are_those_of_one_process(run_ranks, op):
    chosen = getattr(hvd, op)

    def model(tensors):
        stacked = torch.stack(tensors)
        return {
            "Sum": stacked.sum,
            "Average": stacked.mean,
            "Min": stacked.amin,
            "Max": stacked.amax,
            "Product": stacked.prod,
        }[op](0)

    def loss(reduced, rank):
        return (reduced**3 * (rank + 1)).sum()

    def main():
        leaf = _values(hvd.rank()).requires_grad_()
        own_loss = loss(hvd.allreduce(leaf.sin(), op=chosen), hvd.rank())
        (slope,) = torch.autograd.grad(own_loss, leaf, create_graph=True)
        slope.square().sum().backward()

        leaves = [_values(rank).requires_grad_() for rank in range(3)]
        reduced = model([one.sin() for one in leaves])
        total = sum(loss(reduced, rank) for rank in range(3))
        slopes = torch.autograd.grad(total, leaves, create_graph=True)
        sum(one.square().sum() for one in slopes).backward()
        assert torch.allclose(slope, slopes[hvd.rank()])
        assert torch.allclose(leaf.grad, leaves[hvd.rank()].grad)

    run_ranks(3, main)
