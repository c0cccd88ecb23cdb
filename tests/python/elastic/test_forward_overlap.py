"""Failures while an update is left to the next forward pass: elastic training goes on."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_STEPS = 9
_TROUBLE_AT = 5


def _own_error_of(rank):
    def raise_it():
        if hvd.rank() == rank:
            raise hvd.HorovodInternalError("a failure of this rank alone")

    return raise_it


def _mismatch():
    hvd.allreduce(torch.ones(2 + (hvd.rank() == 1)), name="x")


def _train(overlaps, trouble):
    """Commit each third step; ``trouble`` comes once, right after a step."""
    torch.manual_seed(hvd.rank())
    model = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    optimizer = hvd.DistributedOptimizer(
        torch.optim.Adam(model.parameters(), lr=0.02),
        groups=[[p] for p in model.parameters()],
        overlap_forward=model if overlaps else None,
    )
    state = hvd.elastic.TorchState(model, optimizer, step=0)
    attempts = []

    @hvd.elastic.run
    def train(state):
        attempts.append(state.step)
        while state.step < _STEPS:
            model(torch.full((2, 4), 1.0 + state.step + hvd.rank())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if state.step == _TROUBLE_AT and len(attempts) == 1:
                assert not overlaps or not optimizer._overlap._update.closed
                trouble()
            state.step += 1
            if state.step % 3 == 0:
                state.commit()

    train(state)
    moments = [one["exp_avg"] for _, one in sorted(optimizer.state_dict()["state"].items())]
    numbers = torch.cat([p.detach().flatten() for p in [*model.parameters(), *moments]])
    return attempts, numbers.tolist()


@pytest.mark.parametrize("trouble", [_own_error_of(0), _own_error_of(1), _mismatch])
def test_training_arrives_where_it_would_have(run_ranks, trouble):
    def main():
        return _train(False, lambda: None), _train(True, trouble)

    for (calm, expected), (attempts, found) in run_ranks(3, main):
        assert calm == [0]
        # What had been agreed on when one rank alone failed the others still did.
        assert attempts in ([0, 3], [0, 6])
        assert found == expected
