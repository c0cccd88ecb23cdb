"""``horovod.run`` and ``horovod.runner.run``."""

from rueda._run import run

__all__ = ["run"]
