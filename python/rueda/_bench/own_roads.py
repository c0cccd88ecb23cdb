"""rueda's own contenders: the backend alone, the engine from C++, and the calls of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch

import rueda
from rueda import _context
from rueda._bench.contender import (
    Contender,
    LimitContender,
    NativeContender,
    PythonContender,
    Unavailable,
)
from rueda._bench.plan import LIMIT, Case, Variant
from rueda._bench.session import Session
from rueda._bench.settings import COLLECTIVES, DTYPES, OPS
from rueda._bench_core import EngineProcedure, LimitProcedure, TransportProcedure
from rueda._torch_module import native

Call = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]


def own_contender(session: Session, case: Case, variant: Variant) -> Contender:
    """Make one of rueda's contenders, or the limit.

    Raises:
        Unavailable: This build or this job has no such road.
        ValueError: Likewise, in the engine's words.
    """
    if variant.level == LIMIT:
        return LimitContender(session.board, LimitProcedure(session.board, case.bytes), case)
    if variant.level == "transport":
        return _transport(session, case, variant)
    job = _job(session, variant)
    if variant.level == "engine":
        return NativeContender(session.board, engine_procedure(job, case, variant), case)
    return PythonContender(session.board, case, _python_call(job, case))


def _job(session: Session, variant: Variant) -> _context.Job:
    if variant.road == "gloo":
        return session.gloo_job()
    if session.job.engine.backend != "shm":
        raise Unavailable(f"the job's road is {session.job.engine.backend}, not shared memory")
    return session.job


def engine_procedure(job: _context.Job, case: Case, variant: Variant) -> EngineProcedure:
    """Make the procedure that submits and waits in C++."""
    return EngineProcedure(
        job.engine.capsule(),
        _name(case),
        kind=COLLECTIVES[case.collective],
        op=OPS[case.op],
        dtype=DTYPES[case.dtype][0],
        count=case.count,
        root=0 if case.collective == "broadcast" else -1,
        shared=variant.road == "in-place",
    )


def _transport(session: Session, case: Case, variant: Variant) -> Contender:
    procedure = TransportProcedure(
        session.board,
        session.transport(),
        kind=COLLECTIVES[case.collective],
        op=OPS[case.op],
        dtype=DTYPES[case.dtype][0],
        count=case.count,
        root=-1,
        shared=variant.road == "in-place",
    )
    if variant.road == "in-place":
        procedure.set_placements(session.placements(procedure.placement))
    return NativeContender(session.board, procedure, case)


def _name(case: Case) -> str:
    # Named, as gradients are: what is agreed on once is a bit afterwards.
    return f"bench.{case.kind}.{case.collective}.{case.dtype}.{case.count}"


def _python_call(job: _context.Job, case: Case) -> Call:
    """Return what a user's script would call for this case, in place where there is such a call."""
    if case.kind == "async":
        return _each_async(job, case)
    if case.kind in ("grouped", "gradients"):
        return _grouped(job, case)
    return _single(job, case)


def _single(job: _context.Job, case: Case) -> Call:
    name, op = f"{_name(case)}.python", OPS[case.op]
    if job is _context.job():
        calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "allreduce": lambda tensor: rueda.allreduce_(tensor, name=name, op=op),
            "broadcast": lambda tensor: rueda.broadcast_(tensor, 0, name=name),
            "allgather": lambda tensor: rueda.allgather(tensor, name=name),
            "reducescatter": lambda tensor: rueda.reducescatter(tensor, name=name, op=op),
        }
        call = calls[case.collective]
        return lambda tensors: [call(tensors[0])]
    if case.collective != "allreduce":
        raise Unavailable("a second job beside the first one is asked for all-reduces alone")
    operations = job.operations

    def beside(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return [operations.allreduce_now(tensors[0], tensors[0], name, op)]

    return beside


def _each_async(job: _context.Job, case: Case) -> Call:
    operations, op = job.operations, OPS[case.op]
    names = [f"{_name(case)}.{number}" for number in range(len(case.shapes))]
    if job is _context.job():

        def by_function(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            handles = [
                rueda.allreduce_async_(tensor, name=name, op=op)
                for tensor, name in zip(tensors, names, strict=True)
            ]
            return [cast("torch.Tensor", rueda.synchronize(handle)) for handle in handles]

        return by_function

    def beside(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        handles = [
            operations.allreduce(tensor, tensor, name, op)
            for tensor, name in zip(tensors, names, strict=True)
        ]
        return [cast("torch.Tensor", operations.wait(handle)) for handle in handles]

    return beside


def _grouped(job: _context.Job, case: Case) -> Call:
    operations, name, op = job.operations, _name(case), OPS[case.op]
    if job is _context.job():
        return lambda tensors: rueda.grouped_allreduce_(tensors, name=name, op=op)

    def beside(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        handle = operations.submit(
            native.ALLREDUCE, tensors, tensors, name, op=op, grouped=True, urgent=True
        )
        return cast("list[torch.Tensor]", operations.wait(handle))

    return beside
