"""The C++ core of ``rueda bench``; see csrc/bench.

Everything that waits lets go of the GIL. What a build or a job has not raises ValueError, what goes
wrong RuntimeError.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

BOARD_BYTES: Final[int]
MOST_RANKS: Final[int]

class Board:
    """Where the ranks of a run meet, in a file that all map; for one thread."""

    def __init__(self, file: int, rank: int, size: int) -> None: ...
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def meet(self) -> None:
        """Sleep until all ranks have come as often."""

    def start_line(self) -> None:
        """Spin and yield until all ranks have come as often."""

    def post(self, index: int, figure: float) -> None:
        """Show a figure, from 0 to 14, that others read after the next meeting."""

    def read(self, rank: int, index: int) -> float: ...
    def probe(self) -> float:
        """Return the round trip of a cache line between the ranks in nanoseconds; spins."""

class Procedure:
    """One collective on memory of its own, again and again."""

    def call(self) -> None: ...
    @property
    def input(self) -> memoryview: ...
    @property
    def output(self) -> memoryview:
        """What the last call left; valid until the next one."""

    @property
    def wants_fresh_input(self) -> bool: ...

class LimitProcedure(Procedure):
    def __init__(self, board: Board, bytes: int) -> None: ...

class EngineProcedure(Procedure):
    def __init__(
        self,
        engine: Any,
        name: str,
        *,
        kind: int,
        op: int,
        dtype: int,
        count: int,
        root: int,
        shared: bool,
    ) -> None: ...

class TransportJob:
    """The shm backend of a job without an engine; takes the descriptors over."""

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        variables: Mapping[str, str],
        arena_fds: Sequence[int],
        pidfds: Sequence[int],
        stream_fds: Sequence[int],
    ) -> None: ...

class TransportProcedure(Procedure):
    def __init__(
        self,
        board: Board,
        job: TransportJob,
        *,
        kind: int,
        op: int,
        dtype: int,
        count: int,
        root: int,
        shared: bool,
    ) -> None: ...
    @property
    def placement(self) -> int: ...
    def set_placements(self, placements: Sequence[int]) -> None: ...

class SocketProcedure(Procedure):
    def __init__(
        self,
        *,
        rank: int,
        size: int,
        next: int,
        previous: int,
        op: int,
        dtype: int,
        count: int,
    ) -> None: ...

class Sample:
    seconds: float
    call_seconds: list[float]

def measure(board: Board, procedure: Procedure, calls: int, block: int) -> Sample: ...

class BesideFigures:
    alone_per_second: float
    waking_per_second: float
    beside_per_second: float
    call_seconds: list[float]

class ControlStep:
    """One step of a simulated control plane; times in seconds."""

    total: float
    up: float
    decide: float
    down: float
    plan: float
    root_cpu: float
    other_cpu: float
    busiest_cpu: float
    messages: int
    root_messages: int
    bytes: int
    root_bytes: int
    frames: int

class ControlSimulation:
    """Steps of the control plane with simulated ranks.

    A link is its latency in seconds, bytes a second (0: they take no time), and the seconds that
    either end computes for a message.
    """

    def __init__(
        self,
        *,
        case: str,
        ranks: int,
        tensors: int,
        tensor_bytes: int,
        seed: int,
        skew: float,
        within_host: tuple[float, float, float],
        between_hosts: tuple[float, float, float],
        ranks_per_host: int,
        topology: str,
        fan_out: int,
        patience: float,
        misplans: int = -1,
    ) -> None: ...
    def step(self) -> ControlStep: ...

def measure_beside(procedure: Procedure, slices: int) -> BesideFigures: ...
