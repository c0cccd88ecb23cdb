"""The one system call that Python lacks: prctl(2)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

Prctl = Callable[[int, int], None]


def load_prctl() -> Prctl:
    """Return a function that calls prctl(2) with an operation and one number.

    Loading is a step of its own, so that a forked child needs no import and no dlopen.
    """
    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    call.restype = ctypes.c_int

    def prctl(operation: int, argument: int) -> None:
        if call(operation, argument, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl failed")

    return prctl


def die_with_parent(prctl: Prctl, parent: int, signum: int) -> bool:
    """Ask the kernel to send ``signum`` to this process when its parent ends.

    Args:
        prctl: From ``load_prctl``, loaded before the fork.
        parent: The process that forked this one.
        signum: The signal.

    Returns:
        False if the parent ended before the kernel was asked: then no signal will come and the
        caller must end by itself. Asking first and looking second leaves no gap.
    """
    prctl(_PR_SET_PDEATHSIG, signum)
    return os.getppid() == parent


def name_process(prctl: Prctl, name: bytes) -> None:
    """Set the name that ps shows for this process, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name[:15])
    prctl(_PR_SET_NAME, ctypes.addressof(buffer))
