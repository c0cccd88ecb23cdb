"""What is checked before anything is started: the program, its module, and descriptors."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rueda.launch.options import Options
from rueda.launch.usage import UsageError

# Pipes for stdout, stderr and the crash report, the error file, a pidfd and two log files, with
# the child's ends during the start, and the result for rueda.run.
_DESCRIPTORS_PER_WORKER = 9
_DESCRIPTORS_OF_LAUNCHER = 40


@dataclass(frozen=True)
class Command:
    """What each worker executes: a file, and the argument vector it sees."""

    executable: str
    argv: tuple[str, ...]


def command_of(options: Options, environ: Mapping[str, str]) -> Command:
    """Check the program and return the command that runs it.

    Raises:
        UsageError: The program does not exist or cannot be run, or too few descriptors may be
            open for so many workers.
    """
    check_descriptors(f"-np {options.num_proc}", options.num_proc)
    path = environ.get("PATH", os.defpath)
    if options.kind == "command" or (
        options.kind == "script" and _is_command(options.program, path)
    ):
        found = _find_command(options.program, path)
        return Command(found, (options.program, *options.arguments))
    if not sys.executable:
        raise UsageError("this Python does not know its own executable; use --no-python")
    if options.kind == "module":
        _check_module(options.program)
        words: tuple[str, ...] = ("-m", options.program)
    else:
        _check_script(options.program)
        words = (options.program,)
    return Command(sys.executable, (sys.executable, *words, *options.arguments))


def check_descriptors(name: str, num_proc: int) -> None:
    """Refuse more workers than the limit of open files allows.

    Args:
        name: How the user asked for them.
        num_proc: Their number.

    Raises:
        UsageError: The limit is too low; it says to what it has to be raised.
    """
    needed = _DESCRIPTORS_OF_LAUNCHER + _DESCRIPTORS_PER_WORKER * num_proc
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (-1, resource.RLIM_INFINITY) and needed > soft:
        raise UsageError(
            f"{name} needs about {needed} open files and {soft} are allowed; "
            f"raise the limit with: ulimit -n {needed}"
        )


def _is_command(program: str, path: str) -> bool:
    """Whether a program given as torchrun's script is a command, as horovodrun takes it.

    ``ruedarun -np 2 python train.py`` and ``ruedarun -np 2 ./train.sh`` run what they say; whatever
    ends in ``.py``, and every file that may not be executed, is Python's.
    """
    if program.endswith(".py"):
        return False
    if "/" not in program and Path(program).is_file():
        return False
    return shutil.which(program, path=path) is not None


def _check_script(program: str) -> None:
    """Refuse what Python could not open, with the reason it would have had."""
    path = Path(program)
    try:
        is_folder = path.is_dir()
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot look at the script {program!r}: {error}") from None
    if is_folder:
        raise UsageError(f"{program!r} is a folder, not a script; for a package use -m")
    if not exists:
        raise UsageError(_missing_script(program))
    if not os.access(path, os.R_OK):
        raise UsageError(f"the script {program!r} may not be read by this user")


def _missing_script(program: str) -> str:
    text = f"the script {program!r} does not exist in {Path.cwd()}"
    if "/" not in program and not program.endswith(".py"):
        return f"{text}; no such command is on PATH either, and a module needs -m"
    return text


def _find_command(program: str, path: str) -> str:
    """Find a command as a shell would: by ``PATH`` unless its name has a slash."""
    folders = [""] if "/" in program else [folder or "." for folder in path.split(os.pathsep)]
    candidates = [Path(folder) / program for folder in folders] if program else []
    present = [candidate for candidate in candidates if candidate.is_file()]
    for candidate in present:
        if os.access(candidate, os.X_OK):
            return str(candidate.absolute())
    if present:
        raise UsageError(f"{str(present[0])!r} may not be executed; try: chmod +x {present[0]}")
    if candidates and candidates[0].is_dir():
        raise UsageError(f"{program!r} is a folder, not a command")
    where = "does not exist" if "/" in program else "was not found on PATH"
    raise UsageError(f"the command {program!r} {where}")


def _check_module(name: str) -> None:
    """Look for the first part of a module's name; nothing of it is imported."""
    import importlib.util  # noqa: PLC0415 - only -m needs it

    words = name.split(".")
    if not all(word.isidentifier() for word in words):
        hint = f"; did you mean {name[:-3].replace('/', '.')}?" if name.endswith(".py") else ""
        raise UsageError(f"{name!r} is not the name of a module{hint}")
    before = list(sys.path)
    # python -m puts the working directory first, unless told to be safe.
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(words[0]) is not None
    except (ImportError, ValueError):
        found = True  # It is loaded here in some odd way, so it is there; Python will say more.
    finally:
        sys.path[:] = before
    if not found:
        raise UsageError(f"there is no module named {words[0]!r} for {sys.executable}")
