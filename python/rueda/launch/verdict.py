"""Which rank a job failed for: a pure function of how the ranks ended.

The order of the deaths is a poor witness: a victim can be gone before the culprit is. So evidence
decides, and time only between ranks that are otherwise alike.
"""

from __future__ import annotations

import enum
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rueda.launch.crash import CrashReport

# A shell or another wrapper reports its child's death by signal n as the exit code 128 + n. Only
# signals that mean a crash are read that way: 130 and 143 are also used for an orderly end.
_CRASHES = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS),
        *(signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP),
    }
)


@dataclass(frozen=True)
class Exit:
    """How one worker ended.

    Attributes:
        rank: Its rank.
        code: Exit code, or minus the number of the signal that ended it.
        seconds: Time from the start of the job to its end.
        stopped: Whether the launcher had told it to end before it did.
        report: Its crash report, if one came before it was told to end.
        out_of_memory: Whether the kernel counted an out-of-memory kill.
    """

    rank: int
    code: int
    seconds: float
    stopped: bool = False
    report: CrashReport | None = None
    out_of_memory: bool = False


@dataclass(frozen=True)
class Verdict:
    """The cause of a failure.

    Attributes:
        cause: The rank.
        reason: Why it is held to be the cause, for people.
        code: Exit code that the launcher passes on.
    """

    cause: int
    reason: str
    code: int


class Evidence(enum.IntEnum):
    """How strongly an exit speaks for its rank as the cause; the smallest is the strongest."""

    SIGNAL = 0
    ERROR = 1
    EXIT_CODE = 2
    VICTIM = 3
    NONE = 4


def evidence_of(end: Exit) -> Evidence:
    """Weigh one exit by itself."""
    if end.report is not None:
        if end.report.victim:
            return Evidence.VICTIM  # Whatever it died of, it had lost a peer before.
        own_signal = signal_of(end.code) is not None and not end.stopped
        return Evidence.SIGNAL if own_signal else Evidence.ERROR
    if end.stopped or end.code == 0:
        return Evidence.NONE
    return Evidence.SIGNAL if signal_of(end.code) is not None else Evidence.EXIT_CODE


def signal_of(code: int) -> int | None:
    """Return the signal that an exit code stands for, or None."""
    if code < 0:
        return -code
    return code - 128 if code - 128 in _CRASHES else None


def process_code(code: int) -> int:
    """Return an exit code as a shell gives it: 128 + n for signal n."""
    return 128 - code if code < 0 else code


def find_cause(exits: Sequence[Exit]) -> Verdict | None:
    """Find the rank that a job failed for.

    A rank's own death by a signal comes before an error of its own, that before a bare exit code,
    and that before an error that only says a peer was lost. Between equals the one whom more
    victims name comes first, then the one that ended first, then the lower rank. If there are
    only victims, the rank that they name is the cause, even if it hung or had ended without error.

    Args:
        exits: How each worker ended, in any order, one entry a rank.

    Returns:
        The verdict, or None if no rank failed.
    """
    failed = [end for end in exits if evidence_of(end) is not Evidence.NONE]
    if not failed:
        return None
    accusers = Counter(
        end.report.blames
        for end in failed
        if end.report is not None and end.report.victim and end.report.blames != end.rank
    )
    first = min(failed, key=lambda end: (evidence_of(end), -accusers[end.rank], *_time(end)))
    if evidence_of(first) is Evidence.VICTIM:
        return _among_victims(exits, failed, first, accusers)
    return Verdict(first.rank, _reason(first, accusers[first.rank]), _nonzero(first))


def _time(end: Exit) -> tuple[float, int]:
    return end.seconds, end.rank


def _nonzero(end: Exit) -> int:
    """Return the launcher's exit code; a rank that reported an error has failed in any case.

    One that was on its way out, but too slowly, is given the code that it would have had.
    """
    code = process_code(end.code)
    if end.report is not None and (code == 0 or end.stopped):
        code = process_code(end.report.code)
    return code if 0 < code < 256 else 1


def _among_victims(
    exits: Sequence[Exit], victims: Sequence[Exit], first: Exit, accusers: Counter[int | None]
) -> Verdict:
    """Decide when every failed rank says that it lost another one."""
    hurt = {end.rank for end in victims}
    accused = [end for end in exits if end.rank not in hurt and accusers[end.rank]]
    earliest = min(victims, key=_time)
    if not accused:
        reason = "every rank that failed says that it lost another one; most name this one"
        if not accusers[first.rank]:
            reason = "it lost a peer; no rank shows an error of its own"
        return Verdict(first.rank, reason, _nonzero(first))
    culprit = min(accused, key=lambda end: (-accusers[end.rank], *_time(end)))
    what = "showed no error of its own and did not end, until the launcher ended it"
    if not culprit.stopped:
        what = f"had ended with exit code {culprit.code} while others still needed it"
    reason = f"it {what}; {_count(accusers[culprit.rank])} lost it"
    return Verdict(culprit.rank, reason, _nonzero(earliest))


def _reason(end: Exit, accusers: int) -> str:
    evidence = evidence_of(end)
    if evidence is Evidence.SIGNAL:
        text = "it died by a signal that the launcher did not send"
    elif evidence is Evidence.ERROR:
        text = "it raised an error of its own"
    else:
        text = "it ended with an exit code that is not 0"
    return f"{text}; {_count(accusers)} lost it" if accusers else text


def _count(ranks: int) -> str:
    return "1 other rank" if ranks == 1 else f"{ranks} other ranks"
