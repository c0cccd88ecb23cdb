"""What a benchmark run was asked for: plain values, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass

# By PyTorch's names: the engine's numbers (csrc/core/dtype.h), and bytes of an element.
DTYPES: dict[str, tuple[int, int]] = {
    "float32": (7, 4),
    "float64": (8, 8),
    "float16": (5, 2),
    "bfloat16": (6, 2),
    "int8": (1, 1),
    "uint8": (0, 1),
    "int32": (3, 4),
    "int64": (4, 8),
}
# Reduce ops and collectives by the engine's numbers (csrc/core/types.h).
OPS = {"sum": 1, "average": 0, "min": 3, "max": 4, "product": 5}
COLLECTIVES = {"allreduce": 0, "allgather": 1, "broadcast": 2, "reducescatter": 4}
LEVELS = ("transport", "engine", "python")
ROADS = ("in-place", "staged", "gloo")
PEERS = ("gloo", "openmpi", "horovod", "sockets")
WORKLOADS = ("sizes", "many", "gradients", "beside")

DEFAULT_SIZES = tuple(8 << shift for shift in (0, 3, 7, 9, 11, 13, 15, 17, 19, 21, 23))
QUICK_SIZES = (8, 4 << 10, 64 << 10, 1 << 20, 16 << 20)


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes:
        ranks: Number of ranks.
        sizes: Message sizes in bytes, ascending.
        collective: A key of ``COLLECTIVES``.
        dtypes: Keys of ``DTYPES``.
        op: A key of ``OPS``.
        levels: Of ``LEVELS``: what drives rueda's roads.
        roads: Of ``ROADS``.
        peers: Of ``PEERS``.
        workloads: Of ``WORKLOADS``.
        rounds: Samples of each variant.
        sample_seconds: How long one sample should take, where calls are short.
        model: Whose training steps are measured; a key of ``models.MODELS``.
        compute_ms: How long such a step computes.
    """

    ranks: int = 2
    sizes: tuple[int, ...] = DEFAULT_SIZES
    collective: str = "allreduce"
    dtypes: tuple[str, ...] = ("float32",)
    op: str = "sum"
    levels: tuple[str, ...] = LEVELS
    roads: tuple[str, ...] = ROADS
    peers: tuple[str, ...] = PEERS
    workloads: tuple[str, ...] = ("sizes", "many")
    rounds: int = 15
    sample_seconds: float = 0.01
    model: str = "resnet50"
    compute_ms: int = 200
