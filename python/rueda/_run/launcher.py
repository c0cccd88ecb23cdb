"""The launcher process of ``rueda.run``: ruedarun's supervisor, without ruedarun's words."""

from __future__ import annotations

import signal
import socket
import sys
from typing import Any

from rueda._environment import environment
from rueda._run.letters import read_letter, write_letter
from rueda.launch.command_line import split_words
from rueda.launch.conclusion import Conclusion
from rueda.launch.job import StartError
from rueda.launch.options import parse
from rueda.launch.prctl import die_with_parent, load_prctl
from rueda.launch.preflight import Command
from rueda.launch.run import run
from rueda.launch.summary import Witness, describe_end, printable
from rueda.launch.this_host import count_workers, is_this_host
from rueda.launch.usage import UsageError

_LAST_LINES = 20


def launch(call_fd: int) -> int:
    """Start the ranks of a call, watch them to their end, and write the letter about it."""
    letter = read_letter(call_fd)
    if letter is None:
        return 1
    head = letter[0]
    letter[1].close()
    # A caller in the background of a shell hands down that interrupts are ignored; it sends them
    # itself, though, when it is interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not die_with_parent(load_prctl(), head["caller"], signal.SIGTERM):
        return 1
    try:
        if not sys.stdin.buffer.read():
            return 1  # The caller gave up before it could wait for us.
        return _run(call_fd, head)
    except (UsageError, StartError) as error:
        write_letter(head["outcome"], {"refused": str(error)})
    except KeyboardInterrupt:  # Before the supervisor had taken over the signals.
        write_letter(head["outcome"], {"signal": int(signal.SIGINT)})
    return 1


def _run(call_fd: int, head: dict[str, Any]) -> int:
    results: list[int] = head["results"]
    program = [head["boot"], "rank", str(call_fd), *(str(result) for result in results)]
    options = parse(
        split_words([*head["words"], "--", *program]),
        count=lambda word: count_workers(word, environment()),
        is_this_host=is_this_host,
    )

    def tell(conclusion: Conclusion) -> str:
        write_letter(head["outcome"], _outcome(conclusion))
        return ""  # The caller says it, as an exception.

    return run(
        options,
        environment(),
        tell,
        command=Command(head["python"], (head["python"], *program)),
        passed=[(call_fd, result) for result in results],
    )


def _outcome(conclusion: Conclusion) -> dict[str, Any]:
    """Return what the caller has to know about the end."""
    cause = conclusion.cause
    head: dict[str, Any] = {
        "signal": conclusion.signum,
        "reader_lost": conclusion.reader_lost,
        "ends": [_end(witness) for witness in conclusion.witnesses],
        "cause": None,
    }
    if cause is not None and conclusion.verdict is not None:
        head["cause"] = {
            "rank": cause.end.rank,
            "pid": cause.pid,
            "host": socket.gethostname(),
            "end": describe_end(cause.end),
            "stopped": cause.end.stopped,
            "reason": conclusion.verdict.reason,
            "lines": [printable(line) for line in cause.lines[-_LAST_LINES:]],
            "traceback": cause.traceback,
        }
    return head


def _end(witness: Witness) -> str:
    """Say how one rank ended; of an exception its name."""
    end = witness.end
    text = describe_end(end)
    if end.stopped:
        text += ", ended because of the failure"
    if end.report is not None:
        text += f", {printable(end.report.type)}"
    return text
