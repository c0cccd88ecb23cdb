"""The functions of ``horovod.common.util`` that scripts ask before they start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rueda import _build_info
from rueda._environment import changed_environment

_T = TypeVar("_T")

__all__ = [
    "ccl_built",
    "check_extension",
    "cuda_built",
    "ddl_built",
    "env",
    "extension_available",
    "gloo_built",
    "gpu_available",
    "is_iterable",
    "is_version_greater_equal_than",
    "mpi_built",
    "nccl_built",
    "num_rank_is_power_2",
    "rocm_built",
    "split_list",
]


def _built(part: str) -> bool:
    return bool(getattr(_build_info, f"{part}_built", False))


def extension_available(ext_base_name: str, verbose: bool = False) -> bool:
    """Say whether there is a part for a framework: for ``"torch"`` alone."""
    return ext_base_name == "torch" and bool(_build_info.torch_version)


def check_extension(ext_name: str, ext_env_var: str, pkg_path: str, *args: str) -> None:
    """Refuse another framework than PyTorch.

    Raises:
        ImportError: ``ext_name`` is the extension of another one.
    """
    if "torch" not in ext_name:
        raise ImportError(f"{ext_name}: rueda stands in for horovod.torch alone")


def gloo_built(verbose: bool = False) -> bool:
    """Say whether this build has the Gloo road."""
    return _built("gloo")


def mpi_built(verbose: bool = False) -> bool:
    """Say whether this build has the MPI road."""
    return _built("mpi")


def nccl_built(verbose: bool = False) -> int:
    """Return whether this build has the NCCL road, as a number that is 0 if not."""
    return int(getattr(_build_info, "nccl_built", 0))


def cuda_built(verbose: bool = False) -> bool:
    """Say whether this build moves tensors of GPUs."""
    return _built("cuda")


def rocm_built(verbose: bool = False) -> bool:
    """Say no: there is no ROCm road."""
    return False


def ddl_built(verbose: bool = False) -> bool:
    """Say no: there is no DDL road."""
    return False


def ccl_built(verbose: bool = False) -> bool:
    """Say no: there is no oneCCL road."""
    return False


def num_rank_is_power_2(num_rank: int) -> bool:
    """Say whether a number of ranks is a power of two."""
    return num_rank > 0 and num_rank & (num_rank - 1) == 0


def split_list(items: Sequence[_T], n: int) -> list[Sequence[_T]]:
    """Cut a sequence into ``n`` parts whose lengths differ by at most one, long ones first."""
    each, more = divmod(len(items), n)
    starts = [part * each + min(part, more) for part in range(n + 1)]
    return [items[starts[part] : starts[part + 1]] for part in range(n)]


def gpu_available(ext_base_name: str, verbose: bool = False) -> bool:
    """Say whether this process could use a GPU through PyTorch."""
    import torch  # noqa: PLC0415 - scripts that only ask what was built need not wait for it

    return bool(torch.cuda.is_available())


def is_iterable(x: object) -> bool:
    """Say whether something can be iterated over."""
    try:
        iter(x)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def is_version_greater_equal_than(ver: str, target: str) -> bool:
    """Compare two versions.

    Raises:
        ValueError: They are no strings, or ``target`` does not have three numbers.
    """
    if not (isinstance(ver, str) and isinstance(target, str) and target.count(".") == 2):
        raise ValueError(f"expected two versions, the second as 1.2.3, but got {ver!r}, {target!r}")
    from torch.torch_version import TorchVersion  # noqa: PLC0415 - as above

    return bool(TorchVersion(ver) >= target)


@contextmanager
def env(**kwargs: str | None) -> Iterator[None]:
    """Set environment variables inside the block; those that are None are let alone."""
    with changed_environment({name: text for name, text in kwargs.items() if text is not None}):
        yield
