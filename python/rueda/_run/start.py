"""Starts the launcher process of a call and waits for its end, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rueda import _pickled
from rueda._run.letters import blank, write_letter
from rueda._run.outcome import results

# What the caller says when it watches over the launcher.
GO = b"go"
_BOOT = str(Path(__file__).with_name("boot.py"))


@dataclass(frozen=True)
class Call:
    """A function with its arguments, and how it is to be run.

    Attributes:
        function: The function.
        args: Its positional arguments.
        kwargs: Its other arguments.
        num_proc: Number of ranks.
        words: Options of ruedarun.
        python: The Python that runs the ranks.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    num_proc: int
    words: Sequence[str]
    python: str


def run_call(call: Call) -> list[Any]:
    """Run a call on its ranks and return their results; nothing of the job is left.

    Raises:
        ValueError: The function cannot be sent, or the job cannot be started as asked.
        Exception: See ``outcome.results``.
    """
    with contextlib.ExitStack() as stack:
        call_fd, outcome_fd = _blank(stack, "call"), _blank(stack, "outcome")
        replies = [_blank(stack, f"result-{rank}") for rank in range(call.num_proc)]
        _write_call(call, call_fd, outcome_fd, replies)
        code = _launch(call_fd, [call_fd, outcome_fd, *replies])
        return results(outcome_fd, replies, code)


def _blank(stack: contextlib.ExitStack, name: str) -> int:
    descriptor = blank(name)
    stack.callback(os.close, descriptor)
    return descriptor


def _write_call(call: Call, call_fd: int, outcome_fd: int, replies: list[int]) -> None:
    head = {
        "path": [str(entry) for entry in sys.path],
        "argv": list(getattr(sys, "argv", [])),
        "caller": os.getpid(),
        "boot": _BOOT,
        "python": call.python,
        "words": list(call.words),
        "outcome": outcome_fd,
        "results": replies,
    }
    try:
        payload = (call.function, call.args, call.kwargs)
        write_letter(call_fd, head, lambda file: _pickled.write(payload, file))
    except OSError:
        raise
    except Exception as error:
        name = getattr(call.function, "__qualname__", repr(call.function))
        raise ValueError(
            f"rueda.run cannot send {name} and its arguments to the ranks: "
            f"{type(error).__name__}: {error}. Make inside the function what cannot be pickled, "
            "such as locks, files and connections"
        ) from error


def _launch(call_fd: int, passed: Sequence[int]) -> int:
    """Run the launcher to its end and return its code.

    It leads a session of its own: a Ctrl-C on the terminal reaches the caller alone, who passes it
    on. If the caller dies, the kernel tells the launcher, and that ends the ranks.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()  # What was printed before comes before what the ranks print.
    process = subprocess.Popen(
        [sys.executable, _BOOT, "launcher", str(call_fd)],
        stdin=subprocess.PIPE,
        pass_fds=passed,
        start_new_session=True,
    )
    with _ended_with(process):
        # The launcher starts nothing before this: if an interrupt had come while Popen was at
        # work, nobody would watch over it, and all it saw would be the end of its input.
        process.communicate(GO)
        return process.returncode


@contextlib.contextmanager
def _ended_with(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the job when the caller stops waiting: as Ctrl-C does, or at once after another one."""
    try:
        yield
    except BaseException as error:
        signum = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        while process.poll() is None:
            process.send_signal(signum)
            with contextlib.suppress(KeyboardInterrupt):  # Again: the launcher kills then.
                process.wait()
        raise
