"""broadcast_parameters and broadcast_optimizer_state: all ranks start alike."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


@pytest.mark.parametrize("root", [0, 1])
def test_parameters_and_buffers_become_the_roots(run_ranks, same_on_all, root):
    def main():
        torch.manual_seed(hvd.rank())
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2).double()
        ).to(memory_format=torch.channels_last)
        model[1](torch.randn(5, 3))
        own = {name: value.clone() for name, value in model.state_dict().items()}
        references = list(model.state_dict(keep_vars=True).values())
        hvd.broadcast_parameters(model.state_dict(), root)
        expected = hvd.broadcast_object(own, root)
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected[name]), name
        kept = model.state_dict(keep_vars=True).values()
        assert all(one is two for one, two in zip(references, kept, strict=True))
        # Again, and from pairs.
        hvd.broadcast_parameters(model.named_parameters(), root_rank=root)

    run_ranks(3, main)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_parameters_need_no_names(run_ranks, kind):
    def main():
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        with torch.no_grad():
            for number, parameter in enumerate(model.parameters()):
                parameter.fill_(10 * hvd.rank() + number)
        hvd.broadcast_parameters(kind(list(model.parameters())), root_rank=1)
        for number, parameter in enumerate(model.parameters()):
            assert torch.all(parameter == 10 + number)

    run_ranks(3, main)


def test_a_new_optimizers_parameters_have_gradients_afterwards(run_ranks):
    def main():
        model = torch.nn.Sequential(torch.nn.Embedding(5, 4, sparse=True), torch.nn.Linear(4, 2))
        embedding, weight, bias = model.parameters()
        bias.requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1, momentum=0.9)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        hvd.broadcast_optimizer_state(optimizer, 0, model)
        assert torch.equal(weight.grad, torch.zeros_like(weight))
        assert embedding.grad is None  # its gradient is to be sparse
        assert bias.grad is None
        # No step was made for it: weight decay would have changed them.
        for parameter, was in zip(model.parameters(), before, strict=True):
            assert torch.equal(parameter, was)

    run_ranks(2, main)


@pytest.mark.parametrize("root", [0, 1])
def test_all_ranks_have_gradients_afterwards_or_none_has(run_ranks, root):
    def main():
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9)
        if hvd.rank() == 0:  # as from a checkpoint
            weight.grad = torch.ones(3)
            optimizer.step()
            optimizer.zero_grad()
        hvd.broadcast_optimizer_state(optimizer, root)
        assert hvd.allgather_object(weight.grad is None) == [root == 0] * 2

    run_ranks(2, main)


def test_a_state_dict_may_hold_none_and_tied_parameters(run_ranks):
    def main():
        tied = torch.full((3,), float(hvd.rank()))
        hvd.broadcast_parameters({"a": tied, "b": tied, "none": None}, 1)
        assert tied.tolist() == [1.0] * 3

    run_ranks(2, main)


@pytest.mark.parametrize("wrong", [[1, 2], ["abc"], 3, [("name", 1, 2)]])
def test_other_things_than_parameters_are_refused(run_ranks, wrong):
    def main():
        with pytest.raises((ValueError, TypeError)):
            hvd.broadcast_parameters(wrong, 0)
        hvd.barrier()

    run_ranks(2, main)


_OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and name not in ("Optimizer", "SparseAdam", "LBFGS", "Muon")
)


@pytest.fixture
def same_on_all():
    """Assert that a state dict is the same on all ranks, bit for bit."""

    def flat(value):
        if isinstance(value, torch.Tensor):
            return (value.dtype, value.shape, value.tolist())
        if isinstance(value, dict):
            return {key: flat(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [flat(inner) for inner in value]
        return value

    def check(value, what):
        first, *others = hvd.allgather_object(flat(value))
        assert all(other == first for other in others), what

    return check


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("who_has_state", ["root", "nobody", "everybody", "all but root"])
def test_every_standard_optimizer_gets_the_roots_state(
    run_ranks, make_model, batch, loss, same_on_all, who_has_state, wrapped
):
    def main():
        root = 1
        has_state = {
            "root": hvd.rank() == root,
            "nobody": False,
            "everybody": True,
            "all but root": hvd.rank() != root,
        }[who_has_state]
        for name in _OPTIMIZERS:
            model = make_model()
            rate = 0.05 * (hvd.rank() + 1)
            optimizer = getattr(torch.optim, name)(model.parameters(), lr=rate)
            if has_state:
                loss(model, batch(hvd.rank(), 0)).backward()
                optimizer.step()
                optimizer.zero_grad()
            if wrapped:
                optimizer = hvd.DistributedOptimizer(optimizer)
            hvd.broadcast_parameters(model.state_dict(), root)
            hvd.broadcast_optimizer_state(optimizer, root, model)
            same_on_all(optimizer.state_dict(), name)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
            for step in range(2):
                optimizer.zero_grad()
                loss(model, batch(step, 0)).backward()
                optimizer.step()
            same_on_all(model.state_dict(), name)
            same_on_all(optimizer.state_dict(), name)

    run_ranks(2, main)


def test_groups_and_rates_held_as_tensors(run_ranks, make_model, same_on_all):
    def main():
        model = make_model()
        optimizer = torch.optim.Adam(
            [
                {"params": model[0].parameters(), "lr": torch.tensor(0.1 * (hvd.rank() + 1))},
                {"params": model[2].parameters(), "betas": (0.5, 0.9 + 0.01 * hvd.rank())},
            ]
        )
        hvd.broadcast_optimizer_state(optimizer, root_rank=0)
        same_on_all(optimizer.state_dict(), "Adam")
        assert optimizer.param_groups[0]["lr"].item() == pytest.approx(0.1)
        assert optimizer.param_groups[1]["betas"] == (0.5, 0.9)

    run_ranks(2, main)


def test_lbfgs_is_refused_before_anything_is_sent(run_ranks, make_model):
    def main():
        optimizer = torch.optim.LBFGS(make_model().parameters())
        with pytest.raises(ValueError, match="LBFGS cannot be broadcast"):
            hvd.broadcast_optimizer_state(optimizer, 0)
        hvd.barrier()

    run_ranks(2, main)


def test_a_root_that_is_no_rank(run_ranks, make_model):
    def main():
        model = make_model()
        with pytest.raises(ValueError, match="root_rank=2 is no rank"):
            hvd.broadcast_parameters(model.state_dict(), 2)
        with pytest.raises(ValueError, match="root_rank=-1 is no rank"):
            hvd.broadcast_optimizer_state(torch.optim.SGD(model.parameters(), lr=0.1), -1)
        hvd.barrier()

    run_ranks(2, main)


def test_all_helpers_take_a_process_set(run_ranks, make_model):
    def main():
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * (hvd.rank() + 1))
        everybody, unknown = hvd.global_process_set, hvd.ProcessSet([0])
        hvd.broadcast_parameters(model.state_dict(), 1, process_set=everybody)
        hvd.broadcast_optimizer_state(optimizer, 1, process_set=everybody)
        assert optimizer.param_groups[0]["lr"] == 0.2
        assert hvd.broadcast_object(hvd.rank(), 1, process_set=everybody) == 1
        assert hvd.allgather_object(hvd.rank(), process_set=everybody) == [0, 1]
        calls = [
            lambda: hvd.broadcast_parameters(model.state_dict(), 0, process_set=unknown),
            lambda: hvd.broadcast_optimizer_state(optimizer, 0, process_set=unknown),
            lambda: hvd.broadcast_object(1, 0, process_set=unknown),
            lambda: hvd.allgather_object(1, process_set=unknown),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="not registered"):
                call()
        hvd.barrier()

    run_ranks(2, main)
