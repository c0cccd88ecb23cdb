"""Horovod, where it can be imported: its own processes, started by horovodrun."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rueda._bench.contender import Contender, Unavailable
from rueda._bench.peers.external import ExternalContender, ExternalPeer
from rueda._bench.plan import Case
from rueda._bench.session import Session

# In a folder of its own, which is the first place where it looks for modules.
_PROGRAM = Path(__file__).with_name("programs") / "horovod_program.py"


class Horovod:
    """The programs under horovodrun."""

    def __init__(self, session: Session, folder: Path, environ: Mapping[str, str]) -> None:
        if importlib.util.find_spec("horovod") is None:
            raise Unavailable("no module named horovod")
        if shutil.which("horovodrun", path=environ.get("PATH")) is None:
            raise Unavailable("horovodrun is not on PATH")
        command = ["horovodrun", "-np", str(session.board.size), sys.executable, str(_PROGRAM)]
        passed = {name: text for name, text in environ.items() if not name.startswith("RUEDA_")}
        self._peer = ExternalPeer(session, "horovod", command, passed, folder)

    def contender(self, case: Case) -> Contender:
        """Return horovod.torch's calls for this case."""
        if case.collective != "allreduce":
            raise Unavailable("Horovod's program does all-reduces")
        return self._peer.contender(case)

    def steps(self, model: str, products: int, *, bare: bool) -> Contender:
        """Return training steps, which compute so many products of matrices or, bare, none."""
        computing = f"{model} {products} {int(not bare)}"
        return ExternalContender(self._peer, lambda calls, _: f"train {computing} {calls}")

    def close(self) -> None:
        """End the programs."""
        self._peer.close()
