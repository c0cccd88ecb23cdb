"""What a simulation of the control plane was asked for: plain values, checked beforehand."""

from __future__ import annotations

from dataclasses import dataclass

# What the ranks submit (csrc/bench/simulation/control_workload.h), and how headings say it.
CASES = {
    "cached": "the same tensors in each step",
    "uncached": "the first step of a job",
    "shapes": "a tenth of the tensors with a new shape in each step",
    "sets": "half of the tensors in two process sets",
    "join": "one rank has joined",
    "mix": "new shapes, new names, process sets and joins",
}
TOPOLOGIES = ("star", "tree")
DEFAULT_RANKS = tuple(1 << shift for shift in range(1, 11))
QUICK_RANKS = (2, 16, 256)
MOST_RANKS = 4096


@dataclass(frozen=True)
class Link:
    """What a message costs between two ranks.

    Attributes:
        latency_us: How long it is under way.
        gb_per_s: How fast its bytes pass a rank's port, decimal; 0: they take no time.
        message_us: How long either end computes for it.
    """

    latency_us: float
    gb_per_s: float
    message_us: float


NO_LINK = Link(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ControlSettings:
    """One table.

    Attributes:
        ranks: Numbers of simulated ranks, ascending.
        cases: Keys of ``CASES``.
        topologies: Of ``TOPOLOGIES``.
        tensors: How many each rank submits in a step.
        tensor_bytes: The size of each.
        within_host: The link between ranks of one host.
        between_hosts: The link between others.
        ranks_per_host: Consecutive ranks share a host.
        fan_out: In a tree, hosts below a host.
        patience_us: In a tree, how long a rank waits for those below it that are late.
        skew_us: Each rank submits at a random time up to this.
        seed: Of skew and ``mix``.
        rounds: Steps that are measured, with links and without.
    """

    ranks: tuple[int, ...] = DEFAULT_RANKS
    cases: tuple[str, ...] = tuple(CASES)
    topologies: tuple[str, ...] = TOPOLOGIES
    tensors: int = 300
    tensor_bytes: int = 1024
    within_host: Link = Link(0.2, 10.0, 0.1)
    between_hosts: Link = Link(5.0, 12.5, 1.0)
    ranks_per_host: int = 8
    fan_out: int = 4
    patience_us: float = 10_000.0
    skew_us: float = 0.0
    seed: int = 1
    rounds: int = 15


def goal_control(rounds: int) -> ControlSettings:
    """Return what the goals on the control plane name."""
    return ControlSettings(ranks=(2, 1024), cases=("cached", "uncached"), rounds=rounds)
