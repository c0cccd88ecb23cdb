"""Modules named ``horovod...`` whose names are looked up in rueda when they are used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from rueda._as_horovod.names import HOMES, INTERFACE_VERSION, OUTSIDE

_STAND_IN = "rueda stands in for Horovod in this job (ruedarun --as-horovod)"


class Facade(ModuleType):
    """A module of Horovod. Looks its names up in rueda, and says so where rueda has none."""

    def __getattr__(self, name: str) -> Any:
        """Find a name that was not used before.

        Raises:
            AttributeError: Neither rueda nor a module below this one has it.
        """
        if name == "__all__":
            return dir(self)
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        below = _below(self.__name__, name)
        value = _in_rueda(self.__name__, name) if below is None else below
        setattr(self, name, value)  # the next look-up is a plain one
        return value

    def __dir__(self) -> list[str]:
        """Return the names that are there, whether they were used before or not."""
        here = self.__name__
        names = {name for home in _homes(here) for name in _public(home)}
        below = {full.rpartition(".")[2] for full in HOMES if full.rpartition(".")[0] == here}
        return sorted(names | {name for name in below if _is_there(f"{here}.{name}")})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a function on several ranks: ``horovod.run`` is a module in old versions.

        Raises:
            TypeError: It is another module.
        """
        if self.__name__ != "horovod.run":
            raise TypeError("'module' object is not callable")
        return self.run(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Travel by name, with functions that use the module: horovod.run sends them to ranks."""
        return importlib.import_module, (self.__name__,)


def _below(here: str, name: str) -> ModuleType | None:
    """Import the module below one of Horovod's that has this name; None if there is none."""
    full = f"{here}.{name}"
    # horovod.run is a function first; the module of that name comes by import alone.
    if full not in HOMES or full == "horovod.run":
        return None
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        raise AttributeError(str(error)) from None


def _in_rueda(here: str, name: str) -> object:
    for home in _homes(here):
        found = getattr(importlib.import_module(home), name, _in_rueda)
        if found is not _in_rueda:
            return found
    raise AttributeError(f"module {here!r} has no attribute {name!r}: {_missing(here, name)}")


def _missing(here: str, name: str) -> str:
    if here == "horovod" and name in OUTSIDE:
        return f"{_STAND_IN}, for horovod.torch alone"
    return f"{_STAND_IN} and this version of it does not have {here}.{name}"


def _homes(full: str) -> list[str]:
    """Return the modules of rueda that stand for one of Horovod's, as far as they exist."""
    return [home for home in HOMES.get(full, ()) if _exists(home)]


def _is_there(full: str) -> bool:
    """Say whether a module of Horovod can be had: one that holds modules alone always can."""
    return full in HOMES and (not HOMES[full] or bool(_homes(full)))


def _exists(home: str) -> bool:
    try:
        return importlib.util.find_spec(home) is not None
    except ModuleNotFoundError:  # The package above it does not exist.
        return False


def _public(home: str) -> list[str]:
    module = importlib.import_module(home)
    names = getattr(module, "__all__", None) or dir(module)
    return [name for name in names if not name.startswith("_")]


class _Finder(MetaPathFinder, Loader):
    """Finds ``horovod.x``; a name that is none raises in words instead of being not found.

    Python asks it for ``from horovod.torch import x``, too, when the module has no ``x``.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("horovod."):
            return None
        if _is_there(fullname):
            return ModuleSpec(fullname, self, is_package=True)
        here, _, name = fullname.rpartition(".")
        # Without the module's name in it: Python passes over an error that has it.
        raise ModuleNotFoundError(f"cannot import {name!r} from {here!r}: {_missing(here, name)}")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Facade(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: names come when they are used."""


def take_over(package: ModuleType) -> None:
    """Make the package ``horovod``, and from now on all below it, stand for rueda."""
    package.__class__ = Facade
    package.__dict__["__version__"] = INTERFACE_VERSION
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
