"""What becomes of the letters of a finished job: results in rank order, or one exception."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from rueda import _pickled
from rueda._run.letters import read_letter
from rueda.exceptions import HorovodInternalError

_LOST = "R301"


class RemoteTraceback(Exception):
    """The cause of an exception that was raised on a rank: the traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Return the text, set apart from the local traceback."""
        return f'\n"""\n{self.text}"""'


def results(outcome_fd: int, result_fds: Sequence[int], launcher_code: int) -> list[Any]:
    """Return what the ranks returned, in rank order.

    Raises:
        Exception: What the function raised on the rank that the job failed for.
        ValueError: The job could not be started as asked.
        HorovodInternalError: A rank ended otherwise, or its result cannot be read here.
    """
    outcome = _outcome(outcome_fd, launcher_code)
    if outcome["cause"] is not None:
        _raise_for(outcome, result_fds)
    return [_value(rank, result, len(result_fds)) for rank, result in enumerate(result_fds)]


def _outcome(outcome_fd: int, launcher_code: int) -> dict[str, Any]:
    letter = read_letter(outcome_fd)
    if letter is None:
        raise HorovodInternalError(
            f"[{_LOST}] the launcher process of this job ended without a word "
            f"({_code_in_words(launcher_code)}); its ranks were ended with it",
            _LOST,
        )
    letter[1].close()
    head = letter[0]
    if "refused" in head:
        raise ValueError(head["refused"])
    if head.get("signal") is not None:
        name = signal.Signals(head["signal"]).name
        raise HorovodInternalError(f"[{_LOST}] {name} ended the job from outside", _LOST)
    if head["reader_lost"]:
        raise BrokenPipeError("the job was ended: nobody reads its standard output any more")
    return head


def _code_in_words(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _raise_for(outcome: dict[str, Any], result_fds: Sequence[int]) -> NoReturn:
    """Raise what a job failed for."""
    cause = outcome["cause"]
    rank, size = cause["rank"], len(result_fds)
    who = f"rank {rank} of {size}"
    where = f"{who} (pid {cause['pid']} on {cause['host']})"
    others = "".join(
        f"rank {other}: {end}\n" for other, end in enumerate(outcome["ends"]) if other != rank
    )
    letter = read_letter(result_fds[rank])
    if letter is None:
        lines = "".join(f"  | {line}\n" for line in cause["lines"])
        text = (f"its last lines:\n{lines}" if lines else "") + cause["traceback"] + others
        ended = cause["end"] + (", ended by the launcher" if cause["stopped"] else "")
        error = HorovodInternalError(
            f"[{_LOST}] {where} died without a result: {ended}; {cause['reason']}", _LOST, rank
        )
        raise error from (RemoteTraceback(text) if text else None)
    head, body = letter
    with body:
        data = body.read() if head["kind"] == "raised" else b""
    if head["kind"] == "raised":
        remote = RemoteTraceback(f"{where}:\n{head['traceback']}{others}")
        raise _remote_exception(head, data, who) from remote
    what = "failed after its function had returned: " + cause["end"]
    if head["kind"] == "exited":
        what = f"called sys.exit({head['message']}) instead of returning a result"
    raise HorovodInternalError(f"[{_LOST}] {where} {what}", _LOST, rank)


def _remote_exception(head: dict[str, Any], data: bytes, who: str) -> BaseException:
    """Return the exception that a rank raised, or one that says what it was."""
    why = head["unsendable"]
    if data:
        try:
            error = _pickled.from_bytes(data)
        except Exception as unreadable:
            why = f"{type(unreadable).__name__}: {unreadable}"
        else:
            if isinstance(error, BaseException):
                return error
            why = "it is none after pickling"
    return HorovodInternalError(
        f"{who} raised {head['type']}: {head['message']} (the exception itself cannot be handed "
        f"over: {why})"
    )


def _value(rank: int, result_fd: int, size: int) -> Any:
    letter = read_letter(result_fd)
    if letter is None:
        raise HorovodInternalError(
            f"[{_LOST}] rank {rank} of {size} ended with exit code 0 but without a result: "
            "something ended the process inside the function, such as os._exit",
            _LOST,
            rank,
        )
    with letter[1] as body:
        try:
            return _pickled.read(body)
        except Exception as error:
            raise HorovodInternalError(
                f"the result of rank {rank} of {size} cannot be unpickled here: "
                f"{type(error).__name__}: {error}",
                "",
                rank,
            ) from error
