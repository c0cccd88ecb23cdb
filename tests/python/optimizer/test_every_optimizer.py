"""Every optimizer of PyTorch but LBFGS, accumulating, compressed, with joins: as one process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch

import rueda as hvd

_OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS")
)
_PASSES = (1, 3)
_COMPRESSIONS = ("none", "bf16")
_JOINS = (False, True)
_COLUMNS = list(itertools.product(_PASSES, _COMPRESSIONS, _JOINS))
_STEPS = 3
_UNEVEN_STEPS = (1, 3, 2, 0)  # by rank; the last one has none at all
# Rows of sparse gradients are added up in another order than one process has.
_BOUNDS = {"SparseAdam": 1e-5}


def _make_model(name):
    """A model that the optimizer can train: Muon takes matrices alone, SparseAdam sparse rows."""
    torch.manual_seed(11)
    if name == "Muon":
        return torch.nn.Linear(6, 5, bias=False)
    if name == "SparseAdam":
        return torch.nn.EmbeddingBag(9, 3, sparse=True, mode="sum")
    return torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))


def _backward(model, name, step, rank, which_pass):
    generator = torch.Generator().manual_seed(10_000 * which_pass + 100 * step + rank)
    if name == "SparseAdam":
        inputs = torch.randint(0, 7, (4, 3), generator=generator)
    else:
        inputs = torch.randn(4, 6, generator=generator)
    model(inputs).square().mean().backward()


def _make_optimizer(name, model):
    return getattr(torch.optim, name)(model.parameters(), lr=0.05)


def _steps_of(rank, joins):
    """A rank's numbers of steps in two rounds of training; those of a round end in a join."""
    if not joins:
        return [_STEPS]
    return [_UNEVEN_STEPS[rank], 1]


def _reference(name, size, passes, compression, joins, tree_sum):
    """The steps in one process, which first makes one that all ranks get by broadcast."""
    model = _make_model(name)
    optimizer = _make_optimizer(name, model)
    _backward(model, name, 99, 0, 0)
    optimizer.step()
    wire = torch.bfloat16 if compression == "bf16" and size > 1 else None
    steps = [_steps_of(rank, joins) for rank in range(size)]
    for which_round in range(len(steps[0])):
        for step in range(max(of_rank[which_round] for of_rank in steps)):
            of_ranks = []
            for rank in range(size):
                present = step < steps[rank][which_round]
                of_ranks.append(_gradients(model, name, step, rank, passes if present else 0))
            for index, parameter in enumerate(model.parameters()):
                parameter.grad = _reduced([one[index] for one in of_ranks], wire, tree_sum)
            optimizer.step()
    return model, optimizer


def _gradients(model, name, step, rank, passes):
    """Those of one rank, added up; zeros, or no rows, where it has joined and makes no pass."""
    model.zero_grad()
    for which_pass in range(max(passes, 1)):
        _backward(model, name, step, rank, which_pass)
    return [p.grad.clone() if passes else torch.zeros_like(p.grad) for p in model.parameters()]


def _reduced(gradients, wire, tree_sum):
    if gradients[0].is_sparse:
        gradients = [g.coalesce() for g in gradients]
        rounded = [
            torch.sparse_coo_tensor(g.indices(), g.values().to(wire or g.dtype).float(), g.shape)
            for g in gradients
        ]
        return (sum(rounded[1:], rounded[0]) / len(gradients)).coalesce()
    rounded = [g if wire is None else g.to(wire).float() for g in gradients]
    average = tree_sum(rounded) / len(gradients)
    return average if wire is None else average.to(wire).float()


def _trained(name, passes, compression, joins):
    model = _make_model(name)
    optimizer = _make_optimizer(name, model)
    if hvd.rank() == 0:
        _backward(model, name, 99, 0, 0)
        optimizer.step()
        optimizer.zero_grad()
    optimizer = hvd.DistributedOptimizer(
        optimizer,
        model.named_parameters(),
        compression=getattr(hvd.Compression, compression),
        backward_passes_per_step=passes,
    )
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for steps in _steps_of(hvd.rank(), joins):
        for step in range(steps):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for which_pass in range(passes):
                _backward(model, name, step, hvd.rank(), which_pass)
            optimizer.step()
        if joins:
            last = hvd.join()
            hvd.broadcast_parameters(model.state_dict(), root_rank=last)
            hvd.broadcast_optimizer_state(optimizer, root_rank=last)
    return model, optimizer


