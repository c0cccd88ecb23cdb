"""The options of ruedarun: one table that the parser and the help text both read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option under all its names.

    Attributes:
        field: What the option sets; options that set the same thing share it.
        names: Every spelling; the first is the one that messages use.
        value: What stands for the value in the help text, empty for a switch.
        help: One or two sentences for the help text.
    """

    field: str
    names: tuple[str, ...]
    value: str
    help: str


TABLE: tuple[Option, ...] = (
    Option(
        "num_proc",
        ("-np", "-n", "--num-proc"),
        "N",
        "Number of worker processes (default: the slots of -H, else 1).",
    ),
    Option(
        "nproc_per_node",
        ("--nproc-per-node",),
        "N|auto|cpu|gpu",
        "The same in torchrun's words; cpu: one for each core, gpu: one for each GPU, "
        "auto: gpu where there is one, else cpu.",
    ),
    Option("hosts", ("-H", "--hosts"), "HOST[:SLOTS]", "Where to run; this host only."),
    Option("nnodes", ("--nnodes",), "1", "Number of hosts; one only."),
    Option("standalone", ("--standalone",), "", "One host, as is always so here."),
    Option("module", ("-m", "--module"), "", "The program is a Python module, as in python -m."),
    Option(
        "no_python", ("--no-python",), "", "The program is any command, not a script for Python."
    ),
    Option(
        "log_dir",
        ("--log-dir",),
        "DIR",
        "Write each worker's output to DIR/rank.N/stdout and stderr; also on the console "
        "unless -r says otherwise.",
    ),
    Option(
        "redirects",
        ("-r", "--redirects"),
        "STD",
        "Output that goes to the log only: 0 none, 1 stdout, 2 stderr, 3 both; or by local "
        "rank, as in 0:1,1:3.",
    ),
    Option("tee", ("-t", "--tee"), "STD", "Output that goes to log and console; values as for -r."),
    Option(
        "local_ranks_filter",
        ("--local-ranks-filter",),
        "RANKS",
        "Show the output of these local ranks only, as in 0,2.",
    ),
    Option(
        "grace_seconds",
        ("--grace-seconds", "--shutdown-timeout"),
        "S",
        "Time that workers have to end after a signal before they are killed (default: 30).",
    ),
    Option("verbose", ("--verbose",), "", "Say what is started, and how."),
    Option("version", ("-v", "--version"), "", "Print the version and end."),
    Option("help", ("-h", "--help"), "", "Print this text and end."),
)

BY_NAME: dict[str, Option] = {name: option for option in TABLE for name in option.names}

# Options of torchrun and horovodrun that belong to several hosts, restarts or tuning. They are
# refused by name: an option that is silently ignored is worse than one that is missing.
FOREIGN: dict[str, str] = {
    **dict.fromkeys(
        (
            *("--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf", "--node-rank"),
            *("--max-restarts", "--monitor-interval", "--start-method", "--event-log-handler"),
            *("--role", "--run-path", "--master-addr", "--master-port", "--local-addr"),
            *("--logs-specs", "--numa-binding", "--signals-to-handle", "--virtual-local-rank"),
        ),
        "torchrun",
    ),
    **dict.fromkeys(
        (
            *("--check-build", "-cb", "--disable-cache", "--start-timeout", "--min-np"),
            *("--network-interfaces", "--output-filename", "--config-file", "--ssh-port", "-p"),
            *("--ssh-identity-file", "-i", "--max-np", "--slots-per-host", "--hostfile"),
            *("-hostfile", "--host-discovery-script", "--gloo", "--mpi", "--jsrun"),
            *("--fusion-threshold-mb", "--cycle-time-ms", "--autotune", "--timeline-filename"),
        ),
        "horovodrun",
    ),
}
