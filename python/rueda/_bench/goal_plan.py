"""What ``rueda bench --goals`` measures: the cases that the goals name, on 2 and on 4 ranks."""

from __future__ import annotations

from dataclasses import replace

from rueda._bench.settings import Settings

_KIB, _MIB = 1 << 10, 1 << 20
_SIZES = (8, 4 * _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB, _MIB, 4 * _MIB, 16 * _MIB, 64 * _MIB)


def goal_settings(settings: Settings) -> list[Settings]:
    """Return the runs, in order; roads, peers, rounds and sample lengths are the caller's."""
    two = replace(settings, ranks=2, sizes=_SIZES, workloads=("sizes", "many", "gradients"))
    narrow = replace(
        settings,
        ranks=2,
        sizes=(64 * _MIB,),
        dtypes=("bfloat16", "float16"),
        levels=("engine",),
        roads=("in-place",),
        peers=tuple(peer for peer in settings.peers if peer == "gloo"),
        workloads=("sizes",),
    )
    four = replace(settings, ranks=4, sizes=(8, _MIB, 64 * _MIB), workloads=("sizes", "beside"))
    train = replace(settings, ranks=2, workloads=("train",))
    return [two, narrow, four, train]
