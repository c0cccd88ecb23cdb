"""Reads a file of hosts, as mpirun and horovodrun have it: lines ``HOST slots=N``."""

from __future__ import annotations

import re
from pathlib import Path

from rueda.launch.usage import UsageError
from rueda.launch.values import Host, processes

_LINE = re.compile(
    r"(?P<host>[^\s=:]+)(\s+slots\s*=\s*(?P<slots>\S+))?(\s+max[-_]slots\s*=\s*\S+)?"
)


def read_hosts(path: str) -> list[Host]:
    """Return the hosts of a file, in its order; text after ``#`` does not count.

    Raises:
        UsageError: The file cannot be read, or a line is no host.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--hostfile {path!r} cannot be read: {why}") from None
    return [
        _host(text, f"line {number} of {path}")
        for number, line in enumerate(lines, 1)
        if (text := line.partition("#")[0].strip())
    ]


def _host(text: str, place: str) -> Host:
    found = _LINE.fullmatch(text)
    if found is None:
        raise UsageError(f"{place} must be 'HOST slots=N', found {text!r}")
    slots = found["slots"]
    return Host(found["host"], 1 if slots is None else processes(f"slots in {place}", slots))
