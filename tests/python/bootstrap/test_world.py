"""Every launcher's environment gives the right world; what contradicts itself is refused."""

from __future__ import annotations

import re

import pytest

from rueda._environment import environment
from rueda._world import World, detect_world

HOST = "node7"


def ruedarun(rank: int = 1, size: int = 4) -> dict[str, str]:
    return {
        "RUEDA_RANK": str(rank),
        "RUEDA_SIZE": str(size),
        "RUEDA_LOCAL_RANK": str(rank),
        "RUEDA_LOCAL_SIZE": str(size),
        "RUEDA_CROSS_RANK": "0",
        "RUEDA_CROSS_SIZE": "1",
        "RUEDA_JOB_ID": "job-1",
    }


def torchrun(rank: int = 1, size: int = 2, local_size: int = 2) -> dict[str, str]:
    # As printed by torchrun of PyTorch 2.13.
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank % local_size),
        "LOCAL_WORLD_SIZE": str(local_size),
        "GROUP_RANK": str(rank // local_size),
        "GROUP_WORLD_SIZE": str(size // local_size),
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "40843",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def open_mpi(rank: int = 1, size: int = 2) -> dict[str, str]:
    # As printed by Open MPI 4.1.4.
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(size),
        "OMPI_COMM_WORLD_NODE_RANK": str(rank),
        "OMPI_MCA_ess_base_jobid": "1675952129",
        "OMPI_MCA_orte_hnp_uri": "1675952128.0;tcp://192.0.2.2:39535",
        "OMPI_MCA_orte_num_nodes": "1",
        "PMIX_NAMESPACE": "1675952129",
        "PMIX_RANK": str(rank),
    }


def hydra(rank: int = 1, size: int = 2) -> dict[str, str]:
    # As printed by MPICH 4.0.2.
    return {
        "PMI_RANK": str(rank),
        "PMI_SIZE": str(size),
        "PMI_FD": "8",
        "MPI_LOCALRANKID": str(rank),
        "MPI_LOCALNRANKS": str(size),
    }


def mvapich2(rank: int = 1, size: int = 2) -> dict[str, str]:
    return {
        "MV2_COMM_WORLD_RANK": str(rank),
        "MV2_COMM_WORLD_SIZE": str(size),
        "MV2_COMM_WORLD_LOCAL_RANK": str(rank),
        "MV2_COMM_WORLD_LOCAL_SIZE": str(size),
        "MPIRUN_ID": "4711",
        "MPISPAWN_MPIRUN_HOST": "head",
    }


def slurm_batch() -> dict[str, str]:
    # As printed by a batch script of Slurm 22.05.
    return {
        "SLURM_JOB_ID": "2",
        "SLURM_JOB_NAME": "b.sh",
        "SLURM_LOCALID": "0",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "0",
        "SLURM_TASKS_PER_NODE": "2",
    }


def srun(rank: int = 1, size: int = 2) -> dict[str, str]:
    # As printed by srun inside that batch script.
    return {
        **slurm_batch(),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NUM_TASKS": str(size),
        "SLURM_STEP_TASKS_PER_NODE": str(size),
    }


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, World(0, 1, 0, 1, 0, 1, "python", None)),
        (ruedarun(), World(1, 4, 1, 4, 0, 1, "ruedarun", "job-1")),
        (torchrun(), World(1, 2, 1, 2, 0, 1, "torchrun", "torchrun:none:localhost:40843:0")),
        (
            torchrun(5, 8, 4),
            World(5, 8, 1, 4, 1, 2, "torchrun", "torchrun:none:localhost:40843:0"),
        ),
        (
            open_mpi(),
            World(
                1,
                2,
                1,
                2,
                0,
                1,
                "Open MPI",
                "openmpi:1675952129:1675952128.0;tcp://192.0.2.2:39535",
            ),
        ),
        (hydra(), World(1, 2, 1, 2, 0, 1, "Hydra", None)),
        (mvapich2(), World(1, 2, 1, 2, 0, 1, "MVAPICH2", "mvapich2:4711:head:")),
        (srun(), World(1, 2, 1, 2, 0, 1, "srun", "slurm:2:0:")),
    ],
    ids=["python", "ruedarun", "torchrun", "torchrun2x4", "openmpi", "hydra", "mvapich2", "srun"],
)
def test_each_launcher_is_understood(env: dict[str, str], expected: World) -> None:
    assert detect_world(env, HOST) == expected


