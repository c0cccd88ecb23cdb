"""How a job ended: what the launcher knows once every worker is gone, and how it says so."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from rueda.launch.summary import Witness, failure_block, signal_name
from rueda.launch.supervisor import Supervisor
from rueda.launch.this_host import host_name
from rueda.launch.verdict import Verdict, find_cause
from rueda.launch.worker import Worker

_READER_LOST = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Conclusion:
    """The end of one job.

    Attributes:
        witnesses: What is known of each worker, by rank.
        verdict: The rank that the job failed for, or None if it did not fail.
        signum: The signal that somebody ended it with, or None.
        reader_lost: Whether it was ended because nobody reads its output any more.
    """

    witnesses: tuple[Witness, ...]
    verdict: Verdict | None
    signum: int | None
    reader_lost: bool

    @property
    def code(self) -> int:
        """The launcher's exit code."""
        if self.signum is not None:
            return 128 + self.signum
        if self.reader_lost:
            return _READER_LOST
        return 0 if self.verdict is None else self.verdict.code

    @property
    def cause(self) -> Witness | None:
        """The worker that the job failed for."""
        return None if self.verdict is None else self.witnesses[self.verdict.cause]


def conclude(supervisor: Supervisor, workers: Sequence[Worker]) -> Conclusion:
    """Sum up a job whose workers, by rank, have all ended."""
    witnesses = tuple(worker.witness() for worker in workers)
    asked = supervisor.signum is not None or supervisor.reader_lost
    verdict = None if asked else find_cause([witness.end for witness in witnesses])
    return Conclusion(witnesses, verdict, supervisor.signum, supervisor.reader_lost)


def in_words(conclusion: Conclusion, repeat: Sequence[str]) -> str:
    """Return what a user is to read about the end; nothing of one that went well.

    Args:
        conclusion: The end.
        repeat: The command line that starts the same job again.
    """
    if conclusion.signum is not None:
        killed = _killed(conclusion.witnesses)
        return f"ruedarun: ended by {signal_name(conclusion.signum)}{killed}"
    if conclusion.verdict is None:
        return ""
    return failure_block(conclusion.verdict, conclusion.witnesses, host_name(), repeat)


def _killed(witnesses: Sequence[Witness]) -> str:
    """Say which workers did not end by themselves."""
    killed = [str(own.end.rank) for own in witnesses if own.end.code == -signal.SIGKILL]
    if not killed:
        return ""
    return f"; had to be killed: rank{'s' if len(killed) > 1 else ''} {', '.join(killed)}"
