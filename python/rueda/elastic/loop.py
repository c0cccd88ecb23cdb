"""run: call a training function again and again until it comes to its end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from rueda._restart import Restart, watched_peers
from rueda.elastic.notifications import notification_manager
from rueda.elastic.objects import State
from rueda.elastic.recovery import Recovery
from rueda.exceptions import HorovodInternalError, HostsUpdatedInterrupt

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound=State)


def run(func: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Return a function that calls ``func(state, ...)`` until it returns; use it as a decorator.

    Before each call all ranks get rank 0's state. After a ``HorovodInternalError`` every rank goes
    back to its last commit, leaves the job and joins it again: ranks whose peers do so hear of it
    at their next collective. After a ``HostsUpdatedInterrupt`` it does the same without going back.
    Process sets that were registered at the call are registered again, distributed optimizers
    follow, and the callbacks of the state are called.

    What cannot be repaired is raised, with the state at the last commit: a rank died or left for
    good, does not come back within ``RUEDA_START_TIMEOUT_SECONDS``, or there were three resets in a
    row without a commit between them. ``rank()`` and its like answer then. Any other exception of
    ``func`` is passed on.

    Args:
        func: Its first argument is a ``State``. All ranks call it, after ``init``; no rank may
            be ahead of the others by a collective.

    Raises:
        HorovodInternalError: In the returned function: as above.
    """

    @functools.wraps(func)
    def wrapper(state: _S, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with watched_peers() as peers:
            recovery = Recovery(state, Restart(peers))
            return _repeat(
                lambda: func(state, *args, **kwargs), state, recovery.recover, recovery.agree
            )

    return cast("Callable[Concatenate[_S, _P], _R]", wrapper)


def run_fn(
    func: Callable[Concatenate[_S, _P], _R], reset: Callable[[], object]
) -> Callable[Concatenate[_S, _P], _R]:
    """Return what ``run`` does, but with a reset of the caller's own and no limit to resets.

    Args:
        func: As for ``run``.
        reset: Called after the state was restored; leaves the job and joins another.
    """

    @functools.wraps(func)
    def wrapper(state: _S, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return _repeat(
            lambda: func(state, *args, **kwargs), state, lambda cause: reset(), lambda: None
        )

    return cast("Callable[Concatenate[_S, _P], _R]", wrapper)


def _repeat(
    attempt: Callable[[], _R],
    state: State,
    recover: Callable[[Exception], object],
    agree: Callable[[], object],
) -> _R:
    """Attempt until it succeeds; between attempts recover, and agree with the other ranks."""
    notification_manager.init()
    notification_manager.register_listener(state)
    skip_sync = False
    prepare: list[Callable[[], Any]] = []
    try:
        while True:
            try:
                for step in prepare:
                    step()
                if not skip_sync:
                    state.sync()
                return attempt()
            except HorovodInternalError as error:
                state.restore()
                skip_sync = False
                cause: Exception = error
            except HostsUpdatedInterrupt as interrupt:
                skip_sync = interrupt.skip_sync
                cause = interrupt
            recover(cause)
            # Its traceback holds what the attempt had in its hands.
            del cause
            prepare = [agree, state.on_reset]
    finally:
        notification_manager.remove_listener(state)
