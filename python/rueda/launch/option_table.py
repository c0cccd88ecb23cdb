"""The options of ruedarun: one table that command lines, configuration files and help all read."""

from __future__ import annotations

from rueda.launch import engine_options, foreign_options, job_options
from rueda.launch.option import Group, Option

GROUPS: tuple[Group, ...] = (
    job_options.PROCESSES,
    job_options.PROGRAM,
    job_options.OUTPUT,
    engine_options.TUNING,
    engine_options.AUTOTUNE,
    engine_options.OBSERVING,
    job_options.INFORMATION,
)
NO_EFFECT = foreign_options.NO_EFFECT
REFUSED = foreign_options.REMOTE_AND_ELASTIC
TORCHRUN_ALONE = foreign_options.TORCHRUN_ALONE

TABLE: tuple[Option, ...] = tuple(
    option for group in (*GROUPS, NO_EFFECT, REFUSED) for option in group.options
)
BY_NAME: dict[str, Option] = {
    name: option for option in TABLE for name in (*option.names, *option.negative)
}
BY_KEY: dict[str, Option] = {option.key: option for option in TABLE if option.key}
BY_FIELD: dict[str, Option] = {option.field: option for option in TABLE}

# Two options that cannot both hold, with the value that makes them clash (None: any), and why.
Side = tuple[str, str | None]
CONTRADICTIONS: tuple[tuple[Side, Side, str], ...] = (
    (("module", "yes"), ("no_python", "yes"), "a module needs Python"),
    (("hosts", None), ("hostfile", None), "give one list of hosts"),
    (("stall_check", "no"), ("stall_warning", None), "the check is off"),
    (("stall_check", "no"), ("stall_shutdown", None), "the check is off"),
    *(
        (("autotune", "no"), (option.field, None), "the search is off")
        for option in engine_options.AUTOTUNE.options[1:]
    ),
    (("autotune", "yes"), ("autotune_result", None), "a result leaves nothing to search"),
    (("gloo", "yes"), ("mpi", "yes"), "give one of them"),
    (("gloo", "yes"), ("jsrun", "yes"), "give one of them"),
    (("mpi", "yes"), ("jsrun", "yes"), "give one of them"),
)
