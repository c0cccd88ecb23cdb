"""Letters: what parent, launcher and ranks of ``rueda.run`` tell each other.

A letter is an anonymous file (memfd) whose descriptor is inherited: eight bytes with the length of
the head, the head as a JSON object, then a body, which is pickled objects or nothing. The length is
written last, so a writer that dies leaves no letter, however far it had come. A file takes any
amount, so no writer ever waits for a reader.

Nothing here imports rueda: ranks read a letter before they know where rueda lies.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")


def blank(name: str) -> int:
    """Return a new descriptor to write a letter to; it is inherited only where it is passed on."""
    return os.memfd_create(f"rueda-{name}", os.MFD_CLOEXEC)


def write_letter(
    descriptor: int, head: dict[str, Any], body: Callable[[BinaryIO], None] | None = None
) -> None:
    """Write a letter over whatever the file held; an exception of ``body`` leaves none."""
    # Opened anew, for a file offset of its own.
    with open(f"/proc/self/fd/{descriptor}", "r+b", closefd=True) as file:  # noqa: PTH123
        file.truncate(0)
        text = json.dumps(head).encode()
        file.write(bytes(_LENGTH.size) + text)
        if body is not None:
            body(file)
        file.flush()
        os.pwrite(file.fileno(), _LENGTH.pack(len(text)), 0)


def read_letter(descriptor: int) -> tuple[dict[str, Any], BinaryIO] | None:
    """Return a letter's head, and a file at the begin of its body; None if none was finished."""
    file = open(f"/proc/self/fd/{descriptor}", "rb")  # noqa: PTH123, SIM115 - the caller closes it
    start = file.read(_LENGTH.size)
    if len(start) < _LENGTH.size or start == bytes(_LENGTH.size):
        file.close()
        return None
    head: dict[str, Any] = json.loads(file.read(_LENGTH.unpack(start)[0]))
    return head, file
