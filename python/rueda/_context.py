"""The job of this process: from ``init`` to ``shutdown``, and who this rank is in it."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rueda import _core, _failure_report
from rueda import _stall as _stall  # noqa: PLC0414 - the engine asks it, and nobody else
from rueda._autotune_result import with_result
from rueda._environment import environment
from rueda._reduce_op import ReduceOp
from rueda._rendezvous import Meeting, Peer, meet
from rueda._secret import SecretKeeper
from rueda._shortcuts import shortcuts
from rueda._updates import Updates
from rueda._version import __version__
from rueda._world import World, check_communicator, detect_world
from rueda.exceptions import HorovodInternalError, NotInitializedError

if TYPE_CHECKING:
    from rueda import _torch
    from rueda._gradient_reduction import GradientReduction
    from rueda.process_sets import ProcessSet

_NOT_INITIALISED = "[R102] rueda is not initialised: call rueda.init() first"
# Settings that would split the ranks if they differed.
_AGREED = (
    "backend",
    "arena_bytes",
    "reducer_bucket_bytes",
    "reducer_first_bucket_bytes",
    "reducer_learn",
)


@dataclass(frozen=True)
class Job:
    """Everything that lives from init to shutdown."""

    world: World
    config: _core.Config
    engine: _core.Engine
    operations: _torch.Operations
    direct_calls: Mapping[str, Callable[..., Any]]  # see _shortcuts.py
    # By number, with all objects that stand for the same set.
    process_sets: dict[int, list[ProcessSet]]
    dynamic_process_sets: bool  # whether they may come and go after init
    is_homogeneous: bool  # whether all hosts have as many ranks
    epoch: int  # another one for each job of this process, the same on all ranks
    roster: tuple[Peer, ...]  # the ranks in order
    # Whose hooks are to go with the job.
    reductions: weakref.WeakSet[GradientReduction] = field(default_factory=weakref.WeakSet)
    updates: Updates = field(default_factory=Updates)


class _Process:
    """What this process remembers across jobs. Guarded by ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.job: Job | None = None
        self.secrets = SecretKeeper()
        self.meetings = 0
        self.next_handle = 0
        self.names: Counter[str] = Counter()
        self.hooked = False

    def enter(self, job: Job | None) -> None:
        """Be in this job from here on, or in none."""
        self.job = job
        shortcuts.lead_to({} if job is None else job.direct_calls)


_process = _Process()


def init(
    comm: Sequence[int] | Any | None = None,
    process_sets: Sequence[ProcessSet] | str | None = None,
) -> None:
    """Join the job that this process was started in; all ranks call it.

    Calling it again does nothing until ``shutdown``; afterwards it starts anew. Started without a
    launcher, this is a job of one rank.

    Args:
        comm: None, the list of all ranks, or an mpi4py communicator of all of them in order.
        process_sets: The process sets that are there from the beginning, the same list on all
            ranks; or "dynamic" to add and remove them later, as RUEDA_DYNAMIC_PROCESS_SETS=1
            allows, too.

    Raises:
        ValueError: A variable or an argument is wrong; nothing was started.
        HorovodInternalError: Ranks are missing, disagree, or died meanwhile; the same on all.
    """
    with _process.lock:
        if _process.job is not None:
            return
        if _abandoned:
            raise _forked()
        env = environment()
        world = detect_world(env, socket.gethostname())
        _failure_report.install(world, env)
        # Only rank 0's limits count, so only rank 0 needs the file.
        tuned = with_result(env) if world.rank == 0 else env
        config, warnings = _core.parse_config(tuned)
        check_communicator(world, comm)
        if world.rank == 0:
            for warning in warnings:
                print(f"[rueda, rank 0] warning: {warning}", file=sys.stderr)
        _process.enter(_start(world, config, env, process_sets))
        _hook_process()


