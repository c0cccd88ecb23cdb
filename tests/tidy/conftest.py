"""The repository's texts by path, for checks that are functions from texts to complaints.

A check takes a dict of path and text and returns one line for each breach, so each can be tried on
planted texts beside the real ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What builds, tests and tools leave behind, wherever it lies.
LEFT_BEHIND = {"__pycache__", "build", "dist"}

Texts = dict[str, str]


def files_under(start: Path) -> Iterator[Path]:
    """Yield the files of a folder, or the one file; hidden folders are not looked into."""
    if start.is_file():
        yield start
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(f for f in folders if f not in LEFT_BEHIND and not f.startswith("."))
        yield from (Path(folder, name) for name in sorted(names))


def read_texts(*places: str, suffixes: tuple[str, ...]) -> Texts:
    """Return the texts of files, or of all files under folders, whose names end so."""
    texts = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for place in places
        for path in files_under(ROOT / place)
        if path.name.endswith(suffixes)
    }
    assert texts, f"no {suffixes} in {places}: the check would pass for want of files"
    return texts


@pytest.fixture(scope="session")
def texts_of() -> Callable[..., Texts]:
    """``texts_of(place, ..., suffixes=(...))``: see ``read_texts``."""
    return read_texts


@pytest.fixture(scope="session")
def cpp_code() -> Texts:
    """The C++ of the library."""
    return read_texts("csrc", suffixes=(".cc", ".h", ".inc"))


@pytest.fixture(scope="session")
def python_code() -> Texts:
    """The Python of the library."""
    return read_texts("python/rueda", suffixes=(".py",))


@pytest.fixture(scope="session")
def all_cpp() -> Texts:
    """All C++, tests included."""
    return read_texts("csrc", "tests/cpp", "benchmarks", suffixes=(".cc", ".h", ".inc"))


@pytest.fixture(scope="session")
def all_python() -> Texts:
    """All Python, tests, examples and tools included."""
    places = ("python", "tests", "examples", "benchmarks", "scripts")
    return read_texts(*places, suffixes=(".py",))
