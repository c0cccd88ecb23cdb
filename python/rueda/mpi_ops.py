"""What Horovod has in ``horovod.torch.mpi_ops`` alone."""

from __future__ import annotations

from rueda._context import is_homogeneous

__all__ = ["is_homogeneous"]
