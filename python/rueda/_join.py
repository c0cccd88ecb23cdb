"""Join: this rank is out of data before the others."""

from __future__ import annotations

from typing import cast

from rueda import _context
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def join(device: int = -1, *, process_set: ProcessSet = global_process_set) -> int:
    """Say that this rank has no more data, and wait until all ranks of the process set say so.

    Meanwhile the others' allreduce, reduce, reducescatter, allgather, gather, broadcast, scatter
    and barrier, grouped or not, run without this rank: it contributes nothing (to a sum zeros, to a
    gathering no rows), and averages are still divided by the number of all ranks. A collective
    whose root has joined, and an alltoall that would send rows to a rank that has, is an error on
    the ranks that call it. Unnamed calls are counted anew afterwards, so ranks may have made
    different numbers of them.

    A rank that has joined the set of all ranks is absent from every other set, too; one that has
    joined another set is absent from that one alone.

    Args:
        device: Accepted for Horovod's signature.
        process_set: The ranks that join.

    Returns:
        The rank that joined last, the same on all of them. It has seen the most data.

    Raises:
        ValueError: This rank is not in the process set, or a rank of the set has joined that of all
            ranks and will not join this one.
        HorovodInternalError: rueda is not initialised, or the job failed.
    """
    job = _context.job()
    set_id = check_process_set(process_set)
    # What a step has left to the next forward pass: a rank whose last step is under way is not out
    # of data, and would not be the last to join although it has seen the most.
    job.updates.finish()
    operations = job.operations
    handle = operations.submit(native.JOIN, [], None, None, process_set=set_id, urgent=True)
    return cast("int", operations.wait(handle))
