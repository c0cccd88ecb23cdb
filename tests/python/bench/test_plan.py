"""What a run measures, before anything is started."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest

from rueda._bench.goal_plan import goal_settings
from rueda._bench.plan import LIMIT, elements_of, plan_cases
from rueda._bench.processors import pinned, processor_of, spread
from rueda._bench.resnet50 import RESNET50_ELEMENTS, resnet50_shapes
from rueda._bench.settings import COLLECTIVES, Settings


def labels(settings: Settings, case: int = 0) -> list[str]:
    return [variant.label for variant in plan_cases(settings)[case].variants]


def test_every_size_has_the_limit_first_and_each_road_once() -> None:
    cases = plan_cases(Settings(sizes=(8, 4096), workloads=("sizes",)))
    assert [case.bytes for case in cases] == [8, 4096]
    for case in cases:
        assert case.variants[0].level == LIMIT
        assert len(set(case.variants)) == len(case.variants)
    assert labels(Settings(peers=())) == [
        "limit",
        "transport in-place",
        "transport staged",
        "engine in-place",
        "engine staged",
        "engine gloo",
        "python staged",
        "python gloo",
    ]


def test_levels_roads_and_peers_narrow_the_choice() -> None:
    settings = Settings(levels=("python",), roads=("staged",), peers=("openmpi",))
    assert labels(settings) == ["limit", "python staged", "Open MPI"]


def test_what_a_peer_does_not_have_is_not_planned() -> None:
    average = Settings(op="average", levels=(), roads=())
    assert labels(average) == ["limit", "Horovod"]
    broadcast = Settings(collective="broadcast", levels=("engine",))
    assert labels(broadcast) == ["limit", "engine staged", "engine gloo", "torch Gloo"]


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_messages_are_near_the_size_and_whole_for_every_rank(collective: str) -> None:
    settings = Settings(ranks=3, collective=collective)
    assert elements_of(settings, "float32", 1) >= 1
    count = elements_of(settings, "float32", 4096)
    assert 4096 - 12 < count * 4 <= 4096
    if collective in ("allgather", "reducescatter"):
        assert count % 3 == 0
        assert elements_of(settings, "float64", 8) == 3


def test_workloads_add_cases_of_their_own() -> None:
    cases = plan_cases(Settings(sizes=(8,), workloads=("many", "gradients", "beside")))
    assert [case.kind for case in cases] == ["async", "grouped", "gradients", "beside"]
    assert cases[0].bytes == 300 << 10
    assert cases[2].count == RESNET50_ELEMENTS


def test_ranks_get_cores_of_their_own_first() -> None:
    pairs = {0: [0, 1], 1: [0, 1], 2: [2, 3], 3: [2, 3]}
    assert spread([3, 1, 0, 2], pairs) == [0, 2, 1, 3]
    assert spread([1, 3], pairs) == [1, 3]
    assert spread([5, 4], {}) == [4, 5]


def test_only_the_calling_thread_is_pinned_and_not_for_long() -> None:
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    assert processor_of(0, len(before) + 1) is None
    assert processor_of(0, 1) in before


def test_what_has_helper_threads_is_not_pinned() -> None:
    [case] = plan_cases(Settings(sizes=(8,), workloads=("sizes",)))
    alone = {variant.label for variant in case.variants if variant.has_one_thread}
    assert alone == {"limit", "transport in-place", "transport staged", "raw sockets"}


def test_the_gradients_are_those_of_resnet50() -> None:
    shapes = resnet50_shapes()
    assert len(shapes) == 161
    assert sum(math.prod(shape) for shape in shapes) == RESNET50_ELEMENTS


def test_goals_are_measured_on_two_and_four_ranks_with_the_callers_rounds() -> None:
    asked = replace(Settings(), rounds=3, peers=("gloo",))
    runs = goal_settings(asked)
    assert [run.ranks for run in runs] == [2, 2, 4, 2]
    assert [run.workloads for run in runs][-1] == ("train",)
    assert {run.rounds for run in runs} == {3}
    assert {dtype for run in runs for dtype in run.dtypes} == {"float32", "bfloat16", "float16"}
    assert all(64 << 20 in run.sizes for run in runs)
    assert all(set(run.peers) <= {"gloo"} for run in runs)
