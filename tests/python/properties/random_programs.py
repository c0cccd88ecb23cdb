"""Strategies for random programs of collectives, as plain data that can be sent and printed.

A program names process sets and rounds. A round's calls are made

- "sync": one after the other, in the same order on all ranks;
- "async": each rank starts them in an order of its own and waits for them in another;
- "join": rank r starts the first ``counts[r]`` of them and joins, so later ones run without it.

Values are left to the model: they follow from the program's seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_FLOATING = ["float16", "bfloat16", "float32", "float64"]
_WHOLE = ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
_COMPLEX = ["complex64", "complex128"]
_EIGHT_BITS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
_MOVED = [*_FLOATING, *_WHOLE, "bool", *_COMPLEX, *_EIGHT_BITS]

_REDUCTIONS = ["allreduce", "allreduce_", "grouped_allreduce", "reducescatter"]
_REDUCTIONS += ["grouped_reducescatter", "reduce"]
_MOVES = ["allgather", "grouped_allgather", "broadcast", "broadcast_", "alltoall", "gather"]
_MOVES += ["scatter"]
_OPS = ["Sum", "Average", "Min", "Max", "Product"]
_LAYOUTS = ["plain", "plain", "transposed", "strided", "expanded"]
_ROWS = st.sampled_from([0, 1, 1, 2, 2, 3, 3, 5, 7, 7, 64, 300])

Program = dict[str, Any]


def check_each(size: int, count: int, number: int, check: Callable[[Program], None]) -> None:
    """Call ``check`` with random programs; the same seed ``number`` gives the same ones again.

    When it fails, smaller programs are tried, and the smallest that fails is printed.
    """

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(size))
    def example(program: Program) -> None:
        check(program)

    example()


@st.composite
def programs(draw: Any, size: int) -> Program:
    """A program for a number of ranks."""
    subsets = st.lists(st.integers(0, size - 1), min_size=1, max_size=size - 1, unique=True)
    sets = []
    if size > 1:
        drawn = draw(st.lists(subsets.map(sorted), max_size=2))
        sets = [ranks for i, ranks in enumerate(drawn) if ranks not in drawn[:i]]
    everyone = list(range(size))
    rounds = draw(st.lists(_rounds(size, [everyone, *sets]), min_size=1, max_size=4))
    return {"size": size, "seed": draw(st.integers(0, 2**31)), "sets": sets, "rounds": rounds}


@st.composite
def _rounds(draw: Any, size: int, sets: list[list[int]]) -> dict[str, Any]:
    mode = draw(st.sampled_from(["sync", "async", "async", "join"]))
    joined = draw(st.integers(0, len(sets) - 1)) if mode == "join" else 0
    # A rank that has joined a set waits there, so it can do nothing for another set meanwhile.
    usable = [joined] if joined else list(range(len(sets)))
    calls = draw(st.lists(_calls(size, sets, usable, mode), min_size=1, max_size=8))
    return {
        "mode": mode,
        "joined": joined,
        "counts": draw(_each(size, st.integers(0, len(calls)))),
        "waits_first": draw(_each(size, st.booleans())),
        "orders": draw(_each(size, st.integers(0, 2**16))),
        "calls": calls,
    }


def _each(count: int, values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=count, max_size=count)


@st.composite
def _calls(
    draw: Any, size: int, sets: list[list[int]], usable: list[int], mode: str
) -> dict[str, Any]:
    others = ["barrier"] if mode == "sync" else []
    if mode != "join" and size > 1:
        others.append("send")
    kind = draw(st.sampled_from([*_REDUCTIONS, *_MOVES, *others]))
    chosen = draw(st.sampled_from(usable))
    ranks = sets[chosen]
    call: dict[str, Any] = {"kind": kind, "set": chosen, "named": draw(st.booleans()), "wrong": -1}
    if kind == "barrier":
        return call
    if kind == "send":
        call["ways"] = draw(st.permutations(range(size)))[:2]
    call["root"] = draw(st.sampled_from(ranks))
    call["rows"] = draw(_each(size, _ROWS))
    call["trailing"] = draw(st.sampled_from([[], [], [1], [3], [2, 2], [0], [700]]))
    call["scalar"] = draw(st.integers(0, 5)) == 0
    call["layout"] = draw(st.sampled_from(_LAYOUTS))
    call["parts"] = draw(st.integers(0, 3)) if "grouped" in kind else 1
    if kind in _REDUCTIONS:
        call.update(draw(_reductions(call["parts"])))
    else:
        call["dtypes"] = draw(_each(call["parts"], st.sampled_from(_MOVED)))
    if kind in ("alltoall", "scatter"):
        with_splits = draw(st.booleans())
        splits = _each(size, _each(len(ranks), st.integers(0, 4)))
        call["splits"] = draw(splits) if with_splits else None
    if mode != "join" and kind != "send" and len(ranks) > 1 and call["parts"] > 0:
        # One rank that disagrees with the others, now and then.
        call["wrong"] = draw(st.sampled_from([-1] * 8 + ranks))
    return call


@st.composite
def _reductions(draw: Any, parts: int) -> dict[str, Any]:
    op = draw(st.sampled_from(_OPS))
    takes_complex = op in ("Sum", "Average")
    scaled = draw(st.integers(0, 3)) == 0
    allowed = _FLOATING if scaled else [*_FLOATING, *_WHOLE, "bool"]
    if scaled and op == "Sum":
        allowed = [*_FLOATING, "int8", "int32", "uint16", "int64"]
    if takes_complex and not scaled:
        allowed = [*allowed, *_COMPLEX]
    factors = st.sampled_from([0.5, 2.0, 4.0])
    return {
        "op": op,
        "dtypes": draw(_each(parts, st.sampled_from(allowed))),
        "factors": [draw(factors), draw(factors)] if scaled else [1.0, 1.0],
    }
