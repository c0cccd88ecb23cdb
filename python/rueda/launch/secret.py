"""The job's secret, where only inherited descriptors lead to it.

It never becomes an argument, an environment value, a file name or a log line: a worker learns
the number of a descriptor and reads 32 bytes there.
"""

from __future__ import annotations

import fcntl
import os

SECRET_BYTES = 32


def sealed_secret() -> int:
    """Return a descriptor of an anonymous, sealed file that holds a new random secret.

    The file can be neither changed nor resized. All workers share its one description, so they
    read it with ``os.pread`` at offset 0. The caller owns the descriptor.
    """
    descriptor = os.memfd_create("rueda-secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, os.urandom(SECRET_BYTES))
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
