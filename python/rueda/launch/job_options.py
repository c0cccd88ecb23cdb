"""The options that say what is started: processes, hosts, the program, its output."""

from __future__ import annotations

from rueda.launch.option import Group, Option

PROCESSES = Group(
    "processes",
    (
        Option(
            "num_proc",
            ("-np", "-n", "--num-proc"),
            "N",
            "Number of worker processes (default: the slots of -H or --hostfile, else 1).",
            key="num_proc",
        ),
        Option(
            "nproc_per_node",
            ("--nproc-per-node",),
            "N|auto|cpu|gpu",
            "The same in torchrun's words; cpu: one for each core, gpu: one for each GPU, "
            "auto: gpu where there is one, else cpu.",
        ),
        Option(
            "hosts",
            ("-H", "--hosts"),
            "HOST[:SLOTS]",
            "Where to run; this host only.",
            key="hosts",
        ),
        Option(
            "hostfile",
            ("--hostfile", "-hostfile"),
            "FILE",
            "The same in a file with lines 'HOST slots=N'.",
            key="hostfile",
        ),
        Option("nnodes", ("--nnodes",), "1", "Number of hosts; one only."),
        Option("standalone", ("--standalone",), "", "One host, as is always so here."),
    ),
)

PROGRAM = Group(
    "program",
    (
        Option(
            "module", ("-m", "--module"), "", "The program is a Python module, as in python -m."
        ),
        Option(
            "no_python",
            ("--no-python",),
            "",
            "The program is any command, not a script for Python.",
        ),
        Option(
            "as_horovod",
            ("--as-horovod",),
            "",
            "'import horovod.torch' means rueda in this job, and HOROVOD_ variables are taken "
            "for rueda's.",
            key="as_horovod",
        ),
        Option(
            "grace_seconds",
            ("--grace-seconds", "--shutdown-timeout"),
            "S",
            "Time that workers have to end after a signal before they are killed (default: 30).",
            key="grace_seconds",
        ),
    ),
)

OUTPUT = Group(
    "output",
    (
        Option(
            "log_dir",
            ("--log-dir", "--output-filename"),
            "DIR",
            "Write each worker's output to DIR/rank.N/stdout and stderr; also on the console "
            "unless -r says otherwise.",
            key="output_filename",
        ),
        Option(
            "redirects",
            ("-r", "--redirects"),
            "STD",
            "Output that goes to the log only: 0 none, 1 stdout, 2 stderr, 3 both; or by local "
            "rank, as in 0:1,1:3.",
        ),
        Option(
            "tee", ("-t", "--tee"), "STD", "Output that goes to log and console; values as for -r."
        ),
        Option(
            "local_ranks_filter",
            ("--local-ranks-filter",),
            "RANKS",
            "Show the output of these local ranks only, as in 0,2.",
        ),
        Option(
            "timestamps",
            ("--prefix-output-with-timestamp", "-prefix-timestamp"),
            "",
            "Put the time before every line on the console.",
            key="logging.prefix_output_with_timestamp",
        ),
        Option("verbose", ("--verbose",), "", "Say what is started, and how.", key="verbose"),
    ),
)

INFORMATION = Group(
    "information",
    (
        Option(
            "config_file",
            ("--config-file",),
            "FILE",
            "Take options from a YAML file as well; the command line wins.",
        ),
        Option(
            "check_build",
            ("--check-build", "-cb"),
            "",
            "Say what this build of rueda and this machine have, and end.",
        ),
        Option("version", ("-v", "--version"), "", "Print the version and end."),
        Option("help", ("-h", "--help"), "", "Print this text and end."),
    ),
)
