"""Process sets: fixed subsets of ranks. This version has the one of all ranks."""

from __future__ import annotations

from collections.abc import Sequence

from rueda import _context


class ProcessSet:
    """A set of ranks that collectives can be limited to.

    Attributes:
        process_set_id: Its number, or None while it is not registered.
        ranks: Its ranks in ascending order, or None for all.
        mpi_comm: Always None: rueda uses no MPI communicators.
    """

    mpi_comm: None = None

    def __init__(self, ranks_or_comm: Sequence[int] | None) -> None:
        self.process_set_id: int | None = None
        self._ranks = None if ranks_or_comm is None else sorted(int(r) for r in ranks_or_comm)

    @property
    def ranks(self) -> list[int] | None:
        """The ranks in ascending order; None before init for the global set."""
        if self._ranks is None and _context.is_initialized():
            return list(range(_context.size()))
        return self._ranks

    def size(self) -> int:
        """Return how many ranks it has.

        Raises:
            ValueError: Before ``rueda.init()``.
        """
        total = _context.size()
        return total if self._ranks is None else len(self._ranks)

    def rank(self) -> int:
        """Return this process's place in it.

        Raises:
            ValueError: Before ``rueda.init()``, or when this rank is not in it.
        """
        own = _context.rank()
        if self._ranks is None:
            return own
        if own not in self._ranks:
            raise ValueError(f"rank {own} is not in the process set {self._ranks}")
        return self._ranks.index(own)

    def included(self) -> bool:
        """Return whether this process is in it."""
        own = _context.rank()
        return self._ranks is None or own in self._ranks

    def __repr__(self) -> str:
        return f"ProcessSet(process_set_id={self.process_set_id}, ranks={self._ranks})"


global_process_set = ProcessSet(None)
global_process_set.process_set_id = 0


def check_process_set(process_set: ProcessSet) -> int:
    """Return the set's number.

    Raises:
        ValueError: It is no process set, or not registered.
    """
    if not isinstance(process_set, ProcessSet):
        raise ValueError(f"process_set={process_set!r} is no rueda.ProcessSet")
    if process_set.process_set_id is None:
        raise ValueError(
            f"{process_set!r} is not registered; this version of rueda has only the global "
            "process set (rueda.global_process_set)"
        )
    return process_set.process_set_id
