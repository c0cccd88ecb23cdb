"""Process sets: fixed subsets of the ranks, from the start on or added and removed later."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, cast

from rueda import _context
from rueda._torch_module import native


class ProcessSet:
    """A set of ranks that collectives can be limited to.

    It takes part in collectives once it is registered: by ``init(process_sets=[...])`` or by
    ``add_process_set``.

    Attributes:
        process_set_id: Its number, equal on all ranks; None while it is not registered.
        mpi_comm: The mpi4py communicator that it was made from, or None.
    """

    def __init__(self, ranks_or_comm: Sequence[int] | Any | None) -> None:
        """Name the ranks.

        Args:
            ranks_or_comm: The ranks in any order, or an mpi4py communicator of them, whose ranks
                are asked for when it is registered. None stands for all ranks.

        Raises:
            ValueError: It is neither.
        """
        self.process_set_id: int | None = None
        self.mpi_comm: Any = None
        self._ranks: tuple[int, ...] | None = None
        self.is_global = ranks_or_comm is None
        if _is_communicator(ranks_or_comm):
            self.mpi_comm = ranks_or_comm
        elif ranks_or_comm is not None:
            self._ranks = _sorted_ranks(ranks_or_comm)

    @property
    def ranks(self) -> list[int] | None:
        """The ranks in ascending order; None as long as they are not known."""
        if self.is_global:
            return list(range(_context.size())) if _context.is_initialized() else None
        return None if self._ranks is None else list(self._ranks)

    def size(self) -> int | None:
        """Return how many ranks it has; None while it is not registered.

        Raises:
            ValueError: The set of all ranks, before ``rueda.init()``.
        """
        return None if self.process_set_id is None else self._size()

    def rank(self) -> int | None:
        """Return this process's place in it; None while it is not registered.

        Raises:
            ValueError: This rank is not in it; or the set of all ranks, before ``rueda.init()``.
        """
        return None if self.process_set_id is None else self._rank()

    def included(self) -> bool | None:
        """Return whether this process is in it; None while its ranks are not known.

        Raises:
            ValueError: Before ``rueda.init()``.
        """
        if not self.is_global and self._ranks is None:
            return None
        own = _context.rank()
        return self.is_global or own in self._known()

    def _size(self) -> int:
        """Return how many ranks it has, registered or not."""
        total = _context.size()
        return total if self.is_global else len(self._known())

    def _rank(self) -> int:
        """Return this process's place in it, registered or not."""
        own = _context.rank()
        if self.is_global:
            return own
        if own not in self._known():
            raise ValueError(f"rank {own} is not in {self}")
        return self._known().index(own)

    def _known(self) -> tuple[int, ...]:
        if self._ranks is None:
            raise ValueError(f"{self} is not registered, so its ranks are not known yet")
        return self._ranks

    def __repr__(self) -> str:
        ranks = "all" if self.is_global else self._ranks and list(self._ranks)
        return f"ProcessSet(process_set_id={self.process_set_id}, ranks={ranks})"

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessSet:
        """Return the set itself: copies of models and optimizers run in the same one."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mpi_comm": None}  # communicators cannot be sent


def _is_communicator(value: object) -> bool:
    """Whether it answers as an mpi4py communicator does; rueda itself does not import mpi4py."""
    return all(callable(getattr(value, name, None)) for name in ("Get_rank", "Get_size"))


def _sorted_ranks(ranks: object) -> tuple[int, ...]:
    try:
        given = list(cast("Iterable[Any]", ranks))
        if not any(isinstance(rank, bool) for rank in given):
            return tuple(sorted(operator.index(rank) for rank in given))
    except TypeError:
        pass
    raise ValueError(f"ProcessSet({ranks!r}): expected a list of ranks or an mpi4py communicator")


global_process_set = ProcessSet(None)
global_process_set.process_set_id = 0


def add_process_set(process_set: ProcessSet | Sequence[int]) -> ProcessSet:
    """Register a process set; all ranks of the job call it, members or not, in one order.

    Needs ``init(process_sets="dynamic")`` or ``RUEDA_DYNAMIC_PROCESS_SETS=1``. Work of other sets
    goes on meanwhile.

    Args:
        process_set: A set that is not registered, or a list of ranks.

    Returns:
        The set, with its number; numbers are never used again in a job.

    Raises:
        ValueError: Process sets are not dynamic; the ranks are none, repeated or out of range; or
            there is a set of these ranks, on all ranks alike.
        HorovodInternalError: rueda is not initialised, the job failed, or the ranks disagree.
    """
    job = _dynamic_job("add_process_set")
    new = process_set if isinstance(process_set, ProcessSet) else ProcessSet(process_set)
    if new._ranks is None:
        raise ValueError(
            f"add_process_set: the ranks of {new} are not known; pass a list of ranks, or give "
            "communicators to init(process_sets=[...])"
        )
    register(job, new)
    return new


def remove_process_set(process_set: ProcessSet) -> bool:
    """Remove a process set; all ranks of the job call it, members or not.

    What its members have in flight there ends first. Afterwards the set can be added again, by
    another number.

    Returns:
        True; False for the set of all ranks, which cannot be removed, and for one that is not
        registered (any more).

    Raises:
        ValueError: Process sets are not dynamic, or this is none of this job's.
        HorovodInternalError: rueda is not initialised, the job failed, or the ranks disagree.
    """
    _context.job()
    if isinstance(process_set, ProcessSet) and not process_set.process_set_id:
        return False
    job = _dynamic_job("remove_process_set")
    number = registered_id(job, process_set)
    operations = job.operations
    if process_set.included():
        # Nobody removes it under the feet of a member.
        barrier = operations.submit(native.BARRIER, [], None, None, process_set=number, urgent=True)
        operations.wait(barrier)
    removal = operations.submit(
        native.REMOVE_PROCESS_SET, [], None, None, parts=[number], urgent=True
    )
    operations.wait(removal)
    for known in job.process_sets.pop(number):
        known.process_set_id = None
    return True


def process_set_ids_and_ranks() -> dict[int, list[int]]:
    """Return the ranks of every registered process set by its number, on all ranks the same.

    Raises:
        HorovodInternalError: rueda is not initialised.
    """
    sets = _context.job().process_sets
    return {number: sets[number][0].ranks or [] for number in sorted(sets)}


def check_process_set(process_set: ProcessSet) -> int:
    """Return the number of a set that this rank may use.

    Raises:
        ValueError: It is no process set, not registered (any more), or this rank is not in it.
    """
    if process_set is global_process_set:
        _context.job()
        return 0
    number = registered_id(_context.job(), process_set)
    if not process_set.included():
        raise ValueError(
            f"rank {_context.rank()} is not in {process_set}, so it cannot take part in its "
            "collectives; call them on its ranks alone (process_set.included())"
        )
    return number


def check_root(root_rank: int, process_set: ProcessSet, argument: str = "root_rank") -> int:
    """Return a rank of the job that other ranks send to or get from, as a global number.

    Raises:
        ValueError: It is no rank, or not in the process set.
    """
    total = _context.size()
    try:
        root = operator.index(root_rank)
    except TypeError:
        root = -1
    if not 0 <= root < total:
        raise ValueError(
            f"{argument}={root_rank!r} is no rank of this job of {total} (0 to {total - 1})"
        )
    if not process_set.is_global and root not in process_set._known():
        raise ValueError(
            f"{argument}={root} is not in {process_set}; pass a rank of the job that is"
        )
    return root


def register(job: _context.Job, new: ProcessSet) -> None:
    """Agree with all ranks on a set whose ranks are known, and give it its number.

    Raises:
        ValueError: As ``add_process_set``.
        HorovodInternalError: As ``add_process_set``.
    """
    operations = job.operations
    parts = list(new._known())
    handle = operations.submit(native.ADD_PROCESS_SET, [], None, None, parts=parts, urgent=True)
    number = operations.wait(handle)
    assert isinstance(number, int)
    new.process_set_id = number
    job.process_sets[number] = [new]


def registered_id(job: _context.Job, process_set: object) -> int:
    """Return the set's number in the job.

    Raises:
        ValueError: It is no process set, or not registered (any more).
    """
    if not isinstance(process_set, ProcessSet):
        raise ValueError(f"process_set={process_set!r} is no rueda.ProcessSet")
    number = process_set.process_set_id
    known = None if number is None else job.process_sets.get(number)
    # Copies that came over from another process count, too.
    is_known = known and (known[0] is process_set or known[0].ranks == process_set.ranks)
    if number is None or not is_known:
        raise ValueError(
            f"{process_set!r} is not registered, or not any more; pass it to "
            "init(process_sets=[...]) or to add_process_set"
        )
    return number


def _dynamic_job(function: str) -> _context.Job:
    job = _context.job()
    if not job.dynamic_process_sets:
        raise ValueError(
            f"{function}: process sets are fixed in this job; call "
            'rueda.init(process_sets="dynamic") or set RUEDA_DYNAMIC_PROCESS_SETS=1 on all ranks'
        )
    return job
