"""A small training loop that commits each step, and what disturbs it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rueda as hvd

STEPS = 8
TROUBLE_AT = 5


class _Losses(torch.utils.data.Dataset):
    """Inputs and targets that depend on the index alone."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(5, generator=generator)


def _make_state(**options: Any) -> hvd.elastic.TorchState:
    torch.manual_seed(hvd.rank())
    model = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    optimizer = hvd.DistributedOptimizer(torch.optim.Adam(model.parameters(), lr=0.02), **options)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
    sampler = hvd.elastic.ElasticSampler(_Losses(), seed=3)
    return hvd.elastic.TorchState(
        model, optimizer, scheduler=scheduler, sampler=sampler, step=0, seen=[]
    )


def _train(
    state: hvd.elastic.TorchState, trouble: Callable[[hvd.elastic.TorchState], object]
) -> int:
    """Train to the end; ``trouble(state)`` runs between backward and step of one step."""
    loader = torch.utils.data.DataLoader(_Losses(), batch_size=2, sampler=state.sampler)
    while state.step < STEPS:
        for number, batch in enumerate(loader):
            loss = (state.model(batch[:, :4]) - batch[:, 4:]).square().mean()
            loss.backward()
            if state.step == TROUBLE_AT:
                trouble(state)
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.scheduler.step()
            state.sampler.record_batch(number, len(batch))
            state.step += 1
            state.seen.append(state.step)
            state.commit()
            if state.step == STEPS:
                return state.step
        state.sampler.set_epoch(state.sampler.epoch + 1)
    return state.step


def _bits(state: hvd.elastic.TorchState) -> list[float]:
    """All that training has changed."""
    numbers = [p.detach().flatten() for p in state.model.parameters()]
    for entries in state.optimizer.state.values():
        numbers += [entries[name].flatten() for name in ("exp_avg", "exp_avg_sq")]
    rates = [group["lr"] for group in state.optimizer.param_groups]
    progress = [state.step, state.sampler.epoch, state.sampler.processed_num, *state.seen]
    return [*torch.cat(numbers).tolist(), *rates, *progress]


@pytest.fixture
def make_state() -> Callable[..., hvd.elastic.TorchState]:
    """Make a state, whose parameters differ between ranks until they are synchronised."""
    return _make_state


@pytest.fixture
def train() -> Callable[..., int]:
    """``train(state, trouble)``: what ``rueda.elastic.run`` wraps."""
    return _train


@pytest.fixture
def bits() -> Callable[[hvd.elastic.TorchState], list[float]]:
    """All numbers that training has changed."""
    return _bits


@pytest.fixture
def undisturbed(run_ranks: Any) -> Callable[[int], list[float]]:
    """Train on so many ranks without trouble and return what came of it."""

    def run(size: int) -> list[float]:
        def main() -> list[float]:
            state = _make_state()
            hvd.elastic.run(_train)(state, lambda state: None)
            return _bits(state)

        first, *others = run_ranks(size, main)
        assert all(other == first for other in others)
        return first

    return run


@pytest.fixture
def disturbed(make_state, train, bits):
    """Make a rank's main: it trains with trouble and returns its result and number of attempts."""

    def make(trouble):
        def main(*link):
            attempts = []

            @hvd.elastic.run
            def repeated(state):
                attempts.append(state.step)
                return train(state, lambda state: trouble(state, len(attempts), *link))

            state = make_state()
            repeated(state)
            return bits(state), attempts

        return main

    return make


@pytest.fixture
def network(tmp_path):
    """Let the ranks meet over TCP, as ranks of several hosts do."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(os.urandom(32))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"RUEDA_RENDEZVOUS": f"127.0.0.1:{port}", "RUEDA_SECRET_FILE": str(secret)}


def _committed(state):
    """A state and what it had at its last commit, kept by other means."""
    kept = {}
    save = state.save

    def saving():
        save()
        kept["numbers"] = [p.detach().clone() for p in state.model.parameters()]
        kept["step"] = state.step

    state.save = saving
    return kept


def _check_restored(state, kept):
    assert state.step == kept["step"] >= 5
    for parameter, number in zip(state.model.parameters(), kept["numbers"], strict=True):
        assert torch.equal(parameter, number)
        assert parameter.grad is None


@pytest.fixture
def hopeless(make_state, train):
    """Make a rank's main that returns the error of ``run`` after it looked at the state."""

    def make(trouble):
        def main(*link):
            state = make_state()
            kept = _committed(state)
            try:
                hvd.elastic.run(train)(state, lambda state: trouble(*link))
            except hvd.HorovodInternalError as error:
                _check_restored(state, kept)
                # Somebody can still save it.
                assert (hvd.rank(), hvd.size()) == (int(os.environ["RANK"]), 3)
                return str(error), error.code, error.rank
            return "ended well", "", None

        return main

    return make
