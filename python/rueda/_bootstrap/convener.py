"""Rank 0's part of a meeting: gather the ranks, compare their cards, introduce them to each other.

Every failure is told to all who came, in the same words. The listener closes before anything is
told, so that nobody who starts the next meeting can come to this one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rueda._bootstrap.absent import watch_absent
from rueda._bootstrap.broker import Broker
from rueda._bootstrap.cards import Card, came_twice, disagreement, missing_ranks
from rueda._bootstrap.errors import DISAGREE, ENDED, SENSELESS, TIMED_OUT, meeting_error
from rueda._bootstrap.fd_passing import DescriptorBag, arena_problem, pidfd_problem
from rueda._bootstrap.frames import Frame, FrameError, FrameKind
from rueda._bootstrap.gate import Gate
from rueda._bootstrap.guests import Guest, Guests
from rueda._bootstrap.handshake import ServerHandshake
from rueda._bootstrap.handshake_messages import Proven, Role
from rueda._bootstrap.link import Link
from rueda._bootstrap.loop import READ, Loop
from rueda._bootstrap.meeting import Peer
from rueda._bootstrap.outcome import Outcome, failure_payload, system_error, told_failure
from rueda._bootstrap.pairing import Pairing
from rueda._bootstrap.setup import Setup
from rueda._bootstrap.waiting import Waiting
from rueda.exceptions import RuedaError

# After a failure the others get this long to come and hear of it, instead of waiting for nobody.
_LINGER_SECONDS = 0.4
_FAREWELL_SECONDS = 1.0


class Convener:
    """Runs one meeting as rank 0, in the caller's thread.

    Args:
        setup: Rank 0's part.
        loop: Where everything is watched.
        bag: Owns every descriptor made or received.
    """

    def __init__(self, setup: Setup, loop: Loop, bag: DescriptorBag) -> None:
        self._setup = setup
        self._me = setup.card
        self._loop = loop
        self._bag = bag
        self._secret = secrets.token_bytes(32) if setup.secret is None else setup.secret
        self._guests = Guests(setup.card)
        self._waiting = Waiting(loop, setup.deadline)
        self._has_decided = False
        self._broker: Broker | None = None
        self._pairing: Pairing | None = None
        self._pidfd = bag.adopt(os.pidfd_open(os.getpid()))
        listener = setup.point.listen()
        self._host = listener.getsockname()[0] if not setup.one_host else ""
        self._gate = self._open_gate(listener)
        watch_absent(loop, setup.watched, self._absent_ended)

    def run(self) -> Outcome:
        """Hold the meeting; raise RuedaError, on every rank that came, where it fails."""
        try:
            return self._meet()
        except RuedaError as error:
            self._tell(error)
            raise
        except OSError as error:
            told = system_error(self._me.peer, error)
            self._tell(told)
            raise told from error
        finally:
            self._gate.close()
            if self._pairing is not None:
                self._pairing.close()
            for link in self._guests.by_link:
                link.close()

    def _meet(self) -> Outcome:
        self._waiting.until(self._guests.all_came, self._missing)
        self._gate.close()
        problem = disagreement(self._guests.cards(), one_host=self._setup.one_host)
        if problem is not None:
            raise meeting_error(problem, DISAGREE)
        self._introduce()
        self._waiting.until(self._is_complete, self._not_ready)
        self._say(FrameKind.GO, {}, lambda link: link.closed or link.idle)
        return self._outcome()

    def _is_complete(self) -> bool:
        return (self._pairing is None or self._pairing.done) and self._guests.all_ready()

    def _open_gate(self, listener: socket.socket) -> Gate:
        me = self._setup.identity(Role.MEETING)
        hands_out = self._setup.secret is None

        def new_side() -> ServerHandshake:
            return ServerHandshake(me, self._secret, hands_out=hands_out)

        point, expected = self._setup.point, self._me.size - 1
        return Gate(self._loop, listener, point, new_side, self._welcome, expected=expected)

    # Waiting and failing.

    def _fail(self, failure: RuedaError | Callable[[], RuedaError]) -> None:
        """Fail for all, once those who are still to come had time to hear of it."""
        self._waiting.fail(
            (lambda: failure) if isinstance(failure, RuedaError) else failure,
            0.0 if self._guests.all_came() else _LINGER_SECONDS,
        )

    def _tell(self, error: RuedaError) -> None:
        self._gate.close()
        # Over TCP, closing with something unread resets the connection, which could overtake the
        # news; so they hang up first there.
        one_host = self._setup.one_host
        with contextlib.suppress(OSError, RuedaError):
            self._say(
                FrameKind.FAILURE,
                failure_payload(error),
                lambda link: link.closed or (one_host and link.idle),
            )

    def _say(
        self, kind: FrameKind, payload: Mapping[str, Any], done: Callable[[Link], bool]
    ) -> None:
        self._has_decided = True
        for link in self._guests.by_link:
            link.send(kind, payload)
        links = self._guests.by_link
        self._waiting.settle(lambda: all(done(link) for link in links), _FAREWELL_SECONDS)

    def _missing(self) -> RuedaError:
        setup, size = self._setup, self._me.size
        present = [card.peer for card in self._guests.cards()]
        absent = set(range(size)) - {peer.rank for peer in present}
        text = missing_ranks(size, present, setup.deadline_seconds, setup.point)
        blamed = absent.pop() if len(absent) == 1 else None
        return meeting_error(text + self._gate.refusals, TIMED_OUT, blamed)

    def _sizes_differ(self) -> RuedaError:
        problem = disagreement(self._guests.cards(), one_host=False)
        return meeting_error(problem or "the number of ranks differs", DISAGREE)

    def _not_ready(self) -> RuedaError:
        slow = [guest for guest in self._guests.by_link.values() if not guest.ready]
        names = ", ".join(str(guest) for guest in slow[:16])
        text = f"{names or 'rank 0'} did not finish connecting to the other ranks in time"
        if self._pairing is not None and not self._pairing.done:
            text += f". {self._pairing.trouble()}"
        return meeting_error(text, TIMED_OUT, slow[0].rank if len(slow) == 1 else None)

    # What the guests do.

    def _welcome(self, connection: socket.socket, proven: Proven) -> None:
        link = Link(
            self._loop,
            connection,
            proven,
            is_client=False,
            bag=self._bag,
            passes_descriptors=self._setup.one_host,
            on_frame=self._heard,
            on_lost=self._lost,
        )
        self._guests.by_link[link] = Guest(proven.rank, proven.size)
        left = max(0.0, self._setup.deadline - self._loop.now())
        about = {"host": self._me.host, "pid": self._me.pid, "seconds_left": left}
        link.send(FrameKind.GREETING, about)

    def _heard(self, link: Link, frame: Frame, descriptors: list[int]) -> None:
        if self._has_decided:
            return
        guest = self._guests.by_link[link]
        try:
            if frame.kind is FrameKind.CARD and guest.card is None:
                card = Card.from_json(frame.payload)
                self._take_card(link, guest, card, descriptors)
            elif frame.kind is FrameKind.TAKEN and self._broker is not None:
                self._broker.taken()
            elif frame.kind is FrameKind.READY:
                guest.ready = True
            elif frame.kind is FrameKind.FAILURE:
                self._fail(told_failure(frame.payload))
            else:
                raise FrameError(f"it sent {frame.kind.name} out of turn")
        except FrameError as error:
            link.close()
            self._lost(link, str(error))

    def _lost(self, link: Link, reason: str | None) -> None:
        guest = self._guests.by_link[link]
        if reason is None:
            self._fail(meeting_error(f"{guest} ended while the ranks met", ENDED, guest.rank))
        else:
            text = f"{guest} cannot be understood: {reason}"
            self._fail(meeting_error(text, SENSELESS, guest.rank))

    def _absent_ended(self, peer: Peer, error: RuedaError) -> None:
        if all(card.rank != peer.rank for card in self._guests.cards()):
            self._fail(error)

    def _take_card(self, link: Link, guest: Guest, card: Card, descriptors: list[int]) -> None:
        if (card.rank, card.size) != (guest.rank, guest.size):
            raise FrameError("its card is not that of the rank it proved to be")
        if len(descriptors) != (2 if self._setup.one_host else 0):
            raise FrameError("its card came without its descriptors")
        if card.address is None and not self._setup.one_host:
            raise FrameError("its card has no address")
        twin = next((other for other in self._guests.cards() if other.rank == card.rank), None)
        if twin is not None:
            self._fail(meeting_error(came_twice(twin, card), DISAGREE, card.rank))
            return
        if card.size != self._me.size:
            # Put into words once the others had time to come, so that it names all of them.
            self._fail(self._sizes_differ)
        guest.card = card
        if self._setup.one_host:
            guest.arena, guest.pidfd = descriptors
            self._check_descriptors(link, guest, card)

    def _check_descriptors(self, link: Link, guest: Guest, card: Card) -> None:
        problem = pidfd_problem(guest.pidfd)
        if problem is not None:
            raise FrameError(f"its pidfd {problem}")
        problem = arena_problem(guest.arena, self._setup.arena_bytes)
        if problem is not None:
            text = (
                f"the arena of {card.peer} {problem}; set RUEDA_ARENA_BYTES to the same value on "
                "all ranks"
            )
            self._fail(meeting_error(text, DISAGREE, card.rank))
        # A forked child may hold a dead rank's connection open: only the pidfd tells for sure.
        self._loop.watch(guest.pidfd, READ, partial(self._died, link, guest))

    def _died(self, link: Link, guest: Guest) -> None:
        self._loop.forget(guest.pidfd)
        link.read()  # its last words may say why
        self._lost(link, None)

    # Introducing them to each other.

    def _introduce(self) -> None:
        addresses = {card.rank: card.address for card in self._guests.cards()}
        if not self._setup.one_host:
            self._pairing = Pairing(
                self._setup, self._secret, self._host, self._loop, bag=self._bag
            )
            addresses[0] = self._pairing.address
            self._pairing.start({})
        ranks = [
            {"host": card.host, "pid": card.pid, "address": addresses[card.rank]}
            for card in self._guests.cards()
        ]
        for link in self._guests.by_link:
            link.send(FrameKind.ROSTER, {"epoch": self._setup.epoch, "ranks": ranks})
        if self._setup.one_host:
            links = {guest.rank: link for link, guest in self._guests.by_link.items()}
            arenas = {0: self._setup.arena_fd, **self._guests.arenas()}
            pidfds = {0: self._pidfd, **self._guests.pidfds()}
            self._broker = Broker(links, arenas, pidfds, self._bag)

    def _outcome(self) -> Outcome:
        source = self._broker or self._pairing
        shared = self._setup.one_host
        return Outcome(
            epoch=self._setup.epoch,
            roster=tuple(card.peer for card in self._guests.cards()),
            arenas=self._guests.arenas() if shared else {},
            pidfds=self._guests.pidfds() if shared else {},
            streams=source.streams if source is not None else {},
            controls={} if shared else self._controls(),
            secret=self._secret,
        )

    def _controls(self) -> dict[int, int]:
        """Keep the connections to the guests, where no memory is shared."""
        return {
            guest.rank: self._bag.adopt(link.release())
            for link, guest in self._guests.by_link.items()
        }
