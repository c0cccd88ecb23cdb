"""Which rank of how many this process is: read from what its launcher left in the environment.

Pure: takes the environment as a mapping, so every launcher can be tested without being started.
What each launcher sets is in _bootstrap/launchers.py; here the claims are compared and made one
World.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rueda._bootstrap.launchers import Claim, claims, on_loopback


@dataclass(frozen=True)
class World:
    """This process's place in its job.

    Attributes:
        rank: Its number in the job, from 0.
        size: How many ranks the job has.
        local_rank: Its number among the ranks of its host.
        local_size: How many ranks its host has.
        cross_rank: The number of its host. Where a launcher does not tell, ranks are taken to
            fill one host after the other, as every launcher does by default.
        cross_size: How many hosts the job has.
        launcher: Who started it: "ruedarun", "torchrun", "Open MPI", "MVAPICH2", "Hydra",
            "srun", "environment" (RANK and WORLD_SIZE set by hand) or "python".
        job_key: The same text on all ranks of this job and on no other job of the host:
            RUEDA_JOB_ID (ruedarun's, or set by hand under any launcher), else what the launcher
            calls the job; None where it gives no such thing.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int
    launcher: str
    job_key: str | None


def detect_world(env: Mapping[str, str], hostname: str) -> World:
    """Find out which world the environment describes.

    Args:
        env: The environment variables.
        hostname: This host's name, for error messages.

    Returns:
        The world; size 1 where no launcher left a trace.

    Raises:
        ValueError: The variables of a launcher are incomplete, not numbers, out of range, or two
            launchers disagree. The text lists the variables and what to do.
    """
    found = claims(env)
    key = env.get("RUEDA_JOB_ID") or None
    if not found:
        return World(0, 1, 0, 1, 0, 1, "python", key)
    for claim in found:
        _check_range(claim, hostname)
    speaker = _agreed(found, env, hostname)
    agreeing = [claim for claim in found if _same_place(claim, speaker)]
    local_rank, local_size = _local(agreeing, env, hostname)
    cross_rank, cross_size = _cross(agreeing, local_size)
    key = key or next((claim.job_key for claim in agreeing if claim.job_key), None)
    return World(
        rank=speaker.rank,
        size=speaker.size,
        local_rank=local_rank,
        local_size=local_size,
        cross_rank=cross_rank,
        cross_size=cross_size,
        launcher=speaker.launcher,
        job_key=key,
    )


def _same_place(one: Claim, other: Claim) -> bool:
    return (one.rank, one.size) == (other.rank, other.size) and all(
        mine is None or theirs is None or mine == theirs
        for mine, theirs in (
            (one.local_rank, other.local_rank),
            (one.local_size, other.local_size),
        )
    )


def _agreed(found: list[Claim], env: Mapping[str, str], hostname: str) -> Claim:
    """Return the claim to follow, or refuse: no guess is made about which launcher is stale."""
    inner = [claim for claim in found if claim.launcher != "srun"]
    for claim in inner[1:]:
        if not _same_place(claim, inner[0]):
            raise ValueError(_conflict(inner[0], claim, hostname))
    for step in found:
        if step.launcher == "srun" and inner and not _same_place(step, inner[0]):
            _check_step_carries(step, inner[0], env, hostname)
    return found[0]


def _check_step_carries(step: Claim, inner: Claim, env: Mapping[str, str], hostname: str) -> None:
    """Accept an srun step that only started another launcher on each node.

    torchrun and ruedarun are commonly started so. mpirun under Slurm starts its own daemons by
    srun, one a node; then the step has one task a node and mpirun knows all of those nodes. An
    mpirun started by each of several tasks is a mistake, and refused.
    """
    if inner.launcher in ("ruedarun", "torchrun"):
        return
    tasks, nodes = env.get("SLURM_STEP_NUM_TASKS"), env.get("SLURM_STEP_NUM_NODES")
    mpi_nodes = env.get("OMPI_MCA_orte_num_nodes", "")
    if (
        inner.launcher == "Open MPI"
        and tasks == nodes
        and mpi_nodes.isdigit()
        and step.size <= int(mpi_nodes)
    ):
        return
    raise ValueError(_conflict(inner, step, hostname))


def _conflict(one: Claim, other: Claim, hostname: str) -> str:
    return (
        f"two launchers disagree about this process on host {hostname}: "
        f"{_in_words(one)}; {_in_words(other)}. One of them was started inside the other, or its "
        "variables were left over. Start the script with one launcher, or unset the other's "
        "variables (env -u NAME ...)"
    )


def _in_words(claim: Claim) -> str:
    local = "" if claim.local_rank is None else f", local rank {claim.local_rank}"
    local += "" if claim.local_size is None else f" of {claim.local_size}"
    said = ", ".join(f"{name}={value}" for name, value in claim.variables)
    return f"{claim.launcher} says rank {claim.rank} of {claim.size}{local} ({said})"


def _check_range(claim: Claim, hostname: str) -> None:
    problems = [
        f"{name} {number} is not below {size_name} {size}"
        for name, number, size_name, size in (
            ("rank", claim.rank, "size", claim.size),
            ("local rank", claim.local_rank, "local size", claim.local_size),
            ("cross rank", claim.cross_rank, "cross size", claim.cross_size),
        )
        if number is not None and size is not None and number >= size
    ]
    if claim.local_size is not None and claim.local_size > claim.size:
        problems.append(f"local size {claim.local_size} is above size {claim.size}")
    if problems:
        raise ValueError(
            f"the variables of {claim.launcher} on host {hostname} cannot be true: "
            f"{'; '.join(problems)} ({_in_words(claim)})"
        )


def _local(agreeing: list[Claim], env: Mapping[str, str], hostname: str) -> tuple[int, int]:
    speaker = agreeing[0]
    rank = next((c.local_rank for c in agreeing if c.local_rank is not None), None)
    size = next((c.local_size for c in agreeing if c.local_size is not None), None)
    # Only a job that meets on the loopback address is certain to be on one host.
    if speaker.size == 1 or (size is None and on_loopback(env)):
        rank, size = (speaker.rank if rank is None else rank), speaker.size
    if rank is None or size is None or rank >= size:
        raise ValueError(
            f"{_in_words(speaker)} on host {hostname} does not tell how many of the ranks are on "
            f"this host. Set {speaker.local_names[0]} and {speaker.local_names[1]} for each "
            "process, or start with ruedarun or torchrun"
        )
    return rank, size


def _cross(agreeing: list[Claim], local_size: int) -> tuple[int, int]:
    speaker = agreeing[0]
    for claim in agreeing:
        if claim.cross_rank is not None and claim.cross_size is not None:
            return claim.cross_rank, claim.cross_size
    hosts = -(-speaker.size // local_size)
    return min(speaker.rank // local_size, hosts - 1), hosts


def check_communicator(world: World, comm: Any) -> None:
    """Refuse a communicator of other ranks than the job's.

    Args:
        world: The job.
        comm: None, the list of all ranks, or an mpi4py communicator of them in order.

    Raises:
        ValueError: It is anything else.
    """
    if comm is None:
        return
    if callable(getattr(comm, "Get_rank", None)) and callable(getattr(comm, "Get_size", None)):
        found = (comm.Get_rank(), comm.Get_size())
        if found != (world.rank, world.size):
            raise ValueError(
                f"init(comm=...): this process is rank {found[0]} of {found[1]} in the "
                f"communicator, but rank {world.rank} of {world.size} in its job; pass a "
                "communicator of all ranks in their order, and limit collectives by process sets"
            )
    elif list(comm) != list(range(world.size)):
        raise ValueError(
            f"init(comm={comm!r}): only None, the list of all {world.size} ranks or a "
            "communicator of them is supported; limit collectives by process sets"
        )
