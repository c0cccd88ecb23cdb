"""Runs the simulation of the control plane; see csrc/bench/simulation. No rank is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from rueda._bench.control_rows import ControlFigures, ControlRow
from rueda._bench.control_settings import NO_LINK, ControlSettings, Link
from rueda._bench_core import ControlSimulation


def simulate(settings: ControlSettings, case: str, topology: str, ranks: int) -> ControlRow:
    """Simulate one row.

    Raises:
        RuntimeError: Ranks planned differently, or one got no answer.
    """
    links = (settings.within_host, settings.between_hosts)
    linked = simulation(settings, case, topology, ranks, links)
    bare = simulation(settings, case, topology, ranks, (NO_LINK, NO_LINK))
    steps, bare_steps = [], []
    # In turn, as on a busy machine both are then measured in the same seconds.
    for _ in range(settings.rounds):
        steps.append(_step(linked))
        bare_steps.append(_step(bare))
    return ControlRow(case, topology, ranks, tuple(steps), tuple(bare_steps))


def row_names(settings: ControlSettings) -> Iterator[tuple[str, str, int]]:
    """Name the rows of a table, in order: case, topology, ranks."""
    for case in settings.cases:
        for topology in settings.topologies:
            for ranks in settings.ranks:
                yield case, topology, ranks


def simulation(
    settings: ControlSettings, case: str, topology: str, ranks: int, links: tuple[Link, Link]
) -> ControlSimulation:
    """Return one that is to be stepped, with these links within a host and between hosts."""
    return ControlSimulation(
        case=case,
        ranks=ranks,
        tensors=settings.tensors,
        tensor_bytes=settings.tensor_bytes,
        seed=settings.seed,
        skew=settings.skew_us * 1e-6,
        within_host=_numbers(links[0]),
        between_hosts=_numbers(links[1]),
        ranks_per_host=settings.ranks_per_host,
        topology=topology,
        fan_out=settings.fan_out,
        patience=settings.patience_us * 1e-6,
    )


def _numbers(link: Link) -> tuple[float, float, float]:
    return link.latency_us * 1e-6, link.gb_per_s * 1e9, link.message_us * 1e-6


def _step(simulation: ControlSimulation) -> ControlFigures:
    step = simulation.step()
    return ControlFigures(**{one.name: getattr(step, one.name) for one in fields(ControlFigures)})