def _start(
    world: World,
    config: _core.Config,
    env: dict[str, str],
    process_sets: Sequence[ProcessSet] | str | None,
    watched: Mapping[Peer, int] | None = None,
) -> Job:
    # Here, so that a missing or foreign PyTorch is said before anybody waits for this rank.
    from rueda._finishing import unfinished  # noqa: PLC0415
    from rueda._process_set_setup import checked_sets, register_all  # noqa: PLC0415
    from rueda._timeline import start_configured  # noqa: PLC0415
    from rueda._torch_module import native  # noqa: PLC0415
    from rueda.process_sets import global_process_set  # noqa: PLC0415

    sets = checked_sets(process_sets)
    is_dynamic = process_sets == "dynamic" or bool(config.dynamic_process_sets)
    meeting = _meet(world, config, env, _facts(config, is_dynamic, len(sets)), watched)
    engine = _start_engine(world, config, meeting)
    operations = native.Operations(engine.capsule(), _process.next_handle)
    job = Job(
        world=world,
        config=config,
        engine=engine,
        operations=operations,
        direct_calls=native.direct_calls(
            operations,
            op_type=ReduceOp,
            global_process_set=global_process_set,
            unfinished=unfinished,
        ),
        process_sets={0: [global_process_set]},
        dynamic_process_sets=is_dynamic,
        is_homogeneous=len(set(Counter(peer.host for peer in meeting.roster).values())) == 1,
        epoch=meeting.epoch,
        roster=meeting.roster,
    )
    doing = "start its timeline"
    try:
        start_configured(job)
        doing = "register its process sets"
        if sets:
            register_all(job, sets)
    except BaseException:
        _end(job, f"it could not {doing}")
        raise
    return job


def _facts(config: _core.Config, is_dynamic: bool, number_of_sets: int) -> dict[str, str]:
    """Return what has to be equal on all ranks, by the words in which a difference is told."""
    return {
        **{f"RUEDA_{name.upper()}": str(getattr(config, name)) for name in _AGREED},
        "RUEDA_DYNAMIC_PROCESS_SETS": str(int(is_dynamic)),
        "the number of sets in init(process_sets=...)": str(number_of_sets),
    }


def _meet(
    world: World,
    config: _core.Config,
    env: dict[str, str],
    facts: dict[str, str],
    watched: Mapping[Peer, int] | None = None,
) -> Meeting:
    arena_fd = _core.create_arena(config, world.size)
    try:
        meeting = meet(
            world,
            arena_fd=arena_fd,
            facts=facts,
            version=__version__,
            secret=_process.secrets.secret(env),
            rendezvous=config.rendezvous or None,
            epoch=_process.meetings + 1,
            deadline_seconds=config.start_timeout_seconds,
            watched=watched,
        )
    finally:
        os.close(arena_fd)
    _process.meetings += 1
    return meeting


def _start_engine(world: World, config: _core.Config, meeting: Meeting) -> _core.Engine:
    return _core.Engine.start(
        topology=_core.Topology(
            rank=world.rank,
            size=world.size,
            local_rank=world.local_rank,
            local_size=world.local_size,
            cross_rank=world.cross_rank,
            cross_size=world.cross_size,
            peers=[_core.PeerName(peer.host, peer.pid) for peer in meeting.roster],
        ),
        config=config,
        arena_fds=meeting.arena_fds,
        pidfds=meeting.pidfds,
        stream_fds=meeting.stream_fds,
        control_fds=meeting.control_fds,
    )


def shutdown() -> None:
    """Leave the job; the other ranks' collectives that would need this rank fail in words.

    Work in flight ends with an error. On rank 0 it returns once no others work in process sets
    without it any more, because rank 0 agrees for them. Nothing of the job is left afterwards.
    Calling it again, or before ``init``, does nothing. Optimizers that are distributed follow into
    the next job. What they left to the next forward pass (``overlap_forward``) is done first.

    Raises:
        HorovodInternalError: That failed; the job has been left all the same.
    """
    try:
        if _process.job is not None:
            _process.job.updates.finish()
    finally:
        leave("")


