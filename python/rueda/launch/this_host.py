"""What the launcher knows about the machine it runs on: its names, cores and GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rueda.launch.usage import UsageError


def host_name() -> str:
    """Return the name of this machine as messages give it."""
    return os.uname().nodename


def is_this_host(name: str) -> bool:
    """Say whether a host name given by the user means this machine; asks no name server."""
    own = host_name()
    return name in ("localhost", "127.0.0.1", own, own.partition(".")[0])


def core_count() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0))


def gpu_count(environ: Mapping[str, str], dev: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA GPUs that a worker could see, without loading CUDA.

    Args:
        environ: Where ``CUDA_VISIBLE_DEVICES`` narrows the choice.
        dev: The folder of the device files.
    """
    present = sum(1 for path in dev.glob("nvidia[0-9]*") if path.name[6:].isdigit())
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    visible = 0
    # CUDA stops reading the list at the first entry that is no device, such as -1.
    for word in chosen.split(","):
        if word.strip() in ("", "-1", "NoDevFiles"):
            break
        visible += 1
    return min(visible, present)


def count_workers(word: str, environ: Mapping[str, str]) -> int:
    """Return how many workers torchrun's ``auto``, ``cpu`` or ``gpu`` stand for here.

    Raises:
        UsageError: GPUs were asked for and there is none.
    """
    gpus = 0 if word == "cpu" else gpu_count(environ)
    if word == "gpu" and gpus == 0:
        raise UsageError("--nproc-per-node gpu: no GPU is visible on this host; give a number")
    return gpus or core_count()
