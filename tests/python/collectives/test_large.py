"""Tensors of more elements than 32 bits can count; only with --full-size."""

from __future__ import annotations

import pytest
import torch

import rueda as hvd

_COUNT = 2**31 + 7


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_more_elements_than_32_bits_can_count(run_ranks, full_size, backend):
    if not full_size:
        pytest.skip("takes 9 GB of memory: --full-size")

    def main():
        tensor = torch.full((_COUNT,), hvd.rank() + 1, dtype=torch.int8)
        hvd.allreduce_(tensor, op=hvd.Sum)
        assert tensor[[0, 2**31 - 1, 2**31, -1]].tolist() == [3] * 4
        tensor[-1] = hvd.rank()
        hvd.broadcast_(tensor, 1)
        assert tensor[-1].item() == 1
        tensor[-1] += hvd.rank()
        rows = hvd.reducescatter(tensor, op=hvd.Max)
        assert rows.shape == ((_COUNT + 1 - hvd.rank()) // 2,)
        assert rows[-1].item() == (3, 2)[hvd.rank()]
        del rows
        part = tensor[: _COUNT // 2]
        assert hvd.allgather(part).shape == (_COUNT // 2 * 2,)

    run_ranks(2, main, env={"RUEDA_BACKEND": backend}, deadline=300.0)
