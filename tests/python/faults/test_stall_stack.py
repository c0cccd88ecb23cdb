"""What a rank says of its own main thread: which frames, and in which words."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from rueda import _stall
from rueda._stall import Place, describe_program, shown, without_rueda

_OWN = os.path.join(os.path.dirname(_stall.__file__), "_allreduce.py")  # noqa: PTH118, PTH120
_PACKAGE = "/v/lib/python3.11/site-packages/torch/x.py"


def _from_another_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(describe_program).result()


def test_the_main_thread_is_described_from_any_thread():
    first, *stack = _from_another_thread().splitlines()
    assert first.startswith("is in _from_another_thread (")
    assert "test_stall_stack.py:" in first
    assert "return pool.submit(describe_program).result()" in "\n".join(stack)
    assert "test_the_main_thread_is_described_from_any_thread" in "\n".join(stack)


def test_asking_leaves_no_trace_in_the_process():
    threads = threading.enumerate()
    references = sys.getrefcount(test_asking_leaves_no_trace_in_the_process)
    for _ in range(20):
        _from_another_thread()
    assert threading.enumerate() == threads
    assert sys.getrefcount(test_asking_leaves_no_trace_in_the_process) == references


def test_lines_are_short_and_few():
    def deep(depth):
        return deep(depth - 1) if depth else _from_another_thread()

    lines = deep(150).splitlines()
    assert len(lines) <= 1 + 2 * (4 + 3) + 2
    assert all(len(line) <= 102 for line in lines[1:])


def test_frames_of_rueda_and_of_the_start_are_left_out():
    places = [
        Place("<frozen runpy>", 1, "_run_module_as_main"),
        Place("/home/u/train.py", 9, "<module>"),
        Place(_OWN, 4, "allreduce"),
    ]
    assert [place.path for place in without_rueda(places)] == ["/home/u/train.py"]


def test_the_innermost_frames_are_shown_and_the_last_ones_of_the_user():
    users = [Place("/home/u/train.py", line, f"f{line}") for line in range(1, 6)]
    installed = [Place(_PACKAGE, line, f"g{line}") for line in range(1, 7)]
    chosen = shown([*users, *installed])
    assert chosen[0] is None
    assert chosen[1:4] == users[-3:]
    assert chosen[4] is None
    assert chosen[5:] == installed[-4:]
    assert shown(users[:2]) == users[:2]
    assert shown([*users[:1], *installed[:4]]) == [*users[:1], *installed[:4]]


def test_whose_a_file_is():
    assert Place("/home/u/train.py", 1, "f").is_users
    assert Place("<stdin>", 1, "f").is_users
    assert not Place(_PACKAGE, 1, "f").is_users
    assert not Place(threading.__file__, 1, "f").is_users
    assert not Place(_OWN, 1, "f").is_users
