"""Options of horovodrun and torchrun that change nothing here, or that this version refuses.

They are known by name: an option that is silently ignored is worse than one that is missing.
"""

from __future__ import annotations

from rueda.launch import values
from rueda.launch.option import Group, Option

_ONE_HOST = "this job is on one host"
_NO_MPI = "ranks are started without MPI"
_REMOTE = (
    "this ruedarun runs one host and starts nothing by ssh; for several, start the script with "
    "torchrun or mpirun and set RUEDA_RENDEZVOUS and RUEDA_SECRET_FILE"
)
_ELASTIC = "a job keeps the ranks that it started with; start it anew after a failure"
_BY_LAUNCHER = (
    "to start the ranks by {0}, call it directly: {0} ... python train.py runs on rueda unchanged"
)
_PINNING = "pin processes by a wrapper such as: ruedarun --no-python numactl ... python train.py"


def _elastic(field: str, *names: str, key: str = "") -> Option:
    return Option(field, names, "N", "", read=values.whole, key=key, refused=_ELASTIC)


def _switch(
    field: str, why: str, *names: str, negative: tuple[str, ...] = (), key: str = ""
) -> Option:
    return Option(field, names, "", why, negative=negative, key=key, no_effect=why)


NO_EFFECT = Group(
    "taken from horovodrun without effect",
    (
        Option(
            "cycle_time_ms",
            ("--cycle-time-ms",),
            "MS",
            "rueda has no cycle: work starts when it is submitted",
            read=values.decimal,
            key="params.cycle_time_ms",
            no_effect="rueda has no cycle: work starts when it is submitted (RUEDA_LINGER_US is "
            "how long asynchronous tensors wait for company)",
        ),
        _switch(
            "hierarchical_allreduce",
            _ONE_HOST,
            "--hierarchical-allreduce",
            negative=("--no-hierarchical-allreduce",),
            key="params.hierarchical_allreduce",
        ),
        _switch(
            "hierarchical_allgather",
            _ONE_HOST,
            "--hierarchical-allgather",
            negative=("--no-hierarchical-allgather",),
            key="params.hierarchical_allgather",
        ),
        _switch(
            "torus_allreduce",
            _ONE_HOST,
            "--torus-allreduce",
            negative=("--no-torus-allreduce",),
            key="params.torus_allreduce",
        ),
        _switch("disable_cache", "nothing is kept from one start to the next", "--disable-cache"),
        _switch("gloo", f"{_NO_MPI} in any case; RUEDA_BACKEND chooses the data's road", "--gloo"),
        _switch("tcp", f"{_ONE_HOST} and needs no network", "--tcp", key="library_options.tcp"),
        _switch(
            "mpi_threads_disable",
            _NO_MPI,
            "--mpi-threads-disable",
            negative=("--no-mpi-threads-disable",),
            key="library_options.mpi_threads_disable",
        ),
        Option(
            "num_nccl_streams",
            ("--num-nccl-streams",),
            "N",
            "this build has no NCCL road",
            read=values.whole,
            key="library_options.num_nccl_streams",
            no_effect="this build has no NCCL road",
        ),
        _switch(
            "log_with_timestamp",
            "the engine's log lines have no time; --prefix-output-with-timestamp puts one before "
            "every line",
            *("--log-with-timestamp", "--no-log-hide-timestamp"),
            negative=("--log-without-timestamp", "--log-hide-timestamp"),
            key="logging.with_timestamp",
        ),
    ),
)


REMOTE_AND_ELASTIC = Group(
    "refused",
    (
        Option("ssh_port", ("--ssh-port", "-p"), "PORT", "", read=values.whole, refused=_REMOTE),
        Option("ssh_identity_file", ("--ssh-identity-file", "-i"), "FILE", "", refused=_REMOTE),
        Option(
            "network_interfaces",
            ("--network-interfaces", "--network-interface"),
            "NAMES",
            "",
            refused=_REMOTE,
        ),
        _elastic("min_num_proc", "--min-np", "--min-num-proc"),
        _elastic("max_num_proc", "--max-np", "--max-num-proc"),
        _elastic("slots", "--slots-per-host"),
        _elastic("elastic_timeout", "--elastic-timeout", key="elastic.timeout"),
        _elastic("reset_limit", "--reset-limit", key="elastic.reset_limit"),
        Option(
            "cooldown_range",
            ("--blacklist-cooldown-range",),
            "MIN MAX",
            "",
            read=values.whole_numbers,
            refused=_ELASTIC,
        ),
        Option("host_discovery_script", ("--host-discovery-script",), "FILE", "", refused=_ELASTIC),
        Option("mpi", ("--mpi",), "", "", refused=_BY_LAUNCHER.format("mpirun")),
        Option("jsrun", ("--jsrun",), "", "", refused=_BY_LAUNCHER.format("jsrun")),
        Option("mpi_args", ("--mpi-args",), "ARGS", "", refused=_BY_LAUNCHER.format("mpirun")),
        Option("binding_args", ("--binding-args",), "ARGS", "", refused=_PINNING),
        Option(
            "thread_affinity",
            ("--thread-affinity",),
            "CORES",
            "",
            key="library_options.thread_affinity",
            refused=_PINNING,
        ),
    ),
)

TORCHRUN_ALONE = frozenset(
    (
        *("--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf", "--node-rank"),
        *("--max-restarts", "--monitor-interval", "--start-method", "--event-log-handler"),
        *("--role", "--run-path", "--master-addr", "--master-port", "--local-addr"),
        *("--logs-specs", "--numa-binding", "--signals-to-handle", "--virtual-local-rank"),
    )
)
