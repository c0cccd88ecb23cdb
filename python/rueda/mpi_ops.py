"""What Horovod has in ``horovod.torch.mpi_ops`` alone."""

from __future__ import annotations

from rueda._context import is_homogeneous
from rueda._reduce_op import resolve_op as handle_average_backwards_compatibility

__all__ = ["handle_average_backwards_compatibility", "is_homogeneous"]
