"""From an argument vector to the options of one run.

The first word that is no option is the program, and everything after it is the program's own:
it is passed on untouched, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rueda.launch import values
from rueda.launch.option_table import BY_NAME, FOREIGN, Option
from rueda.launch.usage import UsageError, nearest

Kind = Literal["script", "module", "command"]
DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True)
class Options:
    """One run, checked as far as that goes without looking at files.

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


@dataclass(frozen=True)
class Words:
    """An argument vector taken apart: raw option values by field, then the program's words."""

    given: dict[str, str]
    program: tuple[str, ...]


def split_words(argv: Sequence[str]) -> Words:
    """Take an argument vector apart.

    Raises:
        UsageError: An option is unknown, lacks its value, or is given twice with two values.
    """
    given: dict[str, str] = {}
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            at -= 1
            break
        name, value = _name_and_value(word)
        option = _known(name)
        if option.value and value is None:
            value = _next_value(name, argv, at)
            at += 1
        _put(given, option, name, value)
    return Words(given, tuple(argv[at:]))


def _name_and_value(word: str) -> tuple[str, str | None]:
    """Split ``--name=value`` and ``-n4``; underscores in long names are taken for dashes."""
    name, equals, value = word.partition("=")
    if name.startswith("--"):
        name = name.replace("_", "-")
    if equals:
        return name, value
    letters = name.rstrip("0123456789:,")
    if letters != name and letters in BY_NAME and not letters.startswith("--"):
        return letters, name[len(letters) :]
    return name, None


def _known(name: str) -> Option:
    if name in BY_NAME:
        return BY_NAME[name]
    if name in FOREIGN:
        raise UsageError(f"{name} is an option of {FOREIGN[name]} that ruedarun does not take")
    guess = nearest(name, BY_NAME)
    hint = f"did you mean {guess}?" if guess else "ruedarun --help lists the options"
    raise UsageError(f"unknown option {name}; {hint}")


def _next_value(name: str, argv: Sequence[str], at: int) -> str:
    if at >= len(argv):
        raise UsageError(f"{name} needs a value")
    if argv[at] == "--" or argv[at] in BY_NAME:
        raise UsageError(f"{name} needs a value, but {argv[at]} follows")
    return argv[at]


def _put(given: dict[str, str], option: Option, name: str, value: str | None) -> None:
    if not option.value and value is not None:
        raise UsageError(f"{name} is a switch and takes no value, found {value!r}")
    text = value or ""
    if given.setdefault(option.field, text) != text:
        raise UsageError(f"{name} is given twice, with {given[option.field]!r} and {text!r}")


def parse(
    words: Words, *, count: Callable[[str], int], is_this_host: Callable[[str], bool]
) -> Options:
    """Check the words of a command line and return the run they describe.

    Args:
        words: The command line, taken apart.
        count: Says how many workers ``auto``, ``cpu`` or ``gpu`` stand for on this host.
        is_this_host: Says whether a host name is this machine's.

    Raises:
        UsageError: A value is out of range, options contradict each other, or the program is
            missing.
    """
    given = words.given
    num_proc = _num_proc(given, count, is_this_host)
    if given.get("nnodes", "1") not in ("1", "1:1"):
        raise UsageError(f"--nnodes must be 1, not {given['nnodes']}: this ruedarun runs one host")
    kind = _kind(given)
    if not words.program:
        raise UsageError(f"the {kind} to run is missing; it comes after the options")
    redirects = values.streams("-r", given.get("redirects", "0"), num_proc)
    tees = values.streams("-t", given.get("tee", "0"), num_proc)
    if "log_dir" in given and not any(redirects) and not any(tees):
        tees = (3,) * num_proc
    return Options(
        num_proc=num_proc,
        program=words.program[0],
        kind=kind,
        arguments=words.program[1:],
        log_dir=_log_dir(given),
        redirects=redirects,
        tees=tees,
        shown=values.ranks("--local-ranks-filter", given.get("local_ranks_filter"), num_proc),
        grace_s=values.seconds("--grace-seconds", given.get("grace_seconds"), DEFAULT_GRACE_S),
        verbose="verbose" in given,
    )


def _kind(given: dict[str, str]) -> Kind:
    if "module" in given and "no_python" in given:
        raise UsageError("-m and --no-python contradict each other: a module needs Python")
    if "module" in given:
        return "module"
    return "command" if "no_python" in given else "script"


def _log_dir(given: dict[str, str]) -> str | None:
    if given.get("log_dir") == "":
        raise UsageError("--log-dir needs the name of a folder, found an empty one")
    return given.get("log_dir")


def _num_proc(
    given: dict[str, str], count: Callable[[str], int], is_this_host: Callable[[str], bool]
) -> int:
    """Agree -np, --nproc-per-node and the slots of -H with each other."""
    wanted: dict[str, int] = {}
    if "num_proc" in given:
        wanted["-np"] = values.processes("-np", given["num_proc"])
    if "nproc_per_node" in given:
        text = given["nproc_per_node"]
        wanted["--nproc-per-node"] = (
            count(text)
            if text in ("auto", "cpu", "gpu")
            else values.processes("--nproc-per-node", text)
        )
    if len(set(wanted.values())) > 1:
        raise UsageError(
            f"-np {wanted['-np']} and --nproc-per-node {wanted['--nproc-per-node']} "
            "contradict each other; give one of them"
        )
    slots = values.slots(given["hosts"], is_this_host) if "hosts" in given else None
    number = next(iter(wanted.values()), slots or 1)
    if slots is not None and number > slots:
        raise UsageError(f"-np {number} is more than the {slots} slots of -H {given['hosts']}")
    return number
