"""Gradients through collectives that move rows: all-to-all, gathers, scatters, single tensors."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_DYNAMIC = {"RUEDA_DYNAMIC_PROCESS_SETS": "1"}


def _rows(count):
    return torch.arange(2.0 * count, dtype=torch.float64).reshape(count, 2) + 0.3 * hvd.rank() + 1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_alltoall(run_ranks, check_gradients, size):
    def main():
        check_gradients(_rows(size), hvd.alltoall)
        splits = [(hvd.rank() + dest) % 3 for dest in range(size)]
        # A row more than is sent: its gradient is zero.
        check_gradients(_rows(sum(splits) + 1), lambda x: hvd.alltoall(x, splits, "named")[0])

    run_ranks(size, main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_grouped_allgather(run_ranks, check_gradients, size):
    def main():
        def group(x):
            whole = torch.tensor([hvd.rank()])
            first, counted, last = hvd.grouped_allgather([x, whole, x[:1] * 2])
            assert not counted.requires_grad
            return torch.cat([first, last])

        check_gradients(_rows(hvd.rank() + 1), group, factor=1 / size)

    run_ranks(size, main)


@pytest.mark.parametrize("root", [0, 2])
def test_gather(run_ranks, check_gradients, root):
    def main():
        check_gradients(_rows(2 - hvd.rank()), lambda x: hvd.gather(x, root))
        check_gradients(_rows(2), lambda x: hvd.gather(x, root, "named"))

    run_ranks(3, main)


@pytest.mark.parametrize("root", [0, 2])
def test_scatter(run_ranks, check_gradients, root):
    def main():
        check_gradients(_rows(6), lambda x: hvd.scatter(x, root))
        check_gradients(_rows(5), lambda x: hvd.scatter(x, root, [1, 0, 2], "named"))

    run_ranks(3, main)


def test_send_and_receive(run_ranks, check_gradients):
    def main():
        def pass_on(x):
            # Rank 0's goes to rank 1, which adds its own and passes the sum on to rank 2.
            if hvd.rank() == 0:
                return hvd.send(x, 1)
            if hvd.rank() == 1:
                return hvd.send(hvd.recv(torch.zeros_like(x, requires_grad=True), 0) + x, 2, "sum")
            return hvd.recv(torch.zeros_like(x, requires_grad=True), 1, "sum") * x

        # Rank by rank: a backward pass of rank 1 has two partners, a finite difference none.
        check_gradients(_rows(2), _with_gradient_everywhere(pass_on))

    run_ranks(3, main)


def _with_gradient_everywhere(operation):
    """Run in grad mode also for finite differences, so that all ranks communicate alike."""

    def run(values):
        return operation(values if values.requires_grad else values.requires_grad_())

    return run


def test_process_sets(run_ranks, check_gradients):
    def main():
        pair = hvd.add_process_set([0, 2])
        if pair.included():
            check_in(pair)
        hvd.barrier()

    def check_in(pair):
        def check(own, operation, factor=1.0):
            check_gradients(own, operation, factor, pair)

        check(_rows(1 + hvd.rank()), lambda x: hvd.allgather(x, process_set=pair), 0.5)
        check(_rows(2), lambda x: hvd.grouped_allgather([x], "n", pair)[0], 0.5)
        check(_rows(2), lambda x: hvd.broadcast(x, 2, process_set=pair), 0.5)
        check(_rows(4), lambda x: hvd.alltoall(x, process_set=pair))
        check(_rows(3), lambda x: hvd.gather(x, 2, process_set=pair))
        check(_rows(4), lambda x: hvd.scatter(x, 2, process_set=pair))

    run_ranks(3, main, env=_DYNAMIC)


@pytest.mark.parametrize("size", [2, 3])
def test_a_second_backward_pass_through_broadcast_and_alltoall(run_ranks, size):
    def main():
        for call in (hvd.alltoall, lambda x: hvd.broadcast(x, 0), hvd.allgather):
            leaf = _rows(size).requires_grad_()
            (slope,) = torch.autograd.grad((call(leaf) ** 3).sum(), leaf, create_graph=True)
            slope.square().sum().backward()
            assert leaf.grad.shape == leaf.shape

    run_ranks(size, main)


def test_what_has_no_second_derivative_says_so(run_ranks):
    def main():
        for call in (
            lambda x: hvd.reduce(x, 0),
            lambda x: hvd.gather(x, 0),
            lambda x: hvd.scatter(x, 0),
        ):
            leaf = _rows(2).requires_grad_()
            (slope,) = torch.autograd.grad(call(leaf).square().sum(), leaf, create_graph=True)
            with pytest.raises(RuntimeError, match="once_differentiable"):
                slope.sum().backward()

    run_ranks(2, main)
