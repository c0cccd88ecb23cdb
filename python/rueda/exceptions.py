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


class NotInitializedError(HorovodInternalError, ValueError):
    """A call before ``init``, or after ``shutdown``.

    Horovod raises ValueError from ``rank`` and its like and HorovodInternalError from collectives;
    scripts that expect either get it.
    """


class RefusedError(ValueError, RuntimeError):
    """A caller's mistake of which Horovod's core hears first, so that it is a RuntimeError there.

    It is no HorovodInternalError: to go on from a saved state would not help.
    """


class HostsUpdatedInterrupt(RuntimeError):
    """The hosts of the job have changed; ``rueda.elastic.run`` begins anew without a restore.

    Attributes:
        skip_sync: Whether hosts only went, so that no state has to be sent to anybody.
    """

    def __init__(self, skip_sync: bool) -> None:
        super().__init__("the hosts of the job have changed")
        self.skip_sync = skip_sync

    def __reduce__(self) -> tuple[type[HostsUpdatedInterrupt], tuple[bool]]:
        return type(self), (self.skip_sync,)


# Codes that say another rank is the cause: who raises one is a victim.
VICTIM_CODES = frozenset({"R202", "R301", "R302", "R304"})
