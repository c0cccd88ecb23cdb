"""Objects between ranks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch

import rueda as hvd


@dataclass(frozen=True)
class Point:
    """A class of this file, which ranks cannot import."""

    x: int
    label: str


@pytest.mark.parametrize("root", [0, 2])
def test_all_ranks_get_the_roots_object(run_ranks, root):
    objects = [
        None,
        {"epoch": 3, "lr": 0.1, "nested": [1, (2, {"x"})]},
        Point(1, "a"),
        b"\0" * 100,
        "x" * 3_000_000,
        OrderedDict(a=1),
        float("inf"),
    ]

    def main():
        for index, value in enumerate(objects):
            own = value if hvd.rank() == root else f"of rank {hvd.rank()}"
            assert hvd.broadcast_object(own, root) == value
            assert hvd.broadcast_object(own, root_rank=root, name=f"object {index}") == value
        function = hvd.broadcast_object(lambda x: x + root if hvd.rank() == root else None, root)
        assert hvd.rank() != root or function(1) == root + 1
        tensor = hvd.broadcast_object(torch.arange(5.0) if hvd.rank() == root else None, root)
        assert tensor.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]

    run_ranks(3, main)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_objects_of_all_ranks_are_gathered_in_rank_order(run_ranks, size):
    def main():
        own = Point(hvd.rank(), "x" * hvd.rank() * 100_000)
        assert hvd.allgather_object(own) == [Point(r, "x" * r * 100_000) for r in range(size)]
        assert hvd.allgather_object(None if hvd.rank() else [1], name="named") == (
            [[1]] + [None] * (size - 1)
        )

    run_ranks(size, main)


def test_the_root_keeps_its_own_object(run_ranks):
    def main():
        own = {"rank": hvd.rank()}
        found = hvd.broadcast_object(own, 0)
        assert (found is own) == (hvd.rank() == 0)
        assert found == {"rank": 0}

    run_ranks(2, main)


def test_what_cannot_be_pickled_is_the_root_s_own_error(start_ranks):
    def main(link):
        if hvd.rank() == 0:
            with pytest.raises(TypeError, match="pickle"):
                hvd.broadcast_object((i for i in range(3)), 0)
        return hvd.broadcast_object({"a": 1} if hvd.rank() == 0 else None, 0)

    assert start_ranks(2, main).results() == [{"a": 1}] * 2


def test_an_object_that_does_not_unpickle_raises_where_it_arrives_and_the_job_goes_on(run_ranks):
    class Bomb:
        def __reduce__(self):
            return int, ("no number",)

    def main():
        if hvd.rank() == 0:
            hvd.broadcast_object(Bomb(), 0)
        else:
            with pytest.raises(ValueError, match="no number"):
                hvd.broadcast_object(None, 0)
        assert hvd.broadcast_object("next", 0) == "next"

    run_ranks(2, main)
