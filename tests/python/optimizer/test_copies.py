"""Copies, pickles and checkpoints of distributed optimizers, gradients and models."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import rueda as hvd


def _saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _loaded(data):
    return torch.load(io.BytesIO(data), weights_only=False)


@pytest.fixture
def train(batch, loss):
    """Make steps and return the parameters."""

    def run(model, optimizer, steps=range(2)):
        for step in steps:
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in model.parameters()]

    return run


def _adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.05)


def test_saving_a_gradient_writes_no_bucket(run_ranks):
    def main():
        model = torch.nn.Linear(1000, 500)
        optimizer = hvd.DistributedOptimizer(_adam(model))
        model(torch.ones(1, 1000)).sum().backward()
        optimizer.step()
        # 500 floats, and not the 2 MB beside them.
        assert len(_saved(model.bias.grad)) < 5000
        assert torch.equal(_loaded(_saved(model.bias.grad)), model.bias.grad)
        assert torch.equal(pickle.loads(pickle.dumps(model.bias.grad)), model.bias.grad)
        assert model.bias.grad.untyped_storage().nbytes() == 2000
        assert copy.deepcopy(model.bias.grad).untyped_storage().nbytes() == 2000
        payload = 500 * 1001 * 4
        # Parameters and both moments, once each.
        assert len(_saved(optimizer)) < 3 * payload + 50_000
        assert len(_saved(optimizer.state_dict())) < 2 * payload + 50_000

    run_ranks(2, main)


def test_a_checkpoint_continues_as_if_nothing_had_happened(run_ranks, make_model, train):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model), model.named_parameters())
        train(model, optimizer)
        checkpoint = _saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        expected = train(model, optimizer, range(2, 5))

        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model), model.named_parameters())
        loaded = torch.load(io.BytesIO(checkpoint), weights_only=True)
        model.load_state_dict(loaded["model"])
        optimizer.load_state_dict(loaded["optimizer"])
        found = train(model, optimizer, range(2, 5))
        assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
        # It fits an optimizer that is not distributed, too.
        _adam(make_model()).load_state_dict(loaded["optimizer"])

    run_ranks(2, main)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_a_copied_pair_trains_on_its_own(run_ranks, make_model, train, way):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            _adam(model), model.named_parameters(), backward_passes_per_step=1
        )
        train(model, optimizer)
        pair = (model, optimizer)
        if way == "deepcopy":
            model_copy, optimizer_copy = copy.deepcopy(pair)
        elif way == "pickle":
            model_copy, optimizer_copy = pickle.loads(pickle.dumps(pair))
        else:
            model_copy, optimizer_copy = _loaded(_saved(pair))
        assert type(optimizer_copy).__name__ == "Adam"
        assert isinstance(optimizer_copy, torch.optim.Adam)
        expected = train(model, optimizer, range(2, 4))
        found = train(model_copy, optimizer_copy, range(2, 4))
        assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
        # And the first goes on.
        train(model, optimizer, range(4, 6))
        return found

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_a_copy_has_what_was_assigned_to_the_optimizer(run_ranks, make_model, train):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model))
        train(model, optimizer)
        optimizer.state = type(optimizer.state)(dict)
        optimizer.param_groups = [{**optimizer.param_groups[0], "lr": 0.5}]
        for copied in (copy.deepcopy(optimizer), _loaded(_saved(optimizer))):
            assert not copied.state
            assert copied.param_groups[0]["lr"] == 0.5

    run_ranks(2, main)


def test_copying_on_one_rank_alone_does_no_harm(run_ranks, make_model, train):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model))
        if hvd.rank() == 0:
            best = copy.deepcopy((model, optimizer))
            kept = pickle.loads(pickle.dumps((model, optimizer)))
        train(model, optimizer)
        other = make_model()
        train(other, hvd.DistributedOptimizer(_adam(other)))
        return hvd.rank() or (len(best), len(kept))

    assert run_ranks(2, main) == [(2, 2), 1]


def test_a_pickled_optimizer_is_a_plain_one_where_no_job_runs(run_ranks, make_model, train):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model))
        train(model, optimizer)
        saved = _saved((model, optimizer))
        hvd.shutdown()
        model, optimizer = _loaded(saved)
        assert type(optimizer) is torch.optim.Adam
        model(torch.ones(1, 6)).sum().backward()
        optimizer.step()

    run_ranks(2, main)


def test_the_copy_of_a_scheduled_optimizer_can_be_scheduled(run_ranks, make_model, train):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(_adam(model))
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        train(model, optimizer)
        scheduler.step()
        model_copy, optimizer_copy, scheduler_copy = copy.deepcopy((model, optimizer, scheduler))
        assert scheduler_copy.optimizer is optimizer_copy
        train(model_copy, optimizer_copy)
        scheduler_copy.step()
        assert optimizer_copy.param_groups[0]["lr"] == pytest.approx(0.0125)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)

    run_ranks(2, main)


def test_the_wrapped_optimizer_is_one_of_the_users_class(run_ranks, make_model):
    class Mine(torch.optim.SGD):
        """A user's class with a method and an attribute of its own."""

        def __init__(self, parameters):
            super().__init__(parameters, lr=0.1)
            self.mine = 42

        def double(self):
            return self.mine * 2

    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(Mine(model.parameters()))
        assert isinstance(optimizer, Mine)
        assert type(optimizer).__name__ == "Mine"
        assert optimizer.double() == 84
        assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
        assert "Mine" in repr(optimizer)
        with pytest.raises(ValueError, match="distributed already"):
            hvd.DistributedOptimizer(optimizer)

    run_ranks(2, main)
