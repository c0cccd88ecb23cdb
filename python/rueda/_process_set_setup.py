"""The process sets that ``init`` is given: read, compared over the ranks, and registered.

Sets made from mpi4py communicators may differ between ranks: after a ``Split`` each rank has the
part that it is in. So every rank tells its sets, and each distinct one is registered in the order
of the lists and, at one place in them, of its lowest rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from rueda._torch_module import native
from rueda.exceptions import HorovodInternalError
from rueda.process_sets import ProcessSet, register

if TYPE_CHECKING:
    from rueda._context import Job

_Offer = list[tuple[int, ...]]


def checked_sets(process_sets: Sequence[ProcessSet] | str | None) -> list[ProcessSet]:
    """Return the sets to register.

    Raises:
        ValueError: The argument of ``init`` is none of those it takes.
    """
    if process_sets is None or process_sets == "dynamic":
        return []
    if isinstance(process_sets, str) or not all(isinstance(s, ProcessSet) for s in process_sets):
        raise ValueError(
            f"init(process_sets={process_sets!r}): expected a list of rueda.ProcessSet, or "
            '"dynamic"'
        )
    return list(process_sets)


def register_all(job: Job, sets: list[ProcessSet]) -> None:
    """Register sets on all ranks; each rank's list is as long as the others'.

    Sets of the same ranks share one number, and one of all ranks is the global set.

    Raises:
        ValueError: The ranks of a set are none, repeated or out of range.
        HorovodInternalError: The lists disagree, or the job failed.
    """
    for one in sets:
        if one.mpi_comm is not None:
            one._ranks = _members(job.world.rank, one)
    everyone = tuple(range(job.world.size))
    own_ranks = [everyone if one.is_global else one._known() for one in sets]
    offers = _everyones(job, own_ranks)
    numbers = {everyone: 0}
    for place, own in enumerate(sets):
        for ranks in _distinct([offer[place] for offer in offers], place):
            if ranks not in numbers:
                new = own if own_ranks[place] == ranks else ProcessSet(ranks)
                register(job, new)
                numbers[ranks] = new.process_set_id or 0
        number = numbers.get(own_ranks[place])
        if number is None:
            continue  # this rank has no communicator here
        own.process_set_id = number
        if all(known is not own for known in job.process_sets[number]):
            job.process_sets[number].append(own)


def _members(own_rank: int, one: ProcessSet) -> tuple[int, ...]:
    """Ask the members of a communicator for their ranks in the job."""
    if not one.mpi_comm:
        return ()  # COMM_NULL: this rank is in no part
    told: list[int] = one.mpi_comm.allgather(own_rank)
    return tuple(sorted(told))


def _everyones(job: Job, own: _Offer) -> list[_Offer]:
    """Return each rank's list of sets."""
    flat = [number for ranks in own for number in (len(ranks), *ranks)]
    operations = job.operations
    sent = torch.tensor([len(own), *flat], dtype=torch.int64)
    gathered = operations.wait(
        operations.submit(native.ALLGATHER, [sent], None, "init.process_sets", urgent=True)
    )
    assert isinstance(gathered, torch.Tensor)
    numbers = iter(gathered.tolist())
    offers = [
        [tuple(next(numbers) for _ in range(next(numbers))) for _ in range(next(numbers))]
        for _ in range(job.world.size)
    ]
    for rank, offer in enumerate(offers):
        if len(offer) != len(offers[0]):
            raise _disagree(f"rank {rank} gave {len(offer)} sets, rank 0 {len(offers[0])}")
    return offers


def _distinct(told: _Offer, place: int) -> _Offer:
    """Return the different sets that ranks gave at one place of their lists.

    Either all ranks gave the same, or each set was given by exactly its members.
    """
    found = sorted(set(told))
    if len(found) == 1:
        return found
    for ranks in found:
        givers = tuple(rank for rank, one in enumerate(told) if one == ranks)
        if givers != ranks and ranks:
            raise _disagree(f"set {place} is {list(ranks)} on the ranks {list(givers)}")
    return [ranks for ranks in found if ranks]


def _disagree(what: str) -> HorovodInternalError:
    return HorovodInternalError(
        f"[R201] ranks disagree on init(process_sets=...): {what}. Pass the same list on every "
        "rank, or communicators of which each rank has its own.",
        "R201",
    )
