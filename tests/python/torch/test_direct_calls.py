"""What answers usual calls without a frame of Python does what the function would have done."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import pydoc
import weakref
from typing import Any

import pytest
import torch

import rueda
from rueda import _core, _torch
from rueda._finishing import finish_later, unfinished
from rueda._reduce_op import ReduceOp
from rueda.process_sets import ProcessSet, global_process_set

NAMES = ["allreduce", "allreduce_", "allreduce_async", "allreduce_async_", "synchronize"]


@pytest.fixture
def direct(make_world):
    """The direct calls of a job of one rank, and its operations."""
    operations = make_world(1).operations[0]
    calls = _torch.direct_calls(
        operations,
        op_type=ReduceOp,
        global_process_set=global_process_set,
        unfinished=unfinished,
    )
    return calls, operations


def test_every_function_with_a_shortcut_has_a_direct_call(direct):
    calls, _ = direct
    assert sorted(calls) == sorted(NAMES)
    shortcuts = [name for name in rueda.__all__ if type(getattr(rueda, name)) is _core.Shortcut]
    assert sorted(shortcuts) == sorted(NAMES)


USUAL = [
    ((), {}),
    ((None,), {}),
    ((None, "named"), {}),
    ((), {"name": "named"}),
    ((), {"name": None, "op": rueda.Sum}),
    ((), {"op": None, "average": None}),
    ((), {"op": rueda.Max, "name": "größer"}),
    ((), {"prescale_factor": 2.0, "op": rueda.Sum}),
    ((), {"postscale_factor": 0.5, "op": rueda.Sum}),
    ((), {"process_set": global_process_set}),
]


@pytest.mark.parametrize("name", NAMES[:4])
@pytest.mark.parametrize(("places", "keywords"), USUAL)
def test_usual_calls_are_answered(direct, name, places, keywords):
    calls, operations = direct
    tensor = torch.tensor([1.0, 2.0, 3.0])
    expected = tensor * keywords.get("prescale_factor", 1) * keywords.get("postscale_factor", 1)
    answer = calls[name](tensor, *places, **keywords)
    if "async" in name:
        assert len(operations) == 1
        answer = calls["synchronize"](answer)
    assert torch.equal(answer, expected)
    assert (answer is tensor) == name.endswith("_")
    assert len(operations) == 0


UNUSUAL = [
    ((), {}),
    (([1.0],), {}),
    ((None,), {}),
    ((torch.ones(2), True), {}),
    ((torch.ones(2),), {"average": False}),
    ((torch.ones(2), None, b"x"), {}),
    ((torch.ones(2),), {"name": 7}),
    ((torch.ones(2),), {"op": 1}),
    ((torch.ones(2),), {"op": True}),
    ((torch.ones(2),), {"op": "sum"}),
    ((torch.ones(2),), {"op": rueda.Adasum}),
    ((torch.ones(2),), {"prescale_factor": 2}),
    ((torch.ones(2),), {"prescale_factor": None}),
    ((torch.ones(2),), {"postscale_factor": "2"}),
    ((torch.ones(2),), {"process_set": None}),
    ((torch.ones(2),), {"process_set": ProcessSet([0])}),
    ((torch.ones(2),), {"priority": 0}),
    ((torch.ones(2),), {"compression": rueda.Compression.none}),
    ((torch.ones(2),), {"unknown": 1}),
    ((torch.ones(2),), {"tensor": torch.ones(2)}),
    ((torch.ones(2), None, "x"), {"name": "x"}),
    ((torch.ones(2), *[None] * 8), {}),
]


@pytest.mark.parametrize("name", NAMES[:4])
@pytest.mark.parametrize(("arguments", "keywords"), UNUSUAL)
def test_other_calls_are_left_to_the_function(direct, name, arguments, keywords):
    calls, operations = direct
    assert calls[name](*arguments, **keywords) is NotImplemented
    assert len(operations) == 0


def test_a_keyword_that_is_not_interned_is_left_to_the_function(direct):
    calls, _ = direct
    keywords = {"".join(["o", "p"]): rueda.Sum}
    assert calls["allreduce"](torch.ones(2), **keywords) is NotImplemented


def test_the_fourth_argument_by_place_is_the_compression_or_the_operation(direct):
    calls, _ = direct
    tensor = torch.ones(3)
    assert calls["allreduce"](tensor, None, "x", rueda.Sum) is NotImplemented
    assert calls["allreduce_"](tensor, None, "x", rueda.Sum, 3.0) is tensor
    assert torch.equal(tensor, torch.full((3,), 3.0))


def test_what_needs_a_gradient_is_left_to_the_function(direct):
    calls, operations = direct
    tensor = torch.ones(3, requires_grad=True)
    assert calls["allreduce"](tensor) is NotImplemented
    with torch.no_grad():
        assert torch.equal(calls["allreduce"](tensor), torch.ones(3))
    handle = calls["allreduce_async"](tensor)
    assert not calls["synchronize"](handle).requires_grad
    assert len(operations) == 0


def test_handles_that_need_more_are_left_to_the_function(direct):
    calls, operations = direct
    synchronize = calls["synchronize"]
    first = calls["allreduce_async"](torch.ones(2), name="first")
    second = finish_later(calls["allreduce_async"](torch.ones(2), name="second"), torch.neg)
    try:
        assert synchronize(second) is NotImplemented
        assert torch.equal(synchronize(first), torch.ones(2))
        assert synchronize(first) is None
    finally:
        del unfinished[second]
    assert torch.equal(synchronize(second), torch.ones(2))
    for arguments, keywords in [((), {}), ((1, 2), {}), (("1",), {}), ((True,), {}), ((1.0,), {})]:
        assert synchronize(*arguments, **keywords) is NotImplemented
    assert synchronize(handle=first) is NotImplemented
    with pytest.raises(OverflowError):
        synchronize(2**70)
    assert len(operations) == 0


def test_mistakes_are_told_as_by_the_function(direct):
    calls, operations = direct
    for wrong in (torch.eye(2).to_sparse(), torch.ones(1).expand(4)):
        with pytest.raises(ValueError, match=r"\[R\d+\]") as expected:
            operations.allreduce(wrong, wrong, "x", 1)
        with pytest.raises(ValueError, match=r"\[R\d+\]") as found:
            calls["allreduce_"](wrong, name="x")
        assert str(found.value) == str(expected.value)
    with pytest.raises(UnicodeEncodeError):
        calls["allreduce"](torch.ones(2), name="\ud800")
    handle = calls["allreduce_async"](torch.ones(2), name="twice")
    assert handle >= 0
    assert len(operations) == 1
    operations.wait(handle)


def test_calls_outlive_who_made_them(make_world):
    world = make_world(1)
    calls = _torch.direct_calls(
        world.operations[0], op_type=ReduceOp, global_process_set=None, unfinished={}
    )
    allreduce = calls["allreduce"]
    del calls
    gc.collect()
    assert torch.equal(allreduce(torch.ones(2)), torch.ones(2))


# The type by itself.


def _first(a: int, *rest: int, b: str = "b") -> tuple[Any, ...]:
    """Say first."""
    return ("function", a, *rest, b)


first = functools.update_wrapper(_core.Shortcut(_first), _first)


def test_the_direct_call_is_first_and_the_function_is_for_the_rest():
    called = []

    def direct(*arguments, **keywords):
        called.append((arguments, keywords))
        return NotImplemented if keywords else "direct"

    made = _core.Shortcut(_first)
    assert made.direct is None
    assert made(1) == ("function", 1, "b")
    made.direct = direct
    assert made(1, 2) == "direct"
    assert made(1, b="c") == ("function", 1, "c")
    assert made(*[1, 2], **{"b": "d"}) == ("function", 1, 2, "d")
    assert called == [((1, 2), {}), ((1,), {"b": "c"}), ((1, 2), {"b": "d"})]
    made.direct = None
    assert made(1) == ("function", 1, "b")
    del made.direct
    assert made(1) == ("function", 1, "b")


def test_an_error_of_the_direct_call_is_the_callers():
    def direct(*_):
        raise KeyError("mine")

    made = _core.Shortcut(_first)
    made.direct = direct
    with pytest.raises(KeyError, match="mine"):
        made(1)
    made.direct = None
    with pytest.raises(TypeError, match="_first"):
        made()


def test_a_direct_call_may_be_taken_away_while_it_runs():
    made = _core.Shortcut(_first)

    def direct(*_):
        made.direct = None
        gc.collect()
        return NotImplemented

    made.direct = direct
    watched = weakref.ref(direct)
    del direct
    assert made(5) == ("function", 5, "b")
    gc.collect()
    assert watched() is None


def test_who_looks_sees_the_function():
    assert repr(first) == repr(_first)
    assert inspect.signature(first) == inspect.signature(_first)
    assert inspect.getsource(first) == inspect.getsource(_first)
    assert inspect.isroutine(first)
    assert "Say first." in pydoc.render_doc(first)
    for name in NAMES:
        function = getattr(rueda, name)
        assert f"{name}(" in pydoc.plain(pydoc.render_doc(function))
        assert function.__module__.startswith("rueda._")


def test_it_is_copied_pickled_bound_and_weakly_referenced_as_a_function_is():
    assert copy.copy(first) is first
    assert copy.deepcopy([first])[0] is first
    assert weakref.ref(first)() is first
    assert pickle.loads(pickle.dumps(rueda.allreduce)) is rueda.allreduce

    class Holder:
        method = first

    holder = Holder()
    assert holder.method() == ("function", holder, "b")
    assert Holder.method(3) == ("function", 3, "b")


def test_it_needs_a_function():
    with pytest.raises(TypeError, match="a shortcut needs a function, not int"):
        _core.Shortcut(3)
    with pytest.raises(TypeError):
        _core.Shortcut()


def test_it_can_be_collected():
    def function() -> None:
        return None

    made = _core.Shortcut(function)
    function.cycle = made  # type: ignore[attr-defined]
    watched = weakref.ref(made)
    del made, function
    gc.collect()
    assert watched() is None
