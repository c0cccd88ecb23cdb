"""Open MPI: a small C++ program, compiled by mpicxx when it is needed and started by mpirun."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rueda._bench.contender import Contender, Unavailable
from rueda._bench.peers.external import ExternalPeer
from rueda._bench.plan import Case
from rueda._bench.session import Session

_SOURCE = Path(__file__).with_name("programs") / "openmpi_program.cc"
_COMPILE_LIMIT_S = 60.0


class OpenMpi:
    """The programs under mpirun."""

    def __init__(
        self, session: Session, folder: Path, environ: Mapping[str, str], cores: int
    ) -> None:
        size = session.board.size
        program = folder / "openmpi-program"
        if session.board.rank == 0:
            compile_program(program, environ)
        command = ["mpirun", "-np", str(size)]
        if os.geteuid() == 0:
            command.append("--allow-run-as-root")
        if size > cores:
            command.append("--oversubscribe")
        # What rueda's launcher said to this rank is no business of theirs.
        passed = {name: text for name, text in environ.items() if not name.startswith("RUEDA_")}
        self._peer = ExternalPeer(session, "openmpi", [*command, str(program)], passed, folder)

    def contender(self, case: Case) -> Contender:
        """Return MPI_Allreduce in place."""
        if case.kind != "size":
            raise Unavailable("Open MPI's program reduces one tensor")
        if case.dtype in ("float16", "bfloat16"):
            raise Unavailable(f"MPI has no {case.dtype}")
        return self._peer.contender(case)

    def close(self) -> None:
        """End the programs."""
        self._peer.close()


def compile_program(program: Path, environ: Mapping[str, str]) -> None:
    """Compile the program to a path.

    Raises:
        Unavailable: There is no compiler for MPI, or it failed.
    """
    path = environ.get("PATH")
    for tool in ("mpicxx", "mpirun"):
        if shutil.which(tool, path=path) is None:
            raise Unavailable(f"{tool} is not on PATH (Debian: apt-get install libopenmpi-dev)")
    command = ["mpicxx", "-O1", "-std=c++17", "-o", str(program), str(_SOURCE)]
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMPILE_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"mpicxx: {error}") from None
    if done.returncode != 0:
        first = (done.stderr.strip() or "no words").split("\n")[0]
        raise Unavailable(f"mpicxx failed (Debian: apt-get install libopenmpi-dev): {first[:200]}")
