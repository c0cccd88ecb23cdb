"""What an earlier job's autotune found, given back to this one."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "RUEDA_AUTOTUNE_RESULT"
_TUNED = ("RUEDA_FUSION_THRESHOLD", "RUEDA_LINGER_US")
_LARGEST_BYTES = 1 << 20


def with_result(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what the file that ``RUEDA_AUTOTUNE_RESULT`` names has found.

    The file is one that ``RUEDA_AUTOTUNE_LOG`` named in a job whose search came to its end. What
    the environment sets itself stays.

    Args:
        environ: The environment; without the variable it is returned as it is.

    Raises:
        ValueError: The file cannot be read, or holds no result.
    """
    path = environ.get(VARIABLE, "")
    if not path:
        return dict(environ)
    return {**_result_in(path), **environ}


def _result_in(path: str) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file.read(_LARGEST_BYTES).splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{VARIABLE}={path!r} cannot be read: {error}") from None
    for row in reversed(rows):
        if row.get("phase") == "result":
            found = {name: row.get(name) or "" for name in _TUNED}
            if all(text.isascii() and text.isdigit() for text in found.values()):
                return found
    raise ValueError(
        f"{VARIABLE}={path!r} holds no result: give the file that RUEDA_AUTOTUNE_LOG named in a "
        "job that ran until its search was over"
    )
