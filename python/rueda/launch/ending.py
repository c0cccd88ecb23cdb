"""How a job is brought to an end: which signal when, as a list made in advance."""

from __future__ import annotations

import signal
from dataclasses import dataclass

# Survivors of a failure get this long to find out by themselves and raise their own error.
SURVIVORS_S = 2.0
# And this long between SIGTERM and SIGKILL, unless the user's grace period is shorter.
LAST_GRACE_S = 3.0
# A process that SIGKILL does not end within this time hangs in the kernel.
UNKILLABLE_S = 10.0


@dataclass(frozen=True)
class Step:
    """One thing to do at a time.

    Attributes:
        at: When, on the monotonic clock.
        signum: The signal to send to all workers that still run; None: wait no longer for them.
    """

    at: float
    signum: int | None


def _kill(at: float) -> list[Step]:
    return [Step(at, signal.SIGKILL), Step(at + UNKILLABLE_S, None)]


def after_failure(now: float, grace_s: float) -> list[Step]:
    """Plan the end of the survivors of a failure."""
    term = now + SURVIVORS_S
    return [Step(term, signal.SIGTERM), *_kill(term + min(LAST_GRACE_S, grace_s))]


def after_signal(now: float, signum: int, grace_s: float) -> list[Step]:
    """Plan the end of a job that somebody asked to end: the same signal, then time to obey."""
    return [Step(now, signum), *_kill(now + grace_s)]


def after_lost_reader(now: float, grace_s: float) -> list[Step]:
    """Plan the end of a job whose output nobody reads any more."""
    return [Step(now, signal.SIGTERM), *_kill(now + min(LAST_GRACE_S, grace_s))]


def at_once(now: float) -> list[Step]:
    """Plan an end without any grace."""
    return _kill(now)
