"""The exceptions rueda raises: the job's errors, as opposed to the caller's (``ValueError``)."""

from __future__ import annotations


class HorovodInternalError(RuntimeError):
    """The job failed: a rank died, ranks disagree, a limit passed.

    Attributes:
        code: The stable code of ``docs/errors.md``, such as ``"R301"``.
        rank: The rank that is to blame, or None where no single one is.
    """

    def __init__(self, message: str, code: str = "", rank: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.rank = rank

    def __reduce__(self) -> tuple[type[HorovodInternalError], tuple[str, str, int | None]]:
        return type(self), (str(self), self.code, self.rank)


RuedaError = HorovodInternalError

# Codes that say another rank is the cause: who raises one is a victim.
VICTIM_CODES = frozenset({"R202", "R301", "R302", "R304"})
