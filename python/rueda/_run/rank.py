"""A rank of ``rueda.run``: calls the function and writes the letter with its result."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, cast

from rueda import _failure_report, _pickled
from rueda._environment import environment
from rueda._run.letters import read_letter, write_letter
from rueda._world import detect_world

_Payload = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]

INTERRUPTED = 130
_FAILED = 1


def work(call_fd: int, result_fds: list[int]) -> int:
    """Call the function that the caller sent, and return this process's exit code."""
    env = environment()
    world = detect_world(env, socket.gethostname())
    result_fd = result_fds[world.rank]
    for descriptor in (call_fd, result_fd):
        # What the function starts has no use for them, and must not keep them open.
        os.set_inheritable(descriptor, False)
    # The launcher learns of an exception from its report; the caller shows the traceback.
    sys.excepthook = _say_nothing
    _failure_report.install(world, env)
    try:
        value = _call(call_fd)
    except SystemExit as error:
        write_letter(result_fd, {"kind": "exited", "message": _code_in_words(error)})
        return error.code if isinstance(error.code, int) and error.code else _FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:
        _write_error(result_fd, error)
        raise
    _write_value(result_fd, value)
    return 0


def _say_nothing(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print nothing of an uncaught exception."""


class UnreadableCall(Exception):
    """The function, or what it needs, cannot be had on a rank."""


def _call(call_fd: int) -> object:
    letter = read_letter(call_fd)
    if letter is None:
        raise UnreadableCall("the call was not written to its end")
    try:
        with letter[1] as body:
            function, args, kwargs = cast("_Payload", _pickled.read(body))
    except Exception as error:
        raise UnreadableCall(
            "the function or its arguments cannot be unpickled on a rank, which imports the "
            f"modules anew: {type(error).__name__}: {error}"
        ) from error
    return function(*args, **kwargs)


def _code_in_words(error: SystemExit) -> str:
    return "" if error.code is None else repr(error.code)


def _write_value(result_fd: int, value: object) -> None:
    def body(file: BinaryIO) -> None:
        _pickled.write(value, file)

    try:
        write_letter(result_fd, {"kind": "returned"}, body)
    except Exception as error:
        kind = type(value)
        failure = TypeError(
            f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled: "
            f"{type(error).__name__}: {error}"
        )
        _write_error(result_fd, failure)
        raise failure from error


def _write_error(result_fd: int, error: BaseException) -> None:
    """Write an exception with its traceback; as words alone where it does not survive pickling."""
    head: dict[str, Any] = {
        "kind": "raised",
        "type": type(error).__qualname__,
        "message": str(error),
        "traceback": _traceback_of(error),
        "unsendable": "",
    }
    data = b""
    try:
        data = _pickled.to_bytes(error)
        # Exceptions whose __init__ wants more than their text fail only when they are read.
        _pickled.from_bytes(data)
    except Exception as why:
        head["unsendable"], data = f"{type(why).__name__}: {why}", b""

    def body(file: BinaryIO) -> None:
        file.write(data)

    write_letter(result_fd, head, body)


def _traceback_of(error: BaseException) -> str:
    """Return the traceback from the user's function on."""
    trace = error.__traceback__
    for _ in range(2):  # The frames of this file.
        trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
    return "".join(traceback.format_exception(type(error), error, trace))