def _flat_state(optimizer):
    """Every tensor of the state, by parameter and name."""
    return {
        (index, name): value.to_dense() if value.layout != torch.strided else value
        for index, of_parameter in optimizer.state_dict()["state"].items()
        for name, value in of_parameter.items()
        if isinstance(value, torch.Tensor)
    }


def _difference(one, other):
    """The largest difference between two models and the state of their optimizers."""
    (model, optimizer), (reference, plain) = one, other
    pairs = list(zip(model.parameters(), reference.parameters(), strict=True))
    own, expected = _flat_state(optimizer), _flat_state(plain)
    assert own.keys() == expected.keys()
    pairs += [(own[key], expected[key]) for key in own]
    return max((a - b).abs().max().item() for a, b in pairs)


def _passes(name, difference):
    return difference <= _BOUNDS.get(name, 0.0)


def _table(by_size):
    """Lines that show the largest difference of any number of ranks, and how many cells pass."""
    sizes = ", ".join(map(str, by_size))
    heads = [f"{n} x {wire}{' join' if joins else ''}" for n, wire, joins in _COLUMNS]
    yield f"optimizers on {sizes} ranks, passes x compression: largest difference to one process"
    yield f"{'':<15}" + "".join(f"{head:>14}" for head in heads) + f"{'pass':>9}"
    total = []
    for name in _OPTIMIZERS:
        by_column = [[cells[(name, *column)] for cells in by_size.values()] for column in _COLUMNS]
        passed = [_passes(name, cell) for cells in by_column for cell in cells]
        total += passed
        worst = "".join(f"{max(cells):>14.0e}" for cells in by_column)
        yield f"{name:<15}{worst}{f'{sum(passed)}/{len(passed)}':>9}"
    yield f"{sum(total)} of {len(total)} pass"


@pytest.fixture(scope="module")
def differences_by_size(report_figure: Callable[[str], None]) -> Iterator[dict]:
    """Differences to one process by number of ranks, then by optimizer and column."""
    by_size: dict = {}
    yield by_size
    if by_size:
        report_figure("\n".join(_table(by_size)))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_table_of_optimizers_accumulation_compression_and_join(
    run_ranks, differences_by_size, tree_sum, size
):
    def main():
        return {
            (name, *column): _difference(
                _trained(name, *column), _reference(name, size, *column, tree_sum)
            )
            for name in _OPTIMIZERS
            for column in _COLUMNS
        }

    of_ranks = run_ranks(size, main)
    worst = {cell: max(one[cell] for one in of_ranks) for cell in of_ranks[0]}
    differences_by_size[size] = worst
    assert len(_OPTIMIZERS) >= 14
    assert not {cell: found for cell, found in worst.items() if not _passes(cell[0], found)}


def test_states_are_interchangeable_with_those_of_the_users_optimizer(run_ranks):
    def main():
        for name in _OPTIMIZERS:
            model, plain_model = _make_model(name), _make_model(name)
            wrapped = hvd.DistributedOptimizer(_make_optimizer(name, model))
            plain = _make_optimizer(name, plain_model)
            _backward(model, name, 0, hvd.rank(), 0)
            wrapped.step()
            _backward(plain_model, name, 1, 0, 0)
            plain.step()
            state = wrapped.state_dict()
            assert state.keys() == plain.state_dict().keys()
            other = _make_optimizer(name, _make_model(name))
            other.load_state_dict(state)
            assert _flat_state(other).keys() == _flat_state(wrapped).keys()
            wrapped.load_state_dict(plain.state_dict())
            for key, value in _flat_state(plain).items():
                assert torch.equal(_flat_state(wrapped)[key], value), (name, key)
            # It goes on, and from the loaded state.
            wrapped.zero_grad()
            _backward(model, name, 2, hvd.rank(), 0)
            wrapped.step()

    run_ranks(2, main)
