"""Small calls are made of little else than frames of Python: the usual ones need none.

A function that is made a shortcut stays what is called where there is no job, and for whatever is
not usual; what else there is to say of it is said there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from rueda import _core

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Shortcuts:
    """All shortcuts of this process. Touched with the GIL held, in single operations."""

    def __init__(self) -> None:
        self._shortcuts: list[_core.Shortcut] = []
        self._direct: Mapping[str, Callable[..., Any]] = {}

    def add(self, function: _Function) -> _Function:
        """Return what is to be called instead of a function; the same for everybody who looks."""
        made = _core.Shortcut(function)
        functools.update_wrapper(made, function)
        made.direct = self._direct.get(function.__name__)
        self._shortcuts.append(made)
        return cast("_Function", made)

    def lead_to(self, direct: Mapping[str, Callable[..., Any]]) -> None:
        """Let the functions of these names be called first, and no others."""
        self._direct = direct
        for made in self._shortcuts:
            made.direct = direct.get(made.__name__)


shortcuts = Shortcuts()