def test_the_environment_is_a_copy() -> None:
    environment().clear()
    assert environment()


# Slurm's variables where srun started nothing.


@pytest.mark.parametrize(
    "env",
    [
        slurm_batch(),
        {**slurm_batch(), "SLURM_JOB_NAME": "interactive"},
        # The interactive step of salloc, and the batch script as a step of its own.
        {**srun(0, 2), "SLURM_STEP_ID": "4294967290"},
        {**srun(0, 2), "SLURM_STEP_ID": "4294967291"},
        {**srun(0, 2), "SLURM_STEP_ID": "batch"},
        # srun -n 2 --pty bash: one shell, in which the user then starts python.
        {**srun(0, 2), "SLURM_JOB_NAME": "bash", "SLURM_PTY_PORT": "38913"},
        {**srun(0, 2), "SLURM_JOB_NAME": "interactive", "SLURM_PTY_PORT": "38913"},
    ],
    ids=["batch", "salloc", "salloc-step", "batch-step", "named-step", "pty", "salloc-pty"],
)
def test_a_slurm_shell_or_script_is_no_world(env: dict[str, str]) -> None:
    assert detect_world(env, HOST).launcher == "python"
    assert detect_world(env, HOST).size == 1


def test_a_step_inside_salloc_is_a_world_whatever_the_jobs_name() -> None:
    assert detect_world({**srun(), "SLURM_JOB_NAME": "interactive"}, HOST).size == 2


@pytest.mark.parametrize(
    ("node", "tasks", "local_size"),
    [("0", "4(x2),3", 4), ("1", "4(x2),3", 4), ("2", "4(x2),3", 3)],
)
def test_slurm_local_size_is_that_of_the_node(node: str, tasks: str, local_size: int) -> None:
    env = {
        **srun(8, 11),
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": node,
        "SLURM_STEP_NUM_NODES": "3",
        "SLURM_STEP_TASKS_PER_NODE": tasks,
    }
    world = detect_world(env, HOST)
    assert (world.local_size, world.cross_rank, world.cross_size) == (local_size, int(node), 3)


# Two launchers at once.


@pytest.mark.parametrize(
    ("env", "launcher"),
    [
        ({**ruedarun(1, 2), **torchrun(1, 2)}, "ruedarun"),
        ({**open_mpi(), **torchrun(1, 2)}, "torchrun"),
        ({**srun(), **hydra()}, "Hydra"),
        ({**mvapich2(), **hydra()}, "MVAPICH2"),
        # One torchrun or ruedarun a node, started by srun.
        ({**srun(1, 2), **torchrun(5, 8, 4)}, "torchrun"),
        ({**srun(0, 1), **ruedarun(3, 4)}, "ruedarun"),
        # mpirun under sbatch starts its daemons by srun, and knows their nodes.
        ({**srun(0, 1), **open_mpi(1, 2)}, "Open MPI"),
        ({**slurm_batch(), **open_mpi(1, 2)}, "Open MPI"),
    ],
)
def test_launchers_that_agree_or_nest_are_fine(env: dict[str, str], launcher: str) -> None:
    assert detect_world(env, HOST).launcher == launcher


