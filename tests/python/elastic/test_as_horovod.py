"""Elastic scripts for Horovod under ruedarun --as-horovod, and with rueda's own import."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from ranks import clean_environment

_SCRIPT = """
    import torch
    import horovod.torch as hvd
    import horovod.torch.elastic
    from horovod.common.elastic import (
        HostUpdateResult, ObjectState, State, notification_manager, run_fn
    )
    from horovod.common.exceptions import (
        HorovodInternalError, HorovodVersionMismatchError, HostsUpdatedInterrupt
    )
    from horovod.torch.elastic import ElasticSampler, TorchState, run
    from horovod.torch.elastic.sampler import ElasticSampler as same
    from horovod.torch.elastic.state import (
        ModelStateHandler, SamplerStateHandler, get_handler_registry, set_handler_registry
    )

    assert same is ElasticSampler is hvd.elastic.ElasticSampler
    assert issubclass(TorchState, ObjectState) and issubclass(ObjectState, State)
    assert hvd.elastic.run is run
    assert HostsUpdatedInterrupt(True).skip_sync
    assert "2.0" in str(HorovodVersionMismatchError("torch", "2.0", "2.1"))

    hvd.init()
    torch.manual_seed(hvd.rank())
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * hvd.size())
    optimizer = hvd.DistributedOptimizer(
        optimizer, named_parameters=model.named_parameters()
    )
    data = torch.arange(24.0).reshape(8, 3) / 24
    sampler = ElasticSampler(data)
    loader = torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
    failures = []

    @hvd.elastic.run
    def train(state, epochs):
        for state.epoch in range(state.epoch, epochs):
            for state.batch, rows in enumerate(loader):
                optimizer.zero_grad()
                model(rows).square().mean().backward()
                optimizer.step()
                sampler.record_batch(state.batch, 2)
                if state.epoch == 1 and not failures:
                    failures.append(1)
                    raise HorovodInternalError("once")
                state.commit()
            sampler.set_epoch(state.epoch + 1)
        return "trained"

    def on_state_reset():
        failures.append(hvd.size())

    state = hvd.elastic.TorchState(model, optimizer, batch=0, epoch=0, sampler=sampler)
    state.register_reset_callbacks([on_state_reset])
    print(train(state, 3), failures, hvd.allreduce(model.weight.data - model.weight.data).sum())
"""


def test_a_script_for_elastic_horovod_runs(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(_SCRIPT))
    command = [sys.executable, "-m", "rueda.launch", "--as-horovod", "-np", "2", str(path)]
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        f"[{rank}] trained [1, 2] tensor(0.)" for rank in range(2)
    ]


@pytest.mark.parametrize(
    "words", ["import rueda as hvd", "import rueda as hvd; import rueda.elastic"]
)
def test_the_module_is_there_without_an_import_of_its_own(words):
    script = f"{words}; print(hvd.elastic.run.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "run\n"
