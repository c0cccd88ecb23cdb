"""One script, unchanged, under every launcher."""

from __future__ import annotations

import json
import shutil

import pytest

_SCRIPT = """
    import json
    import sys

    import torch

    import rueda as hvd

    hvd.init()
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1), named_parameters=model.named_parameters()
    )
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    for step in range(3):
        optimizer.zero_grad()
        model(torch.ones(2, 5) * (hvd.rank() + step)).square().mean().backward()
        optimizer.step()
    names = ("rank", "size", "local_rank", "local_size", "cross_rank", "cross_size")
    place = [getattr(hvd, name)() for name in names]
    everyones = hvd.allgather_object((place, model.weight.tolist()))
    if hvd.rank() == 0:
        print("RESULT " + json.dumps(everyones))
"""


def _result(out):
    line = next(line for line in out.splitlines() if "RESULT " in line)
    return json.loads(line.partition("RESULT ")[2])


@pytest.fixture(scope="module")
def seen():
    """The weights of each size, to be the same under every launcher."""
    return {}


@pytest.mark.parametrize(
    ("launcher", "size"), [("python", 1), ("ruedarun", 2), ("torchrun", 2), ("mpirun", 2)]
)
def test_the_same_script_trains_the_same(run_script, seen, launcher, size):
    if launcher == "mpirun" and shutil.which("mpirun") is None:
        pytest.skip("no mpirun here")
    finished = run_script(launcher, size, _SCRIPT)
    assert finished.code == 0, finished.err
    everyones = _result(finished.out)
    assert [place for place, _ in everyones] == [[r, size, r, size, 0, 1] for r in range(size)]
    weights = [weight for _, weight in everyones]
    assert all(weight == weights[0] for weight in weights)
    assert seen.setdefault(size, weights[0]) == weights[0]