def by_hand(rank: int, size: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost"}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {**torchrun(0, 1, 1), **open_mpi(1, 2)},
            ["torchrun", "RANK=0", "Open MPI", "OMPI_COMM_WORLD_RANK=1"],
        ),
        ({**ruedarun(0, 1), **open_mpi(0, 2)}, ["ruedarun", "RUEDA_SIZE=1", "Open MPI"]),
        ({**srun(0, 4), **open_mpi(0, 4), **{"SLURM_PROCID": "3"}}, ["srun", "SLURM_PROCID=3"]),
        ({**srun(1, 2), **hydra(0, 2)}, ["Hydra", "PMI_RANK=0", "srun", "SLURM_PROCID=1"]),
        ({**open_mpi(0, 2), **by_hand(1, 2)}, ["RANK=1", "OMPI_COMM_WORLD_RANK=0"]),
        ({**ruedarun(1, 4), **torchrun(1, 4, 2)}, ["RUEDA_LOCAL_SIZE=4", "LOCAL_WORLD_SIZE=2"]),
    ],
)
def test_launchers_that_disagree_are_both_named(env: dict[str, str], said: list[str]) -> None:
    with pytest.raises(ValueError, match="disagree") as caught:
        detect_world(env, HOST)
    assert all(part in str(caught.value) for part in [*said, HOST])


# Variables that cannot be right.


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"RANK": "0"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({"LOCAL_RANK": "0"}, "RANK, WORLD_SIZE"),
        ({"RUEDA_RANK": "0", "RUEDA_SIZE": "1"}, "RUEDA_LOCAL_RANK"),
        ({"OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE"),
        ({"MPI_LOCALNRANKS": "2"}, "PMI_RANK"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "'one' is not a whole number"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "'' is not a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "'-1' is not a whole number"),
        ({"RANK": "٣", "WORLD_SIZE": "4"}, "is not a whole number"),
        ({"PMI_RANK": "2", "PMI_SIZE": "2"}, "rank 2 is not below size 2"),
        (torchrun(2, 2), "rank 2 is not below size 2"),
        ({**torchrun(), "LOCAL_RANK": "2"}, "local rank 2 is not below local size 2"),
        ({**torchrun(), "LOCAL_WORLD_SIZE": "3"}, "local size 3 is above size 2"),
        ({**ruedarun(), "RUEDA_CROSS_RANK": "1"}, "cross rank 1 is not below cross size 1"),
        (open_mpi(0, 0), "rank 0 is not below size 0"),
    ],
)
def test_bad_variables_are_refused_by_name(env: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        detect_world(env, HOST)


# What a launcher leaves out.


def test_ranks_set_by_hand_on_loopback_are_all_local() -> None:
    env = {**by_hand(1, 3), "MASTER_PORT": "29500"}
    assert detect_world(env, HOST) == World(
        1, 3, 1, 3, 0, 1, "environment", "environment:29500:localhost"
    )


def test_ranks_set_by_hand_without_local_size_are_not_guessed() -> None:
    # A pod's RANK looks the same as a process's: only the user knows how many share a host.
    env = {**by_hand(1, 3), "MASTER_ADDR": "pod-0.svc"}
    with pytest.raises(ValueError, match="Set LOCAL_RANK and LOCAL_WORLD_SIZE"):
        detect_world(env, HOST)
    known = detect_world({**env, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, HOST)
    assert (known.local_rank, known.cross_rank, known.cross_size) == (0, 1, 3)


def test_hydra_without_local_size_is_not_guessed() -> None:
    env = {"PMI_RANK": "1", "PMI_SIZE": "2"}
    with pytest.raises(ValueError, match="Set MPI_LOCALRANKID and MPI_LOCALNRANKS"):
        detect_world(env, HOST)


def test_the_job_id_given_by_hand_comes_first() -> None:
    assert detect_world({**hydra(), "RUEDA_JOB_ID": "mine"}, HOST).job_key == "mine"
    assert detect_world({**torchrun(), "RUEDA_JOB_ID": "mine"}, HOST).job_key == "mine"


def test_restarts_and_jobs_side_by_side_have_keys_of_their_own() -> None:
    keys = {
        detect_world({**torchrun(), **changed}, HOST).job_key
        for changed in (
            {},
            {"TORCHELASTIC_RESTART_COUNT": "1"},
            {"MASTER_PORT": "40844"},
            {"TORCHELASTIC_RUN_ID": "x"},
        )
    }
    assert len(keys) == 4
    assert detect_world(torchrun(0), HOST).job_key == detect_world(torchrun(1), HOST).job_key
