"""What the ranks of a run are told, and where they begin. Brings no PyTorch to whoever sends it."""

from __future__ import annotations

from dataclasses import dataclass

from rueda._bench.plan import Case


@dataclass(frozen=True)
class Work:
    """What the ranks of a run are told.

    Attributes:
        cases: What to measure.
        rounds: Samples of each contender.
        sample_seconds: Aimed length of one.
        board_path: The file of the board.
        events_path: Where rank 0 writes.
        folder: An empty folder for the run's sockets and programs.
    """

    cases: tuple[Case, ...]
    rounds: int
    sample_seconds: float
    board_path: str
    events_path: str
    folder: str


def do(task: Work) -> None:
    """Do a rank's part of a run."""
    from rueda._bench.worker import work  # noqa: PLC0415 - brings PyTorch

    work(task)
