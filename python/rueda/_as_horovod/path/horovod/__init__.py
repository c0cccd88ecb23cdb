"""Horovod's name in a job of ``ruedarun --as-horovod``: what stands behind it is rueda."""

import sys

try:
    from rueda._as_horovod.modules import take_over
except ImportError as error:
    raise ImportError(
        "this job was started by ruedarun --as-horovod, but this Python cannot import rueda "
        f"({error}); install rueda for {sys.executable}, or start without --as-horovod"
    ) from error

take_over(sys.modules[__name__])
