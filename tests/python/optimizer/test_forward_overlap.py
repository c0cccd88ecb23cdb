"""overlap_forward: the same parameters as without it, whatever is done between step and forward."""

from __future__ import annotations

import copy
import gc
import io
import itertools
import pickle
import signal

import pytest
import torch

import rueda as hvd


def _deep():
    torch.manual_seed(5)
    sizes = [6, 17, 19, 3]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers)


_OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}
_adam = _OPTIMIZERS["Adam"]


@pytest.mark.parametrize(("size", "backend"), [(1, "shm"), (2, "shm"), (3, "shm"), (2, "gloo")])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_parameters_have_the_same_bits(
    run_ranks, train_both, assert_alike, left, size, backend, set_to_none
):
    def main():
        deferred = []

        def between(model, optimizer, step):
            optimizer.zero_grad(set_to_none)
            if optimizer._overlap is not None:
                deferred.append(left(optimizer))

        for make in _OPTIMIZERS.values():
            assert_alike(*train_both(_deep, make, between=between))
        assert set(deferred) == ({0} if size == 1 else {6})

    run_ranks(size, main, env={"RUEDA_BACKEND": backend})


def test_a_module_updates_its_own_parameters_and_the_model_all(run_ranks, left):
    def main():
        model = _deep()
        optimizer = hvd.DistributedOptimizer(
            _adam(model.parameters()),
            groups=[[p] for p in model.parameters()],
            overlap_forward=model,
        )
        seen = []
        for layer in model:
            layer.register_forward_hook(lambda *_: seen.append(left(optimizer)))
        for step in range(3):
            model(torch.ones(1, 6)).sum().backward()
            optimizer.step()
            assert [p.grad for p in model.parameters()] == [None] * 6
            assert left(optimizer) == 6, step
        # The first pass had nothing to do; after it each layer has its two parameters made.
        assert seen == [0] * 6 + [4, 4, 2, 2, 0, 0] * 2
        optimizer.finish_step()
        assert left(optimizer) == 0
        optimizer.finish_step()

    run_ranks(2, main)


@pytest.mark.parametrize("lr_is_tensor", [False, True])
@pytest.mark.parametrize("scheduler_first", [False, True])
def test_a_scheduler_does_not_change_the_step_before_it(
    run_ranks, assert_alike, lr_is_tensor, scheduler_first
):
    def main():
        both = []
        for overlaps in (False, True):
            model = _deep()
            lr = torch.tensor(0.05) if lr_is_tensor else 0.05
            plain = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1, foreach=False)
            schedule = torch.optim.lr_scheduler.ExponentialLR
            scheduler = schedule(plain, 0.5) if scheduler_first else None
            optimizer = hvd.DistributedOptimizer(plain, overlap_forward=model if overlaps else None)
            scheduler = scheduler or schedule(optimizer, 0.5)
            for step in range(5):
                model(torch.full((2, 6), 1.0 + step + hvd.rank())).square().mean().backward()
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            both.append((model, optimizer))
        assert_alike(*both)

    run_ranks(2, main)


def _look_at_state(model, optimizer, step):
    return [copy.deepcopy(model.state_dict()), model.state_dict()]


def _look_at_part(model, optimizer, step):
    return [model[0].state_dict(), model[2].state_dict()]


def _look_at_copy(model, optimizer, step):
    return [copy.deepcopy(model[2]).state_dict(), copy.deepcopy(model).state_dict()]


def _look_at_pickle(model, optimizer, step):
    written = io.BytesIO()
    torch.save(model, written)
    written.seek(0)
    return [torch.load(written, weights_only=False).state_dict()]


def _broadcast(model, optimizer, step):
    hvd.broadcast_parameters(model.named_parameters(), root_rank=0)
    return [dict(model.named_parameters())]


def _look_at_optimizer(model, optimizer, step):
    twin = copy.deepcopy(optimizer)
    again = pickle.loads(pickle.dumps(optimizer))
    states = [one.state_dict()["state"] for one in (optimizer, twin, again)]
    return [{str((i, n)): v for i, of in one.items() for n, v in of.items()} for one in states]


def _synchronize(model, optimizer, step):
    if step == 5:
        optimizer.synchronize()
    optimizer.finish_step() if optimizer._overlap else None
    return [dict(model.named_parameters())]


def _evaluate(model, optimizer, step):
    with torch.inference_mode() if step % 2 else torch.no_grad():
        return [{"x": model(torch.ones(1, 6)), "y": model[0](torch.ones(1, 6))}]


def _load(model, optimizer, step):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    return [model.state_dict()]


@pytest.mark.parametrize(
    "look",
    [
        _look_at_state,
        _look_at_part,
        _look_at_copy,
        _look_at_pickle,
        _broadcast,
        _look_at_optimizer,
        _synchronize,
        _evaluate,
        _load,
    ],
)
def test_whoever_looks_sees_the_update(run_ranks, train_both, assert_alike, look):
    def main():
        seen = []

        def between(model, optimizer, step):
            seen.extend(copy.deepcopy(look(model, optimizer, step)))
            optimizer.zero_grad()

        assert_alike(*train_both(_deep, _adam, between=between))
        half = len(seen) // 2
        assert half >= 6
        for usual, overlapped in zip(seen[:half], seen[half:], strict=True):
            assert usual.keys() == overlapped.keys()
            for name, value in usual.items():
                assert torch.equal(value, overlapped[name]), name

    run_ranks(2, main)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("whose", ["model", "optimizer"])
