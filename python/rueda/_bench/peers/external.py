"""A peer whose ranks are programs of their own, started by its own launcher.

Each program connects to a Unix socket of rank 0 here, says its rank, and blocks in reading, so it
spins only while it is its turn. A request is a line ``run KIND TENSORS COUNT DTYPE OP CALLS BLOCK``
(COUNT elements in each tensor; no calls: check the result once), or for training steps
``train MODEL PRODUCTS COMPUTES CALLS``; the answer is ``ok SECONDS WRONG [BLOCK_SECONDS...]`` or
``no REASON``.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rueda._bench.contender import Contender, Unavailable
from rueda._bench.plan import Case
from rueda._bench.session import Session

_START_LIMIT_S = 60.0
_ANSWER_LIMIT_S = 120.0


# Seconds of a call, wrong elements, seconds of each block.
Answer = tuple[float, int, list[float]]


class _Line(Protocol):
    """A program's connection as a file."""

    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def readline(self) -> bytes: ...
    def close(self) -> None: ...


class ExternalPeer:
    """The programs of one peer, held by rank 0; the other ranks' objects know only the board."""

    def __init__(
        self,
        session: Session,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
    ) -> None:
        self._session = session
        self._name = name
        self._lines: list[_Line] = []
        self._stack = contextlib.ExitStack()
        self._output = folder / f"{name}.output"
        if session.board.rank == 0:
            self._start([*command, str(folder / name)], environ, folder / name)

    def contender(self, case: Case) -> Contender:
        """Return a contender that lets the programs do this case."""
        tensors = len(case.shapes)
        what = f"{case.kind} {tensors} {case.count // tensors} {case.dtype} {case.op}"
        return ExternalContender(self, lambda calls, block: f"run {what} {calls} {block}")

    @property
    def leads(self) -> bool:
        """Whether the programs are this rank's."""
        return self._session.board.rank == 0

    def ask(self, request: str) -> list[Answer]:
        """Let all programs do something together; what each answered, by rank.

        Raises:
            Unavailable: One answered ``no``, or has ended.
        """
        try:
            for line in self._lines:
                line.write(f"{request}\n".encode())
                line.flush()
            answers = [line.readline().decode().split() for line in self._lines]
        except OSError as error:
            raise Unavailable(f"{self._name} does not answer: {error}") from None
        for answer in answers:
            if not answer:
                raise Unavailable(f"{self._name} has ended{self._last_words()}")
            if answer[0] != "ok":
                raise Unavailable(" ".join(answer[1:]))
        return [
            (float(answer[1]), int(answer[2]), [float(word) for word in answer[3:]])
            for answer in answers
        ]

    def close(self) -> None:
        """Hang up, which ends the programs, and wait for their launcher."""
        self._stack.close()

    def _start(self, command: list[str], environ: Mapping[str, str], path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener, self._output.open("wb") as output:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(1.0)
            try:
                process = subprocess.Popen(
                    command,
                    env=dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            except OSError as error:
                raise Unavailable(f"{command[0]} does not start: {error}") from None
            self._stack.callback(_end, process)
            try:
                self._lines = self._accept_all(listener, process)
            except BaseException:
                self._stack.close()
                raise

    def _accept_all(self, listener: socket.socket, process: subprocess.Popen[bytes]) -> list[_Line]:
        by_rank: dict[int, _Line] = {}
        tries = 0
        while len(by_rank) < self._session.board.size:
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                tries += 1
                if process.poll() is not None or tries > _START_LIMIT_S:
                    raise Unavailable(f"{self._name} did not start{self._last_words()}") from None
                continue
            connection.settimeout(_ANSWER_LIMIT_S)
            line = connection.makefile("rwb")
            self._stack.callback(_hang_up, connection, line)
            by_rank[int(line.readline())] = line
        return [by_rank[rank] for rank in sorted(by_rank)]

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._output.read_text(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip(" -*")]
            if said:
                return f": {said[-1][:200]}"
        return ""


def _hang_up(connection: socket.socket, line: _Line) -> None:
    """Close both ends of a line, also where the program has ended before it read all."""
    with contextlib.suppress(OSError):
        line.close()
    connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a launcher whose programs have been hung up on; no longer than needed."""
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ExternalContender:
    """What programs are asked for, by the calls in a sample and in a block; rank 0 asks."""

    def __init__(self, peer: ExternalPeer, request: Callable[[int, int], str]) -> None:
        self._peer = peer
        self._request = request

    def check(self) -> int:
        if not self._peer.leads:
            return 0
        return sum(wrong for _, wrong, _ in self._peer.ask(self._request(0, 1)))

    def sample(self, calls: int, block: int) -> tuple[float, Sequence[float]]:
        if not self._peer.leads:
            return 0.0, ()
        answers = self._peer.ask(self._request(calls, block))
        return max(answers, key=lambda answer: answer[0])[0], _slowest_of(answers)

    def close(self) -> None:
        """Nothing: the programs keep nothing between requests but a model that is trained."""


def _slowest_of(answers: Sequence[Answer]) -> list[float]:
    return max(answers, key=lambda answer: answer[0])[2]
