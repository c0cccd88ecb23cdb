"""What each launcher tells its processes: one reader a launcher, each giving a Claim or nothing.

Sources: the environments of ruedarun, torchrun 2.13, Open MPI 4.1.4, MPICH 4.0.2 (Hydra) and Slurm
22.05, printed by real runs; MVAPICH2 from its user guide and mpirun_rsh's source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Slurm numbers the pseudo-steps of batch scripts and interactive shells from here up
# (SLURM_BATCH_SCRIPT, SLURM_INTERACTIVE_STEP and others in slurm.h).
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
_SHELL_JOB_NAMES = ("bash", "interactive", "sh", "zsh", "fish", "tcsh", "csh")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Claim:
    """What one launcher says about this process; None where it does not say.

    ``variables`` are the names and values it said so with, ``local_names`` the two variables that
    would tell the local rank and size.
    """

    launcher: str
    variables: tuple[tuple[str, str], ...]
    local_names: tuple[str, str]
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    cross_rank: int | None = None
    cross_size: int | None = None
    job_key: str | None = None


def claims(env: Mapping[str, str]) -> list[Claim]:
    """Return the claims of all launchers that left variables, the one to follow first.

    Raises:
        ValueError: A launcher's variables are incomplete or not numbers.
    """
    readers = (_ruedarun, _torchrun, _open_mpi, _mvapich2, _hydra, _srun, _by_hand)
    found = [reader(env) for reader in readers]
    return [claim for claim in found if claim is not None]


def on_loopback(env: Mapping[str, str]) -> bool:
    """Tell whether MASTER_ADDR shows that all ranks are on this host."""
    return env.get("MASTER_ADDR", "").strip("[]") in _LOOPBACK_NAMES


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{name}={text!r} is not a whole number from 0 to 999999999")
    return int(text)


def _complete(env: Mapping[str, str], names: tuple[str, ...], needed: int) -> bool:
    """Tell whether the first ``needed`` names are set; refuse a part of the set."""
    present = [name for name in names if name in env]
    missing = [name for name in names[:needed] if name not in env]
    if present and missing:
        raise ValueError(
            f"the environment has {', '.join(f'{name}={env[name]}' for name in present)} but not "
            f"{', '.join(missing)}: half of what a launcher sets. Unset what is left over, or set "
            "the rest"
        )
    return bool(present)


def _claim(
    env: Mapping[str, str],
    launcher: str,
    names: tuple[str, str, str, str],
    *,
    cross: tuple[str, str] | None = None,
    job_key: str | None = None,
) -> Claim:
    rank, size, local_rank, local_size = (_number(env, name) for name in names)
    cross_rank, cross_size = (_number(env, name) for name in cross) if cross else (None, None)
    if rank is None or size is None:
        raise ValueError(f"{names[0]} and {names[1]} must be set")
    return Claim(
        launcher=launcher,
        variables=tuple((name, env[name]) for name in names + (cross or ()) if name in env),
        local_names=(names[2], names[3]),
        rank=rank,
        size=size,
        local_rank=local_rank,
        local_size=local_size,
        cross_rank=cross_rank,
        cross_size=cross_size,
        job_key=job_key,
    )


def _key(env: Mapping[str, str], prefix: str, needed: str, *more: str) -> str | None:
    if not env.get(needed):
        return None
    return ":".join((prefix, *(env.get(name, "") for name in (needed, *more))))


def _ruedarun(env: Mapping[str, str]) -> Claim | None:
    names = ("RUEDA_RANK", "RUEDA_SIZE", "RUEDA_LOCAL_RANK", "RUEDA_LOCAL_SIZE")
    cross = ("RUEDA_CROSS_RANK", "RUEDA_CROSS_SIZE")
    if not _complete(env, names + cross, 6):
        return None
    return _claim(env, "ruedarun", names, cross=cross)  # its key is RUEDA_JOB_ID, as for all


_TORCH_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def _torchrun(env: Mapping[str, str]) -> Claim | None:
    # Old and hand-made environments lack LOCAL_WORLD_SIZE; torchrun always sets all four.
    if "TORCHELASTIC_RUN_ID" not in env or not _complete(env, _TORCH_NAMES, 2):
        return None
    # The run id is "none" by default and the restarts of a job share it: the port tells concurrent
    # jobs apart, the count its restarts.
    key = _key(
        env,
        "torchrun",
        "TORCHELASTIC_RUN_ID",
        "MASTER_ADDR",
        "MASTER_PORT",
        "TORCHELASTIC_RESTART_COUNT",
    )
    return _claim(env, "torchrun", _TORCH_NAMES, cross=_torch_cross(env), job_key=key)


def _by_hand(env: Mapping[str, str]) -> Claim | None:
    # ruedarun sets torchrun's variables too, but not TORCHELASTIC_RUN_ID of a torchrun.
    if "TORCHELASTIC_RUN_ID" in env or not _complete(env, _TORCH_NAMES, 2):
        return None
    key = _key(env, "environment", "MASTER_PORT", "MASTER_ADDR") if "MASTER_ADDR" in env else None
    return _claim(env, "environment", _TORCH_NAMES, cross=_torch_cross(env), job_key=key)


def _torch_cross(env: Mapping[str, str]) -> tuple[str, str] | None:
    cross = ("GROUP_RANK", "GROUP_WORLD_SIZE")
    return cross if all(name in env for name in cross) else None


def _open_mpi(env: Mapping[str, str]) -> Claim | None:
    names = tuple(f"OMPI_COMM_WORLD_{part}" for part in ("RANK", "SIZE"))
    local = tuple(f"OMPI_COMM_WORLD_{part}" for part in ("LOCAL_RANK", "LOCAL_SIZE"))
    if not _complete(env, names + local, 2):
        return None
    # The name space alone is 16 bits of hash, so the head node process's address is added (4.x).
    key = _key(env, "openmpi", "PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri") or _key(
        env, "openmpi", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri"
    )
    return _claim(env, "Open MPI", (names[0], names[1], local[0], local[1]), job_key=key)


def _mvapich2(env: Mapping[str, str]) -> Claim | None:
    prefix = "MV2_COMM_WORLD_"
    names = (f"{prefix}RANK", f"{prefix}SIZE", f"{prefix}LOCAL_RANK", f"{prefix}LOCAL_SIZE")
    if not _complete(env, names, 2):
        return None
    key = _key(env, "mvapich2", "MPIRUN_ID", "MPISPAWN_MPIRUN_HOST", "MPISPAWN_MPIRUN_PORT")
    return _claim(env, "MVAPICH2", names, job_key=key)


def _hydra(env: Mapping[str, str]) -> Claim | None:
    names = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    if not _complete(env, names, 2):
        return None
    # Hydra names no job: job_key.py then takes its proxy process. Slurm's PMI-2 does name one.
    return _claim(env, "Hydra", names, job_key=_key(env, "pmi", "PMI_JOBID"))


def _srun(env: Mapping[str, str]) -> Claim | None:
    """Claim a world for a real step only.

    SLURM_PROCID and SLURM_NTASKS are also set in batch scripts and interactive shells, where
    nobody else was started. Job names alone do not tell: salloc calls its job "interactive", and
    the steps inside keep that name.
    """
    step = env.get("SLURM_STEP_ID", "")
    if not step.isdigit() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    if "SLURM_PTY_PORT" in env and env.get("SLURM_JOB_NAME") in _SHELL_JOB_NAMES:
        return None
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    if not all(name in env for name in names):
        return None
    local_size = _tasks_on_node(env)
    said = {**env, "SLURM_STEP_TASKS_PER_NODE": str(local_size)}
    local = ("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
    if local_size is None:
        del said["SLURM_STEP_TASKS_PER_NODE"]
    cross = ("SLURM_NODEID", "SLURM_STEP_NUM_NODES")
    return _claim(
        said,
        "srun",
        names + local,
        cross=cross if all(name in env for name in cross) else None,
        job_key=_key(env, "slurm", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    )


def _tasks_on_node(env: Mapping[str, str]) -> int | None:
    """Read this node's entry of a list such as ``4(x2),3``: the nodes' task counts in order."""
    node = env.get("SLURM_NODEID", "")
    if not node.isdigit():
        return None
    first = 0
    for part in env.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        match = re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,9})\))?", part)
        if match is None:
            return None
        first += int(match[2] or 1)
        if int(node) < first:
            return int(match[1])
    return None
