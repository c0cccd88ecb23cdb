"""Rows made by hand, for what is computed and printed from them."""

from __future__ import annotations

from rueda._bench.plan import Case, Variant
from rueda._bench.rows import Measured, Row, Sample

LIMIT = Variant("limit", "")


def case_of(
    count: int, *variants: Variant, dtype: str = "float32", kind: str = "size", op: str = "sum"
) -> Case:
    return Case(kind, "allreduce", dtype, op, ((count,),), (LIMIT, *variants))


def measured(*seconds: float, trip_ns: float = 120.0, **values: object) -> Measured:
    samples = tuple(Sample(one, trip_ns, trip_ns) for one in seconds)
    middle = sorted(seconds)[len(seconds) // 2] if seconds else 0.0
    return Measured(samples, p50_s=middle, p99_s=2 * middle, calls=7, **values)  # type: ignore[arg-type]


def row_of(
    level: str,
    road: str,
    count: int,
    *seconds: float,
    ranks: int = 2,
    limit: tuple[float, ...] = (),
    dtype: str = "float32",
    kind: str = "size",
    trip_ns: float = 120.0,
    **values: object,
) -> Row:
    variant = Variant(level, road)
    return Row(
        case_of(count, variant, dtype=dtype, kind=kind),
        variant,
        ranks,
        2,
        measured(*seconds, trip_ns=trip_ns, **values),
        measured(*limit) if limit else None,
    )
