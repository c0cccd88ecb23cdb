"""Priorities of asynchronous all-reduces: taken, checked, and no part of the result."""

from __future__ import annotations

import inspect

import pytest
import torch

import rueda as hvd

_FORMS = (
    "allreduce_async",
    "allreduce_async_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
)
_LARGEST = 2**31 - 1


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_results_do_not_depend_on_priorities(run_ranks, backend):
    def main():
        for _ in range(3):  # agreed in full, then by slots
            handles = [
                hvd.allreduce_async_(torch.full((5,), float(i)), name=f"t{i}", priority=i % 3 - 1)
                for i in range(9)
            ]
            pair = [torch.ones(2), torch.ones(3, dtype=torch.int32)]
            group = hvd.grouped_allreduce_async(pair, op=hvd.Sum, name="g", priority=_LARGEST)
            last = hvd.allreduce_async(torch.ones(1), name="last", priority=-_LARGEST - 1)
            for i, handle in enumerate(handles):
                assert torch.equal(hvd.synchronize(handle), torch.full((5,), float(i)))
            assert [one.tolist() for one in hvd.synchronize(group)] == [[2, 2], [2, 2, 2]]
            assert hvd.synchronize(last).item() == 1

    run_ranks(2, main, env={"RUEDA_BACKEND": backend})


def test_a_priority_may_change_from_call_to_call(run_ranks):
    def main():
        for priority in (0, 1, 1, -5, 0):
            handle = hvd.allreduce_async(torch.ones(4), op=hvd.Sum, name="x", priority=priority)
            assert hvd.synchronize(handle).tolist() == [2.0] * 4

    run_ranks(2, main)


def test_what_is_no_priority_is_refused(run_ranks):
    def main():
        for wrong in (_LARGEST + 1, -_LARGEST - 2, 1.5, "high"):
            with pytest.raises(ValueError, match="whole number from"):
                hvd.allreduce_async(torch.ones(1), name="x", priority=wrong)
            with pytest.raises(ValueError, match="whole number from"):
                hvd.grouped_allreduce_async_([torch.ones(1)], name="x", priority=wrong)
        with pytest.raises(ValueError, match="Adasum"):
            hvd.allreduce_async(torch.ones(1), name="x", op=hvd.Adasum, priority=1)

    run_ranks(2, main)


@pytest.mark.parametrize("form", _FORMS)
def test_it_is_a_keyword_that_horovods_callers_do_not_meet(form):
    parameter = inspect.signature(getattr(hvd, form)).parameters["priority"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default == 0
