"""The block that says why a job failed. Plain text for a terminal as for a file; no colours."""

from __future__ import annotations

import re
import shlex
import signal
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rueda.launch.verdict import Exit, Verdict, signal_of

WIDTH = 60
_LABEL = 10
SHOWN_LINES = 20
_LONGEST_TRACEBACK = 60
_MOST_OTHERS = 16
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Once a torch process group exists, its exception hook puts this before each line.
_TORCH_PREFIX = re.compile(r"^\[rank\d+\]: ")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True)
class Witness:
    """What the launcher knows about a worker beside its end.

    Attributes:
        end: How it ended.
        pid: Its process id.
        lines: The last lines of its output.
        traceback: What torch's ``@record`` left, or empty.
        logs: Its log files.
    """

    end: Exit
    pid: int
    lines: Sequence[str] = ()
    traceback: str = ""
    logs: Sequence[Path] = field(default_factory=tuple)


def failure_block(
    verdict: Verdict, witnesses: Sequence[Witness], host: str, command: Sequence[str]
) -> str:
    """Return the block for one failed job.

    Args:
        verdict: The cause.
        witnesses: All workers, by rank.
        host: Name of this machine.
        command: The launcher's own argument vector, to be repeated.
    """
    cause = next(witness for witness in witnesses if witness.end.rank == verdict.cause)
    traceback = _traceback(cause)
    lines = ["-" * WIDTH, *_wrapped(f"ruedarun: {_headline(cause, len(witnesses))}", 0)]
    lines += _labelled("rank", f"{verdict.cause} of {len(witnesses)}")
    lines += _labelled("host", printable(host))
    lines += _labelled("pid", str(cause.pid))
    lines += _labelled("ended", f"{_ended(cause.end)}, {cause.end.seconds:.2f} s after start")
    lines += _labelled("cause", f"{verdict.reason}.")
    for path in cause.logs:
        lines.append(f"{'log':<{_LABEL}}{path}")
    lines += _quoted("its traceback", traceback)
    lines += _quoted("its last lines", _last_lines(cause, traceback))
    lines += _others(cause, witnesses)
    lines += ["to repeat:", f"  {shlex.join(command)}", "-" * WIDTH]
    return "\n".join(lines)


def describe_end(end: Exit) -> str:
    """Say in a few words how a process ended."""
    signum = signal_of(end.code)
    if signum is None:
        return f"exit code {end.code}"
    name = signal_name(signum)
    if end.code > 0:
        name = f"exit code {end.code}, which stands for {name}"
    if signum == signal.SIGKILL and not end.stopped:
        if end.out_of_memory:
            return f"{name}: the kernel's out-of-memory killer ended a process of this job's group"
        return f"{name} (possibly out of memory: see dmesg)"
    return name


def signal_name(signum: int) -> str:
    """Return the name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def printable(text: str) -> str:
    """Return text without escape sequences and control characters; tabs and newlines stay."""
    return _ESCAPES.sub("", text)


def _headline(cause: Witness, size: int) -> str:
    report = cause.end.report
    rank = f"rank {cause.end.rank} of {size}"
    if report is None:
        return f"failed on {rank}"
    message = printable(report.message).partition("\n")[0]
    shown = message if len(message) <= 300 else f"{message[:300]}..."
    return f"failed on {rank}: {printable(report.type)}: {shown}"


def _traceback(cause: Witness) -> list[str]:
    report = cause.end.report
    text = report.traceback if report is not None and report.traceback else cause.traceback
    lines = printable(text).splitlines()
    if len(lines) <= _LONGEST_TRACEBACK:
        return lines
    head = _LONGEST_TRACEBACK // 3
    tail = _LONGEST_TRACEBACK - head
    return [*lines[:head], f"... {len(lines) - head - tail} lines ...", *lines[-tail:]]


def _last_lines(cause: Witness, traceback: Sequence[str]) -> list[str]:
    """Return the end of the output without what the traceback says already.

    Without a traceback of its own, one that is among the last lines is shown from its beginning.
    """
    known = {line for line in traceback if line.strip()}
    printed = [printable(line) for line in cause.lines]
    lines = [line for line in printed if _TORCH_PREFIX.sub("", line) not in known]
    first = max(0, len(lines) - SHOWN_LINES)
    begins = [at for at, line in enumerate(lines) if _TORCH_PREFIX.sub("", line) == _TRACEBACK]
    if not traceback and begins and len(lines) - begins[-1] <= _LONGEST_TRACEBACK:
        first = min(first, begins[-1])
    return lines[first:]


def _others(cause: Witness, witnesses: Sequence[Witness]) -> list[str]:
    others = [witness for witness in witnesses if witness is not cause]
    lines = ["other ranks:"] if others else []
    for witness in others[:_MOST_OTHERS]:
        lines += _wrapped(f"  {witness.end.rank}: {_aftermath(witness.end)}", 5)
    if len(others) > _MOST_OTHERS:
        lines.append(f"  and {len(others) - _MOST_OTHERS} more")
    return lines


def _ended(end: Exit) -> str:
    return f"{describe_end(end)}, ended by ruedarun" if end.stopped else describe_end(end)


def _aftermath(end: Exit) -> str:
    text = _ended(end)
    report = end.report
    if report is None:
        return text
    if report.victim and report.blames is not None:
        return f"{text}, had lost rank {report.blames}"
    return f"{text}, {printable(report.type)}"


def _labelled(label: str, text: str) -> list[str]:
    return _wrapped(f"{label:<{_LABEL}}{text}", _LABEL)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def _quoted(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  | {line}" for line in lines)] if lines else []
