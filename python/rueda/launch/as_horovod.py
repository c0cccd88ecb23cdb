"""``--as-horovod``: what workers inherit so that ``horovod`` means rueda to them."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from rueda.launch.engine_settings import Engine, load_engine
from rueda.launch.horovod_variables import translate
from rueda.launch.options import Options
from rueda.launch.usage import UsageError

# Holds a package named horovod and nothing else: it comes first on the workers' PYTHONPATH.
FOLDER = Path(__file__).parents[1] / "_as_horovod" / "path"


@dataclass(frozen=True)
class Disguise:
    """An environment in which ``horovod`` means rueda, and what is to be said about it."""

    environ: dict[str, str]
    remarks: tuple[str, ...]


def disguised(
    options: Options, environ: Mapping[str, str], load: Callable[[], Engine] = load_engine
) -> Disguise:
    """Return the environment of workers that take rueda for Horovod.

    Args:
        options: The run.
        environ: The launcher's environment.
        load: Loads what the engine says of its variables.

    Raises:
        UsageError: Python would find another horovod first, or a HOROVOD_ variable has a value
            that the engine does not accept.
    """
    _refuse_one_that_comes_first(options)
    translation = translate(environ, options.settings, load)
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    others = [entry for entry in path if entry != str(FOLDER)]
    result = {**environ, **translation.settings}
    result["PYTHONPATH"] = os.pathsep.join([str(FOLDER), *others])
    remarks = [_installed(), translation.remark]
    return Disguise(result, tuple(remark for remark in remarks if remark))


def _refuse_one_that_comes_first(options: Options) -> None:
    """Refuse a horovod where Python looks before PYTHONPATH: beside the script, or here for -m."""
    program = Path(options.program)
    if options.kind == "command" or (options.kind == "script" and not program.is_file()):
        return  # Some command, which may be Python with a script of its own.
    folder = Path.cwd() if options.kind == "module" else program.absolute().parent
    found = PathFinder.find_spec("horovod", [str(folder)])
    if found is not None and found.origin is not None:
        raise UsageError(
            f"--as-horovod: {found.origin} comes before rueda for this program, since Python looks "
            "in its folder first; rename it or run the program from elsewhere"
        )


def _installed() -> str:
    """Say that an installed Horovod is not used in this job; nothing where there is none."""
    try:
        version = importlib.metadata.version("horovod")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return f"warning: the installed Horovod {version} is shadowed: horovod means rueda in this job"
