"""``horovod.torch.init``: reads the HOROVOD_ variables that the script itself has set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rueda import _context
from rueda._environment import changed_environment, environment
from rueda.launch.engine_settings import load_engine
from rueda.launch.horovod_variables import translate
from rueda.process_sets import ProcessSet

__all__ = ["init"]


def init(
    comm: Sequence[int] | Any | None = None,
    process_sets: Sequence[ProcessSet] | str | None = None,
) -> None:
    """Join the job, as ``rueda.init``, with what the script put into ``os.environ`` for Horovod.

    What was set when the job started is rueda's already, by the launcher, and wins.

    Raises:
        ValueError: As ``rueda.init``, or a HOROVOD_ variable has a value that is not accepted.
        HorovodInternalError: As ``rueda.init``.
    """
    settings: dict[str, str] = {}
    if not _context.is_initialized():
        settings = translate(environment(), (), load_engine).settings
    with changed_environment(settings):
        _context.init(comm, process_sets)
    if settings and _context.rank() == 0:
        taken = ", ".join(f"{name}={text}" for name, text in settings.items())
        print(f"[rueda, rank 0] from the script's HOROVOD_ variables: {taken}", file=sys.stderr)
