"""Ranks that are still to come: a meeting does not wait for one whose process has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rueda._bootstrap.errors import ENDED, meeting_error
from rueda._bootstrap.loop import READ, Loop
from rueda._bootstrap.meeting import Peer
from rueda.exceptions import RuedaError


def watch_absent(
    loop: Loop, watched: Mapping[Peer, int], on_end: Callable[[Peer, RuedaError], None]
) -> None:
    """Call ``on_end`` once for each process that ends, with the error that says so.

    Args:
        loop: What watches, until it is closed.
        watched: A pidfd of each process; the caller's.
        on_end: Decides whether it matters.
    """
    for peer, pidfd in watched.items():
        loop.watch(pidfd, READ, partial(_ended, loop, peer, pidfd, on_end))


def _ended(loop: Loop, peer: Peer, pidfd: int, on_end: Callable[[Peer, RuedaError], None]) -> None:
    loop.forget(pidfd)  # it stays readable
    on_end(peer, meeting_error(f"{peer} ended before the ranks met again", ENDED, peer.rank))
