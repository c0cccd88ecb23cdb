"""DataLoader workers, forked while a job runs."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd


class Numbers(torch.utils.data.Dataset):
    """Numbers with the rank that the worker belongs to."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        # A worker may ask where it is, but can do nothing else with rueda.
        try:
            hvd.allreduce(torch.ones(1))
        except hvd.HorovodInternalError as error:
            return torch.full((6,), float(index)), hvd.rank(), error.code
        return None


@pytest.mark.parametrize("backend", ["shm", "gloo"])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_run_beside_training(run_ranks, make_model, backend, persistent):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01))
        loader = torch.utils.data.DataLoader(
            Numbers(), batch_size=4, num_workers=2, persistent_workers=persistent
        )
        codes = set()
        for _ in range(2):
            for inputs, ranks, of_batch in loader:
                optimizer.zero_grad()
                model(inputs * (hvd.rank() + 1)).square().mean().backward()
                optimizer.step()
                assert ranks.eq(hvd.rank()).all()
                codes.update(of_batch)
        assert codes == {"R105"}
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main, env={"RUEDA_BACKEND": backend})
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_workers_started_with_gradients_under_way(run_ranks, make_model, batch, loss):
    def main():
        model = make_model()
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01))
        for step in range(4):
            optimizer.zero_grad()
            loss(model, batch(step, hvd.rank())).backward()
            found = next(iter(torch.utils.data.DataLoader(Numbers(), num_workers=1)))
            assert found[2] == ("R105",)
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    first, second = run_ranks(2, main)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
