"""The handshake: two processes prove to each other that they know the job's secret.

Mutual challenge and response with HMAC-SHA-256 over the whole transcript: both nonces, job, ranks
of both, size, role, protocol and rueda version. Bytes in, bytes out, no sockets: the caller moves
them. Messages and limits are specified in docs/wire-format.md.

    client                          server
    HELLO      ------------------>
               <------------------  CHALLENGE (with the server's proof)
    PROOF      ------------------>
               <------------------  WELCOME

Either side may answer REFUSAL instead, which carries a code and the sender's version, no more.
"""

from __future__ import annotations

from rueda._bootstrap import handshake_messages as m
from rueda._bootstrap.handshake_messages import Identity, Kind, RefusalCode
from rueda._bootstrap.handshake_side import HandshakeSide, Refuse, kind_of, version_of

_SERVER_LABEL = b"rueda server proof"
_CLIENT_LABEL = b"rueda client proof"
_WELCOME_LABEL = b"rueda welcome"


class ClientHandshake(HandshakeSide):
    """The connecting side.

    Args:
        me: This side.
        server_rank: The rank that must answer.
        secret: The job's secret, or None to be granted one.
        nonce: 32 random bytes; drawn here unless a test gives them.
    """

    def __init__(
        self, me: Identity, server_rank: int, secret: bytes | None, nonce: bytes | None = None
    ) -> None:
        super().__init__(me, secret, nonce)
        self._server_rank = server_rank
        self._had_secret = secret is not None

    def start(self) -> bytes:
        """Return the first message."""
        me = self._me
        self._expected = Kind.CHALLENGE
        self._transcript = self._prefix(Kind.HELLO) + m.HELLO.pack(
            me.job, me.rank, self._server_rank, me.size, self._had_secret, self._nonce
        )
        return self._transcript

    def _step(self, message: bytes) -> bytes:
        if kind_of(message) is Kind.CHALLENGE:
            return self._challenged(message)
        self._verify(_WELCOME_LABEL, message)
        self._conclude()
        return b""

    def _challenged(self, message: bytes) -> bytes:
        rank, size, grants, granted, nonce, _ = m.CHALLENGE.unpack(message[m.PREFIX.size :])
        if rank != self._server_rank:
            raise Refuse(RefusalCode.WRONG_RANK, f"it is rank {rank}, not {self._server_rank}")
        if grants not in (0, 1) or bool(grants) == self._had_secret:
            raise Refuse(RefusalCode.MALFORMED, "it offers a secret that was not asked for")
        if grants:
            self._secret = granted
        self._verify(_SERVER_LABEL, message)
        self._peer = (rank, size, version_of(message), self._nonce + nonce)
        self._expected = Kind.WELCOME
        return self._seal(_CLIENT_LABEL, self._prefix(Kind.PROOF))


class ServerHandshake(HandshakeSide):
    """The listening side.

    Args:
        me: This side.
        secret: The job's secret.
        hands_out: The secret was made by this process and is given to whoever has none: only for
            Unix sockets whose peer's user was checked.
        nonce: 32 random bytes; drawn here unless a test gives them.
    """

    def __init__(
        self, me: Identity, secret: bytes, *, hands_out: bool = False, nonce: bytes | None = None
    ) -> None:
        super().__init__(me, secret, nonce)
        self._granted = secret if hands_out else bytes(32)
        self._hands_out = hands_out

    def _step(self, message: bytes) -> bytes:
        if kind_of(message) is Kind.HELLO:
            return self._greeted(message)
        self._verify(_CLIENT_LABEL, message)
        welcome = self._seal(_WELCOME_LABEL, self._prefix(Kind.WELCOME))
        self._conclude()
        return welcome

    def _greeted(self, message: bytes) -> bytes:
        job, rank, wanted, size, has_secret, nonce = m.HELLO.unpack(message[m.PREFIX.size :])
        me = self._me
        if job != me.job:
            raise Refuse(RefusalCode.JOB, "it belongs to another job")
        if wanted != me.rank or rank == me.rank:
            raise Refuse(
                RefusalCode.WRONG_RANK,
                f"it calls itself rank {rank} and wants rank {wanted}; this is rank {me.rank}",
            )
        self._check_secret(has_secret)
        self._transcript = message
        self._peer = (rank, size, version_of(message), nonce + self._nonce)
        self._expected = Kind.PROOF
        body = m.CHALLENGE.pack(
            me.rank, me.size, self._hands_out, self._granted, self._nonce, bytes(m.MAC_BYTES)
        )
        return self._seal(_SERVER_LABEL, self._prefix(Kind.CHALLENGE) + body[: -m.MAC_BYTES])

    def _check_secret(self, has_secret: int) -> None:
        if has_secret not in (0, 1):
            raise Refuse(RefusalCode.MALFORMED, "its HELLO makes no sense")
        if not has_secret and not self._hands_out:
            raise Refuse(RefusalCode.SECRET_NEEDED, "it has no secret, and this job has one")
        if has_secret and self._hands_out:
            raise Refuse(RefusalCode.SECRET_UNKNOWN, "it was given a secret and rank 0 none")