def test_clearing_gradients_after_the_step_or_before_backward(
    run_ranks, train_both, assert_alike, whose, set_to_none
):
    def main():
        def between(model, optimizer, step):
            {"model": model, "optimizer": optimizer}[whose].zero_grad(set_to_none)

        def forward(model, batch, step):
            output = model(batch)
            if step % 2:
                model.zero_grad(set_to_none)
            return output

        assert_alike(*train_both(_deep, _adam, between=between, forward=forward))

    run_ranks(2, main)


def test_parameters_added_later_are_updated_too(run_ranks, assert_alike):
    def main():
        both = []
        for overlaps in (False, True):
            model = _deep()
            optimizer = hvd.DistributedOptimizer(
                _adam(model[:4].parameters()), overlap_forward=model if overlaps else None
            )
            for step in range(6):
                if step == 2:
                    model.append(torch.nn.Linear(3, 3).requires_grad_(True))
                    hvd.broadcast_parameters(model[-1].state_dict(), root_rank=0)
                    optimizer.add_param_group({"params": list(model[4:].parameters()), "lr": 0.5})
                model(torch.full((2, 6), 1.0 + step + hvd.rank())).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
            both.append((model, optimizer))
        both[1][0][-1].load_state_dict(both[1][0][-1].state_dict())
        assert_alike(*both)

    torch.manual_seed(3)
    run_ranks(2, main)


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("offered", ["nothing", "first layer"])
def test_a_death_between_step_and_forward_is_raised_there(start_ranks, backend, offered):
    def main(link, offered):
        model = _deep()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1),
            groups=[[p] for p in model.parameters()],
            overlap_forward=model,
        )
        model(torch.ones(1, 6)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        loss = model(torch.ones(1, 6)).sum()
        before = copy.deepcopy(model.state_dict())
        wanted = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        if hvd.rank() == 0:
            loss.backward()
        elif offered == "first layer":
            model[1:].requires_grad_(False)
            model(torch.ones(1, 6)).sum().backward()
        link.tell("ready")
        link.hear()
        optimizer.step()
        with pytest.raises(hvd.HorovodInternalError, match=r"rank 1 \(pid .*(died|was lost)"):
            model(torch.ones(1, 6))
        # Nothing is left, and nothing was made twice or of a gradient that nobody reduced.
        for (name, now), gradient in zip(model.named_parameters(), wanted, strict=True):
            if offered == "first layer" and name.startswith("0.") and now.ne(before[name]).any():
                # Both had offered it, and it is up to the kill whether it was reduced in time.
                torch.testing.assert_close(now, before[name] - 0.1 * gradient)
            else:
                assert torch.equal(now, before[name]), name
        with pytest.raises(hvd.HorovodInternalError):
            model(torch.ones(1, 6)).sum().backward()
            optimizer.step()
            model(torch.ones(1, 6))

    job = start_ranks(2, main, offered, env={"RUEDA_BACKEND": backend})
    assert job.hear(0) == job.hear(1) == "ready"
    job.signal(1, signal.SIGKILL)
    assert job.ended(1).code == -signal.SIGKILL
    job.tell(0, "go")
    assert job.ended(0).error is None, job.describe()


def test_shutdown_makes_the_update_first_and_init_goes_on(run_ranks, assert_alike):
    def main():
        both = []
        for overlaps in (False, True):
            model = _deep()
            hvd.init()
            optimizer = hvd.DistributedOptimizer(
                _adam(model.parameters()), overlap_forward=model if overlaps else None
            )
            for epoch in range(3):
                hvd.init()
                for step in range(2):
                    rank = hvd.rank()
                    model(torch.full((2, 6), 1.0 + step + rank + epoch)).square().mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                hvd.shutdown()
            assert optimizer._overlap is None or optimizer._overlap._update.closed
            both.append((model, optimizer))
        assert_alike(*both)

    run_ranks(2, main, init=False)


@pytest.mark.parametrize("ends", ["script", "function"])
def test_a_rank_that_ends_after_its_last_step_leaves_nobody_alone(run_script, ends):
    source = """
        import sys, torch, rueda as hvd

        hvd.init()

        def train():
            model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 1))
            optimizer = hvd.DistributedOptimizer(
                torch.optim.SGD(model.parameters(), lr=0.1), overlap_forward=model
            )
            hvd.broadcast_parameters(model.state_dict(), root_rank=0)
            for step in range(3):
                if hvd.rank() == 0 and step == 2:  # so that the other one is done long before
                    for _ in range(300):
                        model(torch.ones(600, 300))
                model(torch.ones(1, 300)).sum().backward()
                optimizer.step()
            return model, optimizer

        if sys.argv[1] == "script" or hvd.rank() == 0:
            model, optimizer = train()
        else:
            train()
        if hvd.rank() == 0:
            optimizer.finish_step()  # raises where the other one took its gradients along
    """
    finished = run_script("ruedarun", 2, source, ends)
    assert finished.code == 0, finished.err


def test_an_optimizer_that_is_gone_leaves_the_model_alone(run_ranks):
    def main():
        model = _deep()
        for _ in range(2):
            optimizer = hvd.DistributedOptimizer(_adam(model.parameters()), overlap_forward=model)
            for _ in range(2):
                model(torch.ones(1, 6)).sum().backward()
                optimizer.step()
            optimizer.finish_step()
            del optimizer
            gc.collect()
            for module in model.modules():
                assert not module._forward_pre_hooks
                assert not module._state_dict_pre_hooks
        assert not model._forward_hooks

    run_ranks(2, main)
