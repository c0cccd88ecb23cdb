"""The handshake's messages: layouts, kinds, roles, refusal codes and verdicts.

All integers are big-endian. docs/wire-format.md has the same in prose.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from typing import Final

PROTOCOL: Final = 1
NONCE_BYTES: Final = 32
MAC_BYTES: Final = 32
MAGIC: Final = b"rueda"
# The first bytes of every message in every protocol number, past and future, so that two versions
# can always name each other (F20), whatever else changed.
PREFIX: Final = struct.Struct(">5sBHB32s")  # magic, kind, protocol, role, rueda version
HELLO: Final = struct.Struct(">32sIIIB32s")  # job, rank, wanted rank, size, has secret, nonce
CHALLENGE: Final = struct.Struct(">IIB32s32s32s")  # rank, size, grants, secret, nonce, MAC
MAC: Final = struct.Struct(">32s")
REFUSAL: Final = struct.Struct(">B")
# The most that one side may send before its proof was checked, all messages together.
MAX_UNPROVEN_BYTES: Final = 512


class Role(enum.IntEnum):
    """What the connection is for; a proof for one role is worthless in the other."""

    MEETING = 1
    PAIR = 2


class Kind(enum.IntEnum):
    """The messages, in their order; REFUSAL may take the place of any but HELLO."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    REFUSAL = 5


BODIES: Final = {
    Kind.HELLO: HELLO,
    Kind.CHALLENGE: CHALLENGE,
    Kind.PROOF: MAC,
    Kind.WELCOME: MAC,
    Kind.REFUSAL: REFUSAL,
}


class RefusalCode(enum.IntEnum):
    """Why a side refused. The number is all that a stranger is told."""

    MALFORMED = 1
    VERSION = 2
    JOB = 3
    WRONG_RANK = 4
    SECRET_NEEDED = 5
    SECRET_UNKNOWN = 6
    PROOF = 7

    @property
    def words(self) -> str:
        """What to tell the user of the side that was refused."""
        return _WORDS[self]


_WORDS: Final = {
    RefusalCode.MALFORMED: "it did not understand this rank's message",
    RefusalCode.VERSION: "the versions differ; install the same rueda for all ranks",
    RefusalCode.JOB: "it belongs to another job; check RUEDA_JOB_ID and RUEDA_RENDEZVOUS",
    RefusalCode.WRONG_RANK: "it is not the rank that was asked for; check the ranks' numbers",
    RefusalCode.SECRET_NEEDED: (
        "its job has a secret and this rank was given none; set RUEDA_SECRET_FILE for every rank, "
        "or start all ranks with one ruedarun"
    ),
    RefusalCode.SECRET_UNKNOWN: (
        "this rank was given a secret and that one was not; set RUEDA_SECRET_FILE for every rank, "
        "or start all ranks with one ruedarun"
    ),
    RefusalCode.PROOF: (
        "the two know different secrets; give every rank the same RUEDA_SECRET_FILE, and end "
        "leftovers of an earlier job with the same id"
    ),
}


@dataclass(frozen=True)
class Identity:
    """What one side says of itself; ``job`` is a SHA-256 of the job key."""

    job: bytes
    rank: int
    size: int
    role: Role
    version: str
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Proven:
    """The verdict on a peer that knows the secret; ``session_key`` is this connection's own."""

    rank: int
    size: int
    version: str
    session_key: bytes = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """The verdict that ends a handshake: ``reason`` is for this side's log and error message."""

    code: RefusalCode
    reason: str
    by_peer: bool


def text_of(padded: bytes) -> str:
    """Decode a version for a message; a stranger may have put anything there."""
    text = padded.rstrip(b"\0").decode("ascii", "replace")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text) or "(unnamed)"
