"""The job's 256-bit secret: where a rank finds it, and what is refused as one.

It comes from an inherited sealed memfd (``RUEDA_SECRET_FD``, what ruedarun hands down) or from a
private file (``RUEDA_SECRET_FILE``), never from an argument or an environment value, and is never
logged. Under a foreign launcher on one host there is none; rank 0 then makes one (_rendezvous.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

SECRET_BYTES = 32
FD_VARIABLE = "RUEDA_SECRET_FD"
FILE_VARIABLE = "RUEDA_SECRET_FILE"

# A secret that can still change or shrink was not made by a launcher of ours; the seals also tell
# it from whatever else a program may have opened under a number that was closed and used again.
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_MAX_FILE_BYTES = 4096


class SecretKeeper:
    """Reads the job's secret once and remembers it in memory, so that a second init finds it.

    Owns: the remembered bytes. Any thread may call it. Its repr does not show the secret.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remembered: tuple[str, bytes] | None = None

    def secret(self, env: Mapping[str, str]) -> bytes | None:
        """Return the 32-byte secret, or None where the launcher gave none.

        ``RUEDA_SECRET_FD`` is read first and its descriptor closed, so that programs started by
        this one do not inherit it; then ``RUEDA_SECRET_FILE``, read anew each time.

        Args:
            env: The environment to look in.

        Raises:
            ValueError: The descriptor or file is not what it must be. The text names the variable.
        """
        if FD_VARIABLE in env:
            return self._from_descriptor(env[FD_VARIABLE])
        if FILE_VARIABLE in env:
            return _from_file(env[FILE_VARIABLE])
        return None

    def _from_descriptor(self, text: str) -> bytes:
        with self._lock:
            if self._remembered is not None and self._remembered[0] == text:
                return self._remembered[1]
            secret = _take_descriptor(text)
            self._remembered = (text, secret)
            return secret


def _take_descriptor(text: str) -> bytes:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{FD_VARIABLE}={text!r} is not a descriptor number")
    descriptor = int(text)
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"{FD_VARIABLE}={text} is not an open memfd ({error}): the program that started this "
            "one closed it on the way. Start the script directly under ruedarun, pass the "
            f"descriptor on (subprocess: pass_fds), or use {FILE_VARIABLE}"
        ) from None
    if seals & _SEALS != _SEALS:
        raise ValueError(
            f"{FD_VARIABLE}={text} is a memfd without the seals write, shrink and grow; "
            "ruedarun seals it, so this is another file under its number"
        )
    # pread at 0: all ranks share one file offset, because they inherit one open file.
    content = os.pread(descriptor, SECRET_BYTES + 1, 0)
    if len(content) != SECRET_BYTES:
        raise ValueError(f"{FD_VARIABLE}={text} does not hold exactly {SECRET_BYTES} bytes")
    secret = _checked(content, f"{FD_VARIABLE}={text}")
    os.close(descriptor)
    return secret


def _from_file(name: str) -> bytes:
    label = f"{FILE_VARIABLE}={name}"
    # O_NONBLOCK so that a named pipe put there cannot hang the job (I6).
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(Path(name), flags)
    except (OSError, ValueError) as error:
        raise ValueError(f"{label} cannot be opened (links are not followed): {error}") from None
    try:
        _check_file(os.fstat(descriptor), label)
        content = _read_up_to(descriptor, _MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if not SECRET_BYTES <= len(content) <= _MAX_FILE_BYTES:
        raise ValueError(
            f"{label} must hold {SECRET_BYTES} to {_MAX_FILE_BYTES} bytes. Make it with: "
            f"(umask 077; head -c {SECRET_BYTES} /dev/urandom > {name}), then copy it to all hosts"
        )
    content = _checked(content, label)
    # Exactly 32 bytes are the secret itself. Anything longer is hashed, so that no entropy is lost
    # where the file holds hexadecimal text.
    return content if len(content) == SECRET_BYTES else hashlib.sha256(content).digest()


def _check_file(status: os.stat_result, label: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{label} is not a regular file")
    if status.st_uid != os.geteuid():
        raise ValueError(
            f"{label} belongs to user {status.st_uid}, this process runs as {os.geteuid()}; "
            "the secret must be a file of the job's own user"
        )
    if stat.S_IMODE(status.st_mode) & 0o177:
        raise ValueError(
            f"{label} has mode {stat.S_IMODE(status.st_mode):04o}, so others could read or change "
            "it. Run chmod 600 on it; if it was ever readable by others, make a new one"
        )


def _read_up_to(descriptor: int, limit: int) -> bytes:
    content = b""
    while len(content) < limit:
        piece = os.read(descriptor, limit - len(content))
        if not piece:
            break
        content += piece
    return content


def _checked(content: bytes, label: str) -> bytes:
    if not any(content):
        raise ValueError(f"{label} holds nothing but zeros: it was made but never written")
    return content
