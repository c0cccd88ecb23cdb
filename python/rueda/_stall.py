"""Says where this program is, for the report of a stall that others wait for this rank in.

The engine calls ``describe_program`` on a thread of its own when rank 0 asks.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_OWN = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - the path as code objects have it
# Not the user's: what is installed, and Python itself.
_LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_PYTHON = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120
_INNERMOST = 4
_OF_THE_USER = 3
_MOST_FRAMES = 200
_MOST_COLUMNS = 100


@dataclass(frozen=True)
class Place:
    """One frame of a stack.

    Attributes:
        path: The file as its code has it.
        line: The line that runs.
        function: The function's name.
    """

    path: str
    line: int
    function: str

    @property
    def is_users(self) -> bool:
        """Whether the file is neither installed nor Python's nor rueda's."""
        if self.path.startswith((_PYTHON, _OWN, "<frozen ")):
            return False
        return not any(folder in self.path for folder in _LIBRARIES)

    def words(self) -> str:
        """Return the place as ``train.py:41``."""
        return f"{_short(self.path)}:{self.line}"


def describe_program() -> str:
    """Return a clause that follows "rank 1", and below it lines of the main thread's stack."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    places = _places(frame)
    del frame  # it would keep the locals of everything that runs alive
    if not places:
        return "runs no Python code in its main thread"
    if places[0].path == threading.__file__ and places[0].function == "_shutdown":
        return "has ended its script; Python waits for its other threads"
    users = without_rueda(places)
    if not users:
        return "is inside rueda"
    named = next((place for place in reversed(users) if place.is_users), users[-1])
    where = f"is in {_function(named.function)} ({named.words()})"
    return "\n".join([where, *_lines(shown(users))])


def _places(frame: FrameType | None) -> list[Place]:
    """Return the stack, outermost first, without Python's own way of starting a script."""
    places: list[Place] = []
    while frame is not None and len(places) < _MOST_FRAMES:
        code = frame.f_code
        places.append(Place(code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    places.reverse()
    return places


def without_rueda(places: Sequence[Place]) -> list[Place]:
    """Leave out rueda's own frames, and those of ``python -m``."""
    return [
        place for place in places if not place.path.startswith((_OWN, "<frozen runpy", "<frozen i"))
    ]


def shown(places: Sequence[Place]) -> list[Place | None]:
    """Choose the innermost frames, and before them the user's own last ones; None for a gap."""
    first = max(0, len(places) - _INNERMOST)
    users = [index for index in range(first) if places[index].is_users][-_OF_THE_USER:]
    chosen = [*users, *range(first, len(places))]
    result: list[Place | None] = []
    for before, index in zip([-1, *chosen], chosen, strict=False):
        if index != before + 1:
            result.append(None)
        result.append(places[index])
    return result


def _lines(places: Sequence[Place | None]) -> list[str]:
    lines = []
    for place in places:
        if place is None:
            lines.append("...")
            continue
        source = linecache.getline(place.path, place.line).strip()
        lines.append(_cut(f"{place.words()} in {_function(place.function)}"))
        if source:
            lines.append(f"  {_cut(source)}")
    return lines


def _function(name: str) -> str:
    return "the script itself" if name == "<module>" else name


def _short(path: str) -> str:
    """Return a path from the working directory if that is shorter; else its end."""
    if not path.startswith("<"):
        try:
            here = os.path.relpath(path)
        except (OSError, ValueError):
            here = path
        if len(here) < len(path) and not here.startswith(os.pardir):
            path = here
    parts = Path(path).parts
    return path if len(parts) <= 4 else os.path.join("...", *parts[-3:])  # noqa: PTH118


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_COLUMNS else f"{text[: _MOST_COLUMNS - 3]}..."
