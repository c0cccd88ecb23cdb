"""How one worker is started: its process group, its parent-death signal, its descriptors."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rueda.launch.guardian import Guardian
from rueda.launch.prctl import Prctl, die_with_parent
from rueda.launch.preflight import Command


@dataclass(frozen=True)
class Inheritance:
    """What a worker gets at its start.

    Attributes:
        environ: Its whole environment.
        stdout: Descriptor that becomes its standard output.
        stderr: Descriptor that becomes its standard error.
        passed: Descriptors that it inherits under the same numbers.
    """

    environ: Mapping[str, str]
    stdout: int
    stderr: int
    passed: tuple[int, ...]


def start(
    command: Command, inheritance: Inheritance, guardian: Guardian, prctl: Prctl
) -> subprocess.Popen[bytes]:
    """Start one worker and return once it has executed its program.

    Standard input is /dev/null: each worker leads a process group of its own, and a background
    group that reads a terminal is stopped by it.

    Raises:
        OSError: The program cannot be executed, or there is no room for another process.
    """
    return subprocess.Popen(
        list(command.argv),
        executable=command.executable,
        env=dict(inheritance.environ),
        stdin=subprocess.DEVNULL,
        stdout=inheritance.stdout,
        stderr=inheritance.stderr,
        pass_fds=inheritance.passed,
        preexec_fn=_before_exec(os.getpid(), guardian, prctl),  # noqa: PLW1509 - one thread only
    )


def _before_exec(launcher: int, guardian: Guardian, prctl: Prctl) -> Callable[[], None]:
    """Return what a child does between fork and exec.

    Python code may run there only because the launcher has a single thread: no lock can be held
    by a thread that the fork left behind. The launcher must therefore stay single-threaded. The
    alternative, a stub that execs the worker, costs each worker a second interpreter start.
    """

    def before_exec() -> None:
        os.setpgid(0, 0)
        if not die_with_parent(prctl, launcher, signal.SIGKILL):
            os._exit(128 + signal.SIGKILL)
        guardian.enrol(os.getpid())

    return before_exec
