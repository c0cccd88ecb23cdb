"""Recovery: whether to begin anew after a failure, or to say why that would not help."""

from __future__ import annotations

import re
import sys

from rueda import _context
from rueda._objects import broadcast_object
from rueda._restart import Restart
from rueda.elastic.objects import State
from rueda.exceptions import HorovodInternalError

# Resets in a row that may go by without a commit. Each repeats the same steps, so what failed the
# same way that often is no accident.
RESETS_WITHOUT_COMMIT = 3

# What a rank that comes back says when it leaves; ranks that hear anything else do not wait for it.
_COMES_BACK = "it begins anew (rueda.elastic)"
_COMING_BACK = re.compile(rf"left(?: before [^\n]*?)?: {re.escape(_COMES_BACK)}")
_CAME_BACK = "it began anew"
_MOST_CHARACTERS = 400
_RESTORED = "The state is back at its last commit and can be saved."

# This process's own mistake, which no reset changes: before init, or in a forked child.
_OWN_MISTAKES = frozenset({"R102", "R105"})
_GONE = frozenset({"R202", "R301"})


class Recovery:
    """Decides for one call of ``run`` on this rank; used by the thread that trains.

    Args:
        state: Whose commits count.
        restart: Leaves the job and joins it again.
    """

    def __init__(self, state: State, restart: Restart) -> None:
        self._state = state
        self._restart = restart
        self._commits_before = state._commits
        self._fruitless = 0  # failures in a row without a commit between them
        # The last failure, for the case that all ranks give up.
        self._given_up = HorovodInternalError("other ranks failed")

    def recover(self, cause: Exception) -> None:
        """Leave the job and join it again, if that can help.

        Args:
            cause: What ended the attempt; the state was restored if it is a failure.

        Raises:
            HorovodInternalError: It cannot help, or the ranks did not meet again.
        """
        if isinstance(cause, HorovodInternalError):
            if cause is not self._given_up:
                self._count(cause)
            hopeless = self._hopeless(cause)
            if hopeless is not None:
                raise hopeless from cause
        words = _first_line(str(cause))
        if _context.rank() == 0:
            told = "[rueda, rank 0] warning: elastic training begins anew after:"
            print(told, words, file=sys.stderr)
        try:
            self._restart(f"{_COMES_BACK} after: {words}"[:_MOST_CHARACTERS])
        except HorovodInternalError as error:
            raise _over(error, f"This rank began anew after: {words}") from error

    def agree(self) -> None:
        """Go by rank 0's count of failures, so that all ranks give up together.

        Raises:
            HorovodInternalError: There were too many, or the job failed meanwhile.
        """
        self._fruitless = broadcast_object(self._fruitless, name="elastic.failures")
        if self._fruitless > RESETS_WITHOUT_COMMIT:
            raise self._given_up

    def _count(self, failure: HorovodInternalError) -> None:
        if self._state._commits != self._commits_before:
            self._fruitless = 0
        self._commits_before = self._state._commits
        self._fruitless += 1
        # Not the failure itself: its traceback holds what the attempt had in its hands.
        self._given_up = HorovodInternalError(str(failure), failure.code, failure.rank)

    def _hopeless(self, error: HorovodInternalError) -> HorovodInternalError | None:
        """Return what to raise where beginning anew cannot help."""
        if error.code in _OWN_MISTAKES:
            return error
        # Twice as many where the ranks could not even agree on their number.
        if error is self._given_up or self._fruitless > 2 * RESETS_WITHOUT_COMMIT:
            more = (
                f"It was failure {self._fruitless} in a row without a commit in between, and "
                f"{RESETS_WITHOUT_COMMIT} resets have not helped. {_RESTORED}"
            )
            return _with(error, more)
        if error.code in _GONE and not _COMING_BACK.search(str(error)):
            if error.code == "R202":
                # The others shall hear the cause, and not that this rank ended its script.
                self._restart.leave(f"it gave up after: {_first_line(str(error))}")
            return _over(error)
        return None


def _over(error: HorovodInternalError, more: str = "") -> HorovodInternalError:
    """Return the error with what the caller can do now that a rank does not come back."""
    who = "those that are missing" if error.rank is None else f"rank {error.rank}"
    after = f"{more.rstrip('.')}. " if more else ""
    return _with(
        error,
        f"{after}{_RESTORED} This job keeps the ranks it began with, and nobody brings {who} back: "
        "let a launcher start all ranks again from a checkpoint, as torchrun --max-restarts does. "
        "An elastic launcher of rueda's own is not there yet.",
    )


def _with(error: HorovodInternalError, more: str) -> HorovodInternalError:
    text = _past(str(error)).rstrip(".")
    return HorovodInternalError(f"{text}. {more}", error.code, error.rank)


def _first_line(text: str) -> str:
    return _past(text).partition("\n")[0]


def _past(text: str) -> str:
    """Quote an error so that nobody takes what it quotes for a promise to come back."""
    return text.replace(_COMES_BACK, _CAME_BACK)
