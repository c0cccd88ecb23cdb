"""The part of every rank but 0 in a meeting: reach rank 0, hand in a card, take what it gives."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from rueda._bootstrap.absent import watch_absent
from rueda._bootstrap.dialer import Dialer
from rueda._bootstrap.errors import ENDED, SENSELESS, TIMED_OUT, UNTRUSTED, meeting_error
from rueda._bootstrap.fd_passing import DescriptorBag, arena_problem, is_socket, pidfd_problem
from rueda._bootstrap.frames import Frame, FrameError, FrameKind
from rueda._bootstrap.handshake import ClientHandshake
from rueda._bootstrap.handshake_messages import Proven, Role
from rueda._bootstrap.link import Link
from rueda._bootstrap.loop import Loop
from rueda._bootstrap.meeting import Peer
from rueda._bootstrap.outcome import Outcome, failure_payload, system_error, told_failure
from rueda._bootstrap.pairing import Pairing
from rueda._bootstrap.setup import Setup
from rueda._bootstrap.waiting import Waiting
from rueda.exceptions import RuedaError

# Rank 0 decides when it is too late, so that all raise the same; this is for when it cannot.
_GRACE_SECONDS = 1.0
# A rank that cannot reach another says so this long before rank 0 gives up, or at half time.
_PAIRING_MARGIN_SECONDS = 1.0
_FAREWELL_SECONDS = 1.0


class Attendee:
    """Attends one meeting, in the caller's thread.

    Args:
        setup: This rank's part.
        loop: Where everything is watched.
        bag: Owns every descriptor made or received.
    """

    def __init__(self, setup: Setup, loop: Loop, bag: DescriptorBag) -> None:
        self._setup = setup
        self._me = setup.card
        self._loop = loop
        self._bag = bag
        self._waiting = Waiting(loop, setup.deadline)
        self._secret = b""
        self._link: Link | None = None
        self._pairing: Pairing | None = None
        self._rank_zero = "rank 0"
        self._epoch = 0
        self._roster: tuple[Peer, ...] = ()
        self._arenas: dict[int, int] = {}
        self._pidfds: dict[int, int] = {}
        self._streams: dict[int, int] = {}
        self._is_ready = False
        self._go = False
        self._dialer = Dialer(
            loop,
            setup.point,
            lambda: ClientHandshake(setup.identity(Role.MEETING), 0, setup.secret),
            self._reached,
            self._refused,
        )
        watch_absent(loop, setup.watched, self._absent_ended)

    def run(self) -> Outcome:
        """Attend; raise RuedaError with rank 0's words, or with own ones that rank 0 is told."""
        try:
            self._waiting.until(lambda: self._link is not None, self._unreached)
            self._waiting.until(lambda: self._go, self._unfinished)
            return self._outcome()
        except RuedaError as error:
            self._tell(error)
            raise
        except OSError as error:
            told = system_error(self._me.peer, error)
            self._tell(told)
            raise told from error
        finally:
            self._dialer.close()
            if self._pairing is not None:
                self._pairing.close()
            if self._link is not None:
                self._link.close()

    def _tell(self, error: RuedaError) -> None:
        link = self._link
        if link is None:
            return
        link.send(FrameKind.FAILURE, failure_payload(error))
        # What else comes is of no interest now, nor is another failure.
        with contextlib.suppress(OSError, RuedaError):
            self._waiting.settle(lambda: link.idle or link.closed, _FAREWELL_SECONDS)

    def _unreached(self) -> RuedaError:
        setup = self._setup
        return meeting_error(
            f"{self._me.peer} waited {setup.deadline_seconds:g} s for rank 0, but "
            f"{self._dialer.trouble}. {setup.point.hint}",
            TIMED_OUT,
            0,
        )

    def _unfinished(self) -> RuedaError:
        return meeting_error(
            f"{self._rank_zero} let {self._me.peer} in but did not bring the meeting to an end "
            "in time. Is it stopped, or very slow? Its own output tells more",
            TIMED_OUT,
            0,
        )

    # What rank 0 does.

    def _refused(self, reason: str) -> None:
        raise meeting_error(
            f"{self._me.peer} cannot meet rank 0 at {self._setup.point}: {reason}", UNTRUSTED, 0
        )

    def _reached(self, connection: socket.socket, proven: Proven) -> None:
        self._secret = proven.secret
        self._link = link = Link(
            self._loop,
            connection,
            proven,
            is_client=True,
            bag=self._bag,
            passes_descriptors=self._setup.one_host,
            on_frame=self._heard,
            on_lost=self._lost,
        )
        # Until the greeting tells how long rank 0 will wait, it gets as long as this rank would.
        self._waiting.deadline = self._loop.now() + self._setup.deadline_seconds + _GRACE_SECONDS
        card = self._me.to_json()
        if self._setup.one_host:
            pidfd = self._bag.adopt(os.pidfd_open(os.getpid()))
            link.send(FrameKind.CARD, card, (self._setup.arena_fd, pidfd))
        else:
            host = connection.getsockname()[0]
            self._pairing = Pairing(
                self._setup,
                proven.secret,
                host,
                self._loop,
                bag=self._bag,
                on_stream=self._check_ready,
            )
            link.send(FrameKind.CARD, {**card, "address": self._pairing.address})

    def _lost(self, link: Link, reason: str | None) -> None:
        if self._go:
            return
        if reason is None:
            raise meeting_error(f"{self._rank_zero} ended while the ranks met", ENDED, 0)
        raise meeting_error(f"{self._rank_zero} cannot be understood: {reason}", SENSELESS, 0)

    def _absent_ended(self, peer: Peer, error: RuedaError) -> None:
        # Once rank 0 has let this one in, it tells all of the others' ends.
        if self._link is None or (peer.rank == 0 and not self._go):
            raise error

    def _heard(self, link: Link, frame: Frame, descriptors: list[int]) -> None:
        try:
            self._take(link, frame, descriptors)
        except (FrameError, KeyError, TypeError, ValueError) as error:
            raise meeting_error(
                f"{self._rank_zero} cannot be understood: {frame.kind.name}: {error}", SENSELESS, 0
            ) from None

    def _take(self, link: Link, frame: Frame, descriptors: list[int]) -> None:
        if frame.kind is FrameKind.GREETING:
            self._greeted(frame.payload)
        elif frame.kind is FrameKind.ROSTER:
            self._take_roster(frame.payload)
        elif frame.kind is FrameKind.PEER:
            self._take_peer(int(frame.payload["rank"]), descriptors)
            link.send(FrameKind.TAKEN, {})
        elif frame.kind is FrameKind.GO and self._is_ready:
            self._go = True
        elif frame.kind is FrameKind.FAILURE:
            raise told_failure(frame.payload)
        else:
            raise FrameError("it came out of turn")
        self._check_ready()

    def _greeted(self, payload: dict[str, Any]) -> None:
        self._rank_zero = str(Peer(0, str(payload["host"]), int(payload["pid"])))
        left = float(payload["seconds_left"])
        self._waiting.deadline = self._loop.now() + left + _GRACE_SECONDS
        if self._pairing is not None:
            margin = min(_PAIRING_MARGIN_SECONDS, left / 2)
            self._loop.call_at(self._loop.now() + left - margin, self._check_pairing)

    def _check_pairing(self) -> None:
        # Before the roster there was nobody to reach, and rank 0 knows best who is missing.
        if self._roster and self._pairing is not None and not self._pairing.done:
            raise meeting_error(self._pairing.trouble(), TIMED_OUT, self._me.rank)

    def _take_roster(self, payload: dict[str, Any]) -> None:
        ranks = payload["ranks"]
        if len(ranks) != self._me.size or self._roster:
            raise FrameError(f"it lists {len(ranks)} ranks, not {self._me.size}")
        self._epoch = int(payload["epoch"])
        self._roster = tuple(
            Peer(rank, str(entry["host"]), int(entry["pid"])) for rank, entry in enumerate(ranks)
        )
        if self._pairing is not None:
            addresses = {
                rank: (str(entry["address"][0]), int(entry["address"][1]))
                for rank, entry in enumerate(ranks)
            }
            self._pairing.start(addresses)

    def _take_peer(self, rank: int, descriptors: list[int]) -> None:
        if not 0 <= rank < self._me.size or rank == self._me.rank or rank in self._streams:
            raise FrameError(f"rank {rank} is not awaited")
        arena, pidfd, stream = descriptors
        problem = arena_problem(arena, self._setup.arena_bytes)
        if problem is not None:
            raise FrameError(f"the arena of rank {rank} {problem}")
        problem = pidfd_problem(pidfd)
        if problem is not None or not is_socket(stream):
            raise FrameError(f"the descriptors of rank {rank} are not what they should be")
        self._arenas[rank], self._pidfds[rank], self._streams[rank] = arena, pidfd, stream

    def _check_ready(self) -> None:
        streams = self._streams if self._pairing is None else self._pairing.streams
        complete = self._roster and len(streams) == self._me.size - 1
        if complete and not self._is_ready and self._link is not None:
            self._is_ready = True
            self._link.send(FrameKind.READY, {})

    def _outcome(self) -> Outcome:
        return Outcome(
            epoch=self._epoch,
            roster=self._roster,
            arenas=self._arenas,
            pidfds=self._pidfds,
            streams=self._streams if self._pairing is None else self._pairing.streams,
            controls=self._controls(),
            secret=self._secret,
        )

    def _controls(self) -> dict[int, int]:
        """Keep the connection to rank 0 where no memory is shared."""
        if self._setup.one_host or self._link is None:
            return {}
        return {0: self._bag.adopt(self._link.release())}