def leave(reason: str) -> None:
    """Shut down, and tell ranks that still count on this one why; any thread but autograd's."""
    with _process.lock:
        if _process.job is not None:
            for reduction in list(_process.job.reductions):
                reduction.detach()
        _stop(reason)


def _stop(reason: str) -> None:
    with _process.lock:
        job = _process.job
        if job is None:
            return
        _process.enter(None)
        _end(job, reason)


def _end(job: Job, reason: str) -> None:
    job.engine.stop(reason)
    _process.next_handle = job.operations.next_handle
    _process.names.clear()
    for number, sets in job.process_sets.items():
        for one in sets:
            if number != 0 or not one.is_global:
                one.process_set_id = None


def _hook_process() -> None:
    if _process.hooked:
        return
    _process.hooked = True
    # Before the interpreter is taken down: a thread that needed the GIL then would abort us.
    atexit.register(_at_exit)
    os.register_at_fork(after_in_child=_in_forked_child)


def _at_exit() -> None:
    # An exception that ended the script is the reason the peers want to hear.
    last = getattr(sys, "last_value", None)
    if last is None and _process.job is not None:
        with contextlib.suppress(HorovodInternalError):  # nobody is left to be told
            _process.job.updates.finish()
    _stop("" if last is None else f"{type(last).__name__}: {last}"[:500])


def _in_forked_child() -> None:
    job = _process.job
    _process.lock = threading.RLock()  # another thread of the parent may have held it
    if job is not None:
        job.engine.abandon_in_forked_child()
        _abandoned.append(job)
        _process.enter(None)


# Jobs of the parent: kept, because their threads do not exist here and nothing may be taken down.
_abandoned: list[Job] = []


def is_initialized() -> bool:
    """Return whether this process is in a job."""
    return _process.job is not None


def job() -> Job:
    """Return the job of this process.

    Raises:
        NotInitializedError: Before ``init`` or after ``shutdown``.
        HorovodInternalError: In a child that was forked from a rank.
    """
    current = _process.job
    if current is None:
        if _abandoned:
            raise _forked()
        raise NotInitializedError(_NOT_INITIALISED, "R102")
    return current


def _forked() -> HorovodInternalError:
    return HorovodInternalError(
        "[R105] this process was forked from a rank of a rueda job (a DataLoader worker?) and is "
        "no rank itself; call init() and collectives in the parent",
        "R105",
    )


def next_name(family: str) -> str:
    """Return the family's next name in this job; equal on all ranks that ask in one order."""
    with _process.lock:
        _process.names[family] += 1
        return f"{family}{_process.names[family]}"


def own_or_parents_job() -> Job:
    """Return the job of this process, or in a forked child that of its parent.

    Raises:
        NotInitializedError: Before ``init``.
    """
    current = _process.job
    if current is None and _abandoned:
        # A DataLoader worker may ask whose it is, to seed its random numbers.
        current = _abandoned[-1]
    if current is None:
        raise NotInitializedError(_NOT_INITIALISED, "R102")
    return current


def _world() -> World:
    return own_or_parents_job().world


def rank() -> int:
    """Return this process's number in the job, from 0.

    Raises:
        NotInitializedError: Before ``init``: a ValueError, and a HorovodInternalError; so do the
            five below.
    """
    return _world().rank


def size() -> int:
    """Return the number of ranks."""
    return _world().size


def local_rank() -> int:
    """Return this process's number among the ranks of its host."""
    return _world().local_rank


def local_size() -> int:
    """Return the number of ranks on this host."""
    return _world().local_size


def cross_rank() -> int:
    """Return the number of this host among the hosts that have this local rank."""
    return _world().cross_rank


def cross_size() -> int:
    """Return the number of hosts that have this local rank."""
    return _world().cross_size


def is_homogeneous() -> bool:
    """Return whether all hosts have the same number of ranks.

    Raises:
        ValueError: Before ``init``.
    """
    return own_or_parents_job().is_homogeneous
