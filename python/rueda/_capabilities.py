"""What this build and this job can do, in Horovod's questions."""

from __future__ import annotations

from rueda import _build_info, _context


def mpi_built() -> bool:
    """Return whether this build can move data by MPI."""
    return bool(getattr(_build_info, "mpi_built", False))


def mpi_enabled() -> bool:
    """Return whether the job moves its data by MPI."""
    return _backend() == "mpi"


def mpi_threads_supported() -> bool:
    """Return whether several threads may use MPI here; False where the job does not use it.

    Raises:
        ValueError: Before ``init``.
    """
    _context.size()
    return mpi_enabled()


def gloo_built() -> bool:
    """Return whether this build can move data by Gloo."""
    return bool(_build_info.gloo_built)


def gloo_enabled() -> bool:
    """Return whether the job moves its data by Gloo; False before ``init``."""
    return _backend() == "gloo"


def nccl_built() -> int:
    """Return the version of NCCL that this build can use, as NCCL writes it, or 0."""
    return int(getattr(_build_info, "nccl_built", 0))


def cuda_built() -> bool:
    """Return whether this build can use CUDA devices."""
    return bool(getattr(_build_info, "cuda_built", False))


def rocm_built() -> bool:
    """Return False: rueda does not use ROCm."""
    return False


def ddl_built() -> bool:
    """Return False: rueda does not use IBM's DDL."""
    return False


def ccl_built() -> bool:
    """Return False: rueda does not use Intel's oneCCL."""
    return False


def _backend() -> str:
    try:
        return _context.own_or_parents_job().engine.backend
    except ValueError:
        return ""
