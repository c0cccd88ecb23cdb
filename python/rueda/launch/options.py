"""From the words of a command line, and a configuration file, to the options of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rueda.launch import values
from rueda.launch.command_line import Words, refuse_contradictions
from rueda.launch.config_file import with_config_file
from rueda.launch.engine_settings import Engine, engine_settings, load_engine, remarks
from rueda.launch.host_file import read_hosts
from rueda.launch.option import YES, Given
from rueda.launch.option_table import BY_FIELD, REFUSED
from rueda.launch.usage import UsageError

Kind = Literal["script", "module", "command"]
DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True)
class Options:
    """One run, checked as far as that goes without looking at the program.

    Attributes:
        num_proc: Number of workers, at least 1.
        program: Script, module or command; ``kind`` says which.
        kind: How ``program`` is run.
        arguments: The program's own arguments.
        log_dir: Folder for the workers' output, or None.
        redirects: For each local rank the streams that go to the log only (bit 1 stdout, 2 stderr).
        tees: For each local rank the streams that go to log and console.
        shown: For each local rank whether the console shows it.
        grace_s: Seconds between a forwarded signal and SIGKILL.
        verbose: Whether to say what is started.
        timestamps: Whether lines on the console begin with the time.
        as_horovod: Whether ``horovod`` means rueda in the workers.
        settings: Variables of the engine that options set, or take out (None).
        remarks: What is to be said of options that are taken without effect.
    """

    num_proc: int
    program: str
    kind: Kind
    arguments: tuple[str, ...]
    log_dir: str | None
    redirects: tuple[int, ...]
    tees: tuple[int, ...]
    shown: tuple[bool, ...]
    grace_s: float
    verbose: bool
    timestamps: bool = False
    as_horovod: bool = False
    settings: Mapping[str, str | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def parse(
    words: Words,
    *,
    count: Callable[[str], int],
    is_this_host: Callable[[str], bool],
    load: Callable[[], Engine] = load_engine,
) -> Options:
    """Check the words of a command line and return the run they describe.

    Args:
        words: The command line, taken apart.
        count: Says how many workers ``auto``, ``cpu`` or ``gpu`` stand for on this host.
        is_this_host: Says whether a host name is this machine's.
        load: Loads what the engine says of its variables; called when an option sets one.

    Raises:
        UsageError: A value is out of range, options contradict each other, an option is refused,
            or the program is missing.
    """
    refuse_contradictions(words.given)
    given = with_config_file(words.given)
    _refuse(given)
    num_proc = _num_proc(given, count, is_this_host)
    nnodes = _text(given, "nnodes", "1")
    if nnodes not in ("1", "1:1"):
        raise UsageError(f"--nnodes must be 1, not {nnodes}: this ruedarun runs one host")
    kind = _kind(given)
    if not words.program:
        raise UsageError(f"the {kind} to run is missing; it comes after the options")
    redirects = values.streams("-r", _text(given, "redirects", "0"), num_proc)
    tees = values.streams("-t", _text(given, "tee", "0"), num_proc)
    if "log_dir" in given and not any(redirects) and not any(tees):
        tees = (3,) * num_proc
    shown = given["local_ranks_filter"].text if "local_ranks_filter" in given else None
    return Options(
        num_proc=num_proc,
        program=words.program[0],
        kind=kind,
        arguments=words.program[1:],
        log_dir=_log_dir(given),
        redirects=redirects,
        tees=tees,
        shown=values.ranks("--local-ranks-filter", shown, num_proc),
        grace_s=_grace_s(given),
        verbose=_is_on(given, "verbose"),
        timestamps=_is_on(given, "timestamps"),
        as_horovod=_is_on(given, "as_horovod"),
        settings=engine_settings(given, load),
        remarks=remarks(given),
    )


def _refuse(given: Mapping[str, Given]) -> None:
    """Refuse what this version does not do; a value that is none is said first."""
    for option in REFUSED.options:
        value = given.get(option.field)
        if value is None:
            continue
        if option.value:
            option.read(value.where, value.text)
        raise UsageError(f"{value.where} is not in this version: {option.refused}")


def _text(given: Mapping[str, Given], name: str, default: str) -> str:
    return given[name].text if name in given else default


def _is_on(given: Mapping[str, Given], name: str) -> bool:
    return _text(given, name, "") == YES


def _kind(given: Mapping[str, Given]) -> Kind:
    if "module" in given:
        return "module"
    return "command" if "no_python" in given else "script"


def _log_dir(given: Mapping[str, Given]) -> str | None:
    if "log_dir" not in given:
        return None
    if given["log_dir"].text == "":
        raise UsageError(f"{given['log_dir'].where} needs the name of a folder, found an empty one")
    return given["log_dir"].text


def _grace_s(given: Mapping[str, Given]) -> float:
    if "grace_seconds" not in given:
        return DEFAULT_GRACE_S
    return values.seconds(given["grace_seconds"].where, given["grace_seconds"].text)


def _num_proc(
    given: Mapping[str, Given], count: Callable[[str], int], is_this_host: Callable[[str], bool]
) -> int:
    """Agree -np, --nproc-per-node and the slots of -H with each other."""
    wanted: dict[str, int] = {}
    if "num_proc" in given:
        name = _first_name(given["num_proc"])
        wanted[name] = values.processes(name, given["num_proc"].text)
    if "nproc_per_node" in given:
        text = given["nproc_per_node"].text
        wanted["--nproc-per-node"] = (
            count(text)
            if text in ("auto", "cpu", "gpu")
            else values.processes("--nproc-per-node", text)
        )
    if len(set(wanted.values())) > 1:
        said = " and ".join(f"{name} {number}" for name, number in wanted.items())
        raise UsageError(f"{said} contradict each other; give one of them")
    slots = _slots(given, is_this_host)
    number = next(iter(wanted.values()), slots or 1)
    if slots is not None and number > slots:
        hosts = given.get("hosts") or given["hostfile"]
        name = next(iter(wanted))
        raise UsageError(f"{name} {number} is more than the {slots} slots of {hosts}")
    return number


def _first_name(value: Given) -> str:
    """Return the name that messages use: an option's first, however it was spelled."""
    return value.where if value.file else BY_FIELD["num_proc"].names[0]


def _slots(given: Mapping[str, Given], is_this_host: Callable[[str], bool]) -> int | None:
    """Return how many slots the list of hosts gives this machine; None without a list."""
    if "hosts" in given:
        name = "-H" if not given["hosts"].file else given["hosts"].where
        return values.slots(name, values.hosts(name, given["hosts"].text), is_this_host)
    if "hostfile" in given:
        path = given["hostfile"].text
        return values.slots(f"--hostfile {path}", read_hosts(path), is_this_host)
    return None
