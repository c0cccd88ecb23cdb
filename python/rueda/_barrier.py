"""The barrier."""

from __future__ import annotations

from rueda._context import job
from rueda._torch_module import native
from rueda.process_sets import ProcessSet, check_process_set, global_process_set


def barrier(process_set: ProcessSet = global_process_set) -> None:
    """Wait until all ranks of the process set have called this.

    Raises:
        ValueError: This rank is not in the process set.
        HorovodInternalError: rueda is not initialised, or a rank left or died first.
    """
    operations = job().operations
    set_id = check_process_set(process_set)
    operations.wait(
        operations.submit(native.BARRIER, [], None, None, process_set=set_id, urgent=True)
    )
