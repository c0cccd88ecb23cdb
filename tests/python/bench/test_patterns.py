"""What ranks contribute has exact results, and whatever is wrong is counted."""

from __future__ import annotations

import pytest
import torch

from rueda._bench.patterns import contribution, expected, reduced, wrong_elements
from rueda._bench.settings import COLLECTIVES, DTYPES, OPS


@pytest.mark.parametrize("dtype_name", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_results_are_those_of_plain_arithmetic(dtype_name: str, op: str) -> None:
    dtype, ranks, count = getattr(torch, dtype_name), 3, 257
    all_parts = torch.stack([contribution(r, count, dtype, op).double() for r in range(ranks)])
    plain = {
        "sum": lambda: all_parts.sum(0),
        "average": lambda: all_parts.sum(0) / ranks,
        "min": lambda: all_parts.amin(0),
        "max": lambda: all_parts.amax(0),
        "product": lambda: all_parts.prod(0),
    }[op]()
    found = reduced(ranks, count, dtype, op)
    assert found.dtype == dtype
    if dtype.is_floating_point:
        torch.testing.assert_close(found.double(), plain, rtol=2e-2, atol=0)
    else:
        assert torch.equal(found.double(), plain.trunc())


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_rank_knows_what_it_must_hold(collective: str) -> None:
    lengths = [expected(collective, rank, 2, 10, torch.float32, "sum").numel() for rank in range(2)]
    assert lengths == ([5, 5] if collective == "reducescatter" else [10, 10])


def test_misplaced_and_missing_elements_are_counted() -> None:
    wanted = contribution(0, 1000, torch.float32, "sum")
    assert wrong_elements(wanted.clone(), wanted) == 0
    assert wrong_elements(wanted.roll(64), wanted) > 300
    assert wrong_elements(wanted[:-1], wanted) == 1000
