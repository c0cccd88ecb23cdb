"""Objects as bytes: the one place that pickles.

What is read here came from a rank of the same job, over a connection that both ends have proven, or
from a process that this one started, through a descriptor that it inherited.
"""

from __future__ import annotations

from typing import BinaryIO

import cloudpickle  # type: ignore[import-untyped]


def to_bytes(obj: object) -> bytes:
    """Return an object as bytes; functions and classes of scripts and notebooks by value."""
    data: bytes = cloudpickle.dumps(obj)
    return data


def from_bytes(data: bytes) -> object:
    """Return the object again."""
    return cloudpickle.loads(data)


def write(obj: object, file: BinaryIO) -> None:
    """Write an object to a file, piece by piece: large ones are not in memory twice."""
    cloudpickle.dump(obj, file)


def read(file: BinaryIO) -> object:
    """Read the next object of a file."""
    return cloudpickle.load(file)
