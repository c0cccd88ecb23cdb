"""The environment that one worker sees: its place in the job, for rueda and for torchrun scripts.

The variables of torchrun are those of PyTorch's local elastic agent
(torch/distributed/elastic/agent/server/local_elastic_agent.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Variables by which another launcher told *us* our place. A worker that inherited them would find
# itself in two worlds at once, so they go before ours are set.
_STALE_NAMES = frozenset(
    (
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "NODE_RANK"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
        *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NPROCS"),
        *("SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_GTIDS", "SLURM_TASK_PID"),
        *("SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NUM_NODES"),
        *("PET_NODE_RANK", "PET_NNODES", "PET_NPROC_PER_NODE", "PET_MASTER_ADDR"),
        *("PET_MASTER_PORT", "HOROVOD_HOSTNAME", "HOROVOD_RANK", "HOROVOD_SIZE"),
        *("HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE", "HOROVOD_CROSS_RANK"),
        *("HOROVOD_CROSS_SIZE", "HOROVOD_GLOO_RENDEZVOUS_ADDR"),
        *("HOROVOD_GLOO_RENDEZVOUS_PORT", "RUEDA_RANK", "RUEDA_SIZE", "RUEDA_LOCAL_RANK"),
        *("RUEDA_LOCAL_SIZE", "RUEDA_CROSS_RANK", "RUEDA_CROSS_SIZE", "RUEDA_JOB_ID"),
        *("RUEDA_SECRET_FD", "RUEDA_REPORT_FD"),
    )
)
_STALE_PREFIXES = (
    *("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MV2_COMM_WORLD_", "JSM_NAMESPACE_"),
    "TORCHELASTIC_",
)


@dataclass(frozen=True)
class Place:
    """One worker's place in a job of one host, and what it inherits.

    Attributes:
        rank: Rank, also the local rank.
        size: Number of workers, also the local size.
        job_id: 128 random bits in hexadecimal; no secret.
        master_port: Port on loopback that rank 0 may listen on.
        secret_fd: Descriptor of the job's secret.
        report_fd: Descriptor that a failing worker writes its crash report to.
        error_file: Path of the file that torch's ``@record`` writes to.
        as_horovod: Whether the worker is told its place in Horovod's words, too.
    """

    rank: int
    size: int
    job_id: str
    master_port: int
    secret_fd: int
    report_fd: int
    error_file: str
    as_horovod: bool = False


def without_stale_world(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment without another launcher's ranks and sizes."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _STALE_NAMES and not name.startswith(_STALE_PREFIXES)
    }


def with_settings(environ: Mapping[str, str], settings: Mapping[str, str | None]) -> dict[str, str]:
    """Return a copy of an environment with the engine's variables as the options say.

    An option wins over a variable that the user had set.
    """
    result = {name: value for name, value in environ.items() if name not in settings}
    result.update({name: value for name, value in settings.items() if value is not None})
    return result


def worker_environment(
    environ: Mapping[str, str], place: Place, cores: int, columns: int | None = None
) -> dict[str, str]:
    """Return the environment of one worker.

    Args:
        environ: The launcher's own environment; what the user set stays unless it names a world.
        place: The worker's place.
        cores: Cores that all workers share, for ``OMP_NUM_THREADS``.
        columns: Width that the worker's lines have on the launcher's terminal, if it has one.
    """
    result = without_stale_world(environ)
    result.update(_torchrun_world(place))
    result.update(_rueda_world(place))
    if place.as_horovod:
        result.update(_horovod_world(place))
    result.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    # Without it Python keeps back kilobytes of output when it writes to a pipe: lines would come
    # late, in the wrong order, and not at all from a worker that is killed.
    result.setdefault("PYTHONUNBUFFERED", "1")
    if columns is not None:
        # A worker writes to a pipe and cannot ask.
        result.setdefault("COLUMNS", str(columns))
    if place.size > 1:
        result.setdefault("OMP_NUM_THREADS", str(omp_threads(cores, place.size)))
    return result


def omp_threads(cores: int, size: int) -> int:
    """Return a worker's share of the cores, at least 1."""
    return max(1, cores // size)


def _torchrun_world(place: Place) -> dict[str, str]:
    return {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.rank),
        "GROUP_RANK": "0",
        "ROLE_RANK": str(place.rank),
        "ROLE_NAME": "default",
        "WORLD_SIZE": str(place.size),
        "LOCAL_WORLD_SIZE": str(place.size),
        "GROUP_WORLD_SIZE": "1",
        "ROLE_WORLD_SIZE": str(place.size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(place.master_port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": place.job_id,
        # The launcher keeps no TCPStore: init_process_group starts one in rank 0.
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_ERROR_FILE": place.error_file,
    }


def _rueda_world(place: Place) -> dict[str, str]:
    return {
        "RUEDA_RANK": str(place.rank),
        "RUEDA_SIZE": str(place.size),
        "RUEDA_LOCAL_RANK": str(place.rank),
        "RUEDA_LOCAL_SIZE": str(place.size),
        "RUEDA_CROSS_RANK": "0",
        "RUEDA_CROSS_SIZE": "1",
        "RUEDA_JOB_ID": place.job_id,
        "RUEDA_SECRET_FD": str(place.secret_fd),
        "RUEDA_REPORT_FD": str(place.report_fd),
    }


def _horovod_world(place: Place) -> dict[str, str]:
    """Return what scripts read that ask horovodrun's variables for their rank."""
    return {
        "HOROVOD_RANK": str(place.rank),
        "HOROVOD_SIZE": str(place.size),
        "HOROVOD_LOCAL_RANK": str(place.rank),
        "HOROVOD_LOCAL_SIZE": str(place.size),
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
    }
