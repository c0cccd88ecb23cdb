"""Session: what one rank holds during a run: the board, rueda's jobs, and the peers.

rueda's first job is the usual one. The others are made beside it, each by a meeting of its own:
one with the Gloo road, and one whose backend is driven by hand. They sleep while it is not their
turn.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

import rueda
from rueda import _context, _core
from rueda._bench.contender import Unavailable
from rueda._bench_core import Board, TransportJob
from rueda._environment import environment
from rueda._world import World, detect_world


class Session:
    """One rank's part of a run; for one thread."""

    def __init__(self, board_path: str) -> None:
        rueda.init()
        self.job = _context.job()
        file = os.open(board_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.board = Board(file, rueda.rank(), rueda.size())
        finally:
            os.close(file)
        self._variables = environment()
        self._gloo: _context.Job | None = None
        self._transport: TransportJob | None = None

    def gather(self, *figures: float) -> list[list[float]]:
        """Tell the others some figures and return everybody's, by rank."""
        for index, figure in enumerate(figures):
            self.board.post(index, figure)
        self.board.meet()
        told = [
            [self.board.read(rank, index) for index in range(len(figures))]
            for rank in range(self.board.size)
        ]
        # Nobody writes again before all have read.
        self.board.meet()
        return told

    def together(self, make: Callable[[], object]) -> str:
        """Do something that may be unavailable on all ranks; if it is on one, it is on all.

        Returns:
            Why it is unavailable here, or that it is on another rank; empty if it was done.
        """
        why = ""
        try:
            make()
        except (Unavailable, ValueError, RuntimeError, OSError) as error:
            why = str(error) or type(error).__name__
        failed = [rank for rank, [mark] in enumerate(self.gather(float(bool(why)))) if mark]
        if not failed or why:
            return why
        return f"rank {failed[0]} has it not"

    def gloo_job(self) -> _context.Job:
        """Return the job beside the first one that moves its data by Gloo.

        Raises:
            ValueError: This build has no Gloo.
        """
        if self._gloo is None:
            variables = {**self._variables, "RUEDA_BACKEND": "gloo"}
            config, _ = _core.parse_config(variables)
            self._gloo = _context._start(self._world(), config, variables, None)
        return self._gloo

    def transport(self) -> TransportJob:
        """Return the shm backend without an engine.

        Raises:
            ValueError: The ranks share no memory.
        """
        if self._transport is None:
            world, config = self._world(), _core.parse_config(self._variables)[0]
            meeting = _context._meet(world, config, self._variables, {})
            self._transport = TransportJob(
                rank=world.rank,
                size=world.size,
                variables={
                    name: text
                    for name, text in self._variables.items()
                    if name.startswith("RUEDA_")
                },
                arena_fds=meeting.arena_fds,
                pidfds=meeting.pidfds,
                stream_fds=meeting.stream_fds,
            )
        return self._transport

    def placements(self, own: int) -> Sequence[int]:
        """Exchange the places of a bucket in the ranks' arenas."""
        return [int(place) for [place] in self.gather(float(own))]

    def close(self) -> None:
        """Leave all jobs."""
        self.board.meet()
        if self._gloo is not None:
            _context._end(self._gloo, "")
        self._transport = None
        rueda.shutdown()

    def _world(self) -> World:
        return detect_world(self._variables, socket.gethostname())
