"""The same name for another call: requests are kept by name, and must not be taken for others."""

from __future__ import annotations

import random

import pytest
import torch

import rueda as hvd

_DTYPES = [torch.float32, torch.float64, torch.int32, torch.int64]
_SHAPES = [(), (1,), (3,), (1, 3), (3, 1), (2, 3), (6,), (0,), (7,)]


def _draw(random_numbers: random.Random) -> dict:
    """Return a call; few values each, so that calls often agree in all but one of them."""
    return {
        "call": random_numbers.choice(["allreduce", "in place", "grouped", "broadcast"]),
        "op": random_numbers.choice([hvd.Sum, hvd.Max]),
        "dtype": random_numbers.choice(_DTYPES),
        "shape": random_numbers.choice(_SHAPES),
        "count": random_numbers.choice([1, 2]),
        "scale": random_numbers.choice([1.0, 2.0]),
        "root": random_numbers.choice([0, 1]),
    }


def _changed(call: dict, random_numbers: random.Random) -> dict:
    """Return it with at most one value of another call."""
    key = random_numbers.choice(list(call))
    return {**call, key: _draw(random_numbers)[key]}


def _run(call: dict) -> None:
    rank, size = hvd.rank(), hvd.size()
    tensor = torch.full(call["shape"], rank + 1, dtype=call["dtype"])
    factor = call["scale"]
    reduced = sum(range(1, size + 1)) if call["op"] == hvd.Sum else size
    if call["call"] == "broadcast":
        got = [hvd.broadcast(tensor, call["root"], name="x")]
        expected = call["root"] + 1
    elif call["call"] == "grouped":
        tensors = [tensor.clone() for _ in range(call["count"])]
        got = hvd.grouped_allreduce(tensors, name="x", op=call["op"], prescale_factor=factor)
        expected = reduced * factor
    else:
        function = hvd.allreduce_ if call["call"] == "in place" else hvd.allreduce
        got = [function(tensor, name="x", op=call["op"], postscale_factor=factor)]
        expected = reduced * factor
    for one in got:
        assert one.dtype == call["dtype"], call
        assert one.shape == call["shape"], call
        assert torch.equal(one, torch.full(call["shape"], int(expected), dtype=one.dtype)), call


@pytest.mark.parametrize("size", [2, 3])
def test_one_name_for_calls_that_differ_in_one_value(run_ranks, size):
    def main():
        hvd.init()
        random_numbers = random.Random(7)
        call = _draw(random_numbers)
        for _ in range(300):
            _run(call)
            if random_numbers.random() < 0.7:
                call = _changed(call, random_numbers)

    run_ranks(size, main)
