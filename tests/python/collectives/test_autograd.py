"""Gradients through collectives, against finite differences of all ranks' losses together."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("op", ["Sum", "Average"])
def test_the_gradient_of_an_allreduce_is_the_allreduced_gradient(
    run_ranks, check_gradients, size, op
):
    def main():
        own = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64) * (hvd.rank() + 1)
        check_gradients(own, lambda x: hvd.allreduce(x, op=getattr(hvd, op)))
        check_gradients(own, lambda x: hvd.allreduce(x.t(), op=getattr(hvd, op), name="named"))
        check_gradients(
            own,
            lambda x: hvd.allreduce(
                x, op=getattr(hvd, op), prescale_factor=0.5, postscale_factor=3.0
            ),
        )

    run_ranks(size, main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_gradients_of_a_group_are_allreduced_as_a_group(run_ranks, check_gradients, size):
    def main():
        own = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) * (hvd.rank() + 1)

        def group(x):
            whole = torch.tensor([2, 3])
            first, counted, last = hvd.grouped_allreduce([x[:2], whole, x], op=hvd.Sum)
            assert counted.tolist() == [2 * size, 3 * size]
            assert not counted.requires_grad
            return torch.cat([first, last])

        check_gradients(own, group)

    run_ranks(size, main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_gradient_of_an_allgather_is_the_own_part_of_the_average(
    run_ranks, check_gradients, size
):
    def main():
        rows = [2, 0, 1][hvd.rank()]
        own = torch.arange(1.0, 2 * rows + 1, dtype=torch.float64).reshape(rows, 2)
        check_gradients(own, hvd.allgather, factor=1 / size)
        check_gradients(own, lambda x: hvd.allgather(x, "named"), factor=1 / size)

    run_ranks(size, main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_gradient_of_a_broadcast_is_the_average_at_the_root(run_ranks, check_gradients, size):
    def main():
        own = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64) + hvd.rank()
        check_gradients(own, lambda x: hvd.broadcast(x, size - 1), factor=1 / size)
        check_gradients(own, lambda x: hvd.broadcast(x, 0, "named"), factor=1 / size)

    run_ranks(size, main)


def test_compression_is_part_of_the_graph(run_ranks):
    def main():
        own = torch.tensor([1.0, 2.0], requires_grad=True)
        hvd.allreduce(own, op=hvd.Sum, compression=hvd.Compression.fp16).sum().backward()
        assert own.grad.dtype == torch.float32
        assert own.grad.tolist() == [2.0, 2.0]

    run_ranks(2, main)


def test_gradients_of_gradients(run_ranks):
    def main():
        own = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
        total = hvd.allreduce(own**3, op=hvd.Sum)
        (slope,) = torch.autograd.grad(total, own, create_graph=True)
        assert slope.item() == 2 * 27.0
        slope.backward()
        # d/dx of 3x^2, all-reduced twice.
        assert own.grad.item() == 2 * 18.0

    run_ranks(2, main)


def test_adasum_has_no_gradient_and_says_so(run_ranks):
    def main():
        own = torch.ones(2, requires_grad=True)
        with pytest.raises(ValueError, match="gradient of a reduction with Adasum is not defined"):
            hvd.allreduce(own, op=hvd.Adasum)
        with pytest.raises(ValueError, match="detach"):
            hvd.grouped_allreduce([own, own], op=hvd.Adasum)
        assert hvd.allreduce(own.detach(), op=hvd.Adasum).tolist() == [1.0, 1.0]

    run_ranks(2, main)


def test_a_backward_through_overwritten_values_is_noticed(run_ranks):
    def main():
        leaf = torch.ones(3, requires_grad=True)
        values = leaf * 2
        squares = values.square()
        hvd.allreduce_(values.detach(), op=hvd.Sum)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            squares.sum().backward()

    run_ranks(2, main)
