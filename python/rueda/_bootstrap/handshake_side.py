"""What both sides of the handshake share: cutting messages, transcript, MACs, the verdict."""

from __future__ import annotations

import abc
import hashlib
import hmac
import secrets

from rueda._bootstrap import handshake_messages as m
from rueda._bootstrap.handshake_messages import Identity, Kind, Proven, RefusalCode, Refused


class Refuse(Exception):
    """Raised inside a handshake; ``feed`` turns it into a verdict."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class HandshakeSide(abc.ABC):
    """What both sides share: cutting the bytes into messages, and ending with one verdict.

    Not thread-safe. Its repr shows nothing of the secret.
    """

    def __init__(self, me: Identity, secret: bytes | None, nonce: bytes | None) -> None:
        self._me = me
        self._secret = secret
        self._nonce = secrets.token_bytes(m.NONCE_BYTES) if nonce is None else nonce
        self._buffer = b""
        self._transcript = b""
        self._expected = Kind.HELLO
        self._peer = (0, 0, "", b"")  # rank, size, version, both nonces
        self.verdict: Proven | Refused | None = None
        self.messages_taken = 0

    @property
    def bytes_wanted(self) -> int:
        """How many bytes may be read now: never beyond the current message, 0 after the verdict.

        Reading exactly this much leaves what follows the handshake (frames, descriptors) in the
        socket for whoever reads it next.
        """
        if self.verdict is not None:
            return 0
        if len(self._buffer) < m.PREFIX.size:
            return m.PREFIX.size - len(self._buffer)
        return m.PREFIX.size + m.BODIES[kind_of(self._buffer)].size - len(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the peer; return the bytes to send to it (maybe none).

        Bytes beyond ``bytes_wanted`` are refused: an honest peer sends none.
        """
        if self.verdict is not None:
            return b""
        try:
            return self._take(data)
        except Refuse as refusal:
            self._buffer = b""
            self.verdict = Refused(refusal.code, refusal.reason, by_peer=False)
            return self._prefix(Kind.REFUSAL) + m.REFUSAL.pack(refusal.code)

    def _take(self, data: bytes) -> bytes:
        while data:
            wanted = self.bytes_wanted
            self._buffer += data[:wanted]
            data = data[wanted:]
            if len(self._buffer) == m.PREFIX.size:
                self._check_prefix()
            if self.bytes_wanted == 0:
                if data:
                    raise Refuse(RefusalCode.MALFORMED, "it sent ahead of its turn")
                message, self._buffer = self._buffer, b""
                return self._message(message)
        return b""

    def _check_prefix(self) -> None:
        magic, kind, protocol, role, version = m.PREFIX.unpack(self._buffer)
        me = self._me
        if magic != m.MAGIC:
            raise Refuse(RefusalCode.MALFORMED, "what it sent is not rueda's protocol")
        if protocol != me.protocol:
            age = "newer" if protocol > me.protocol else "older"
            raise Refuse(
                RefusalCode.VERSION,
                f"it runs rueda {m.text_of(version)} (protocol {protocol}), {age} than the rueda "
                f"{me.version} (protocol {me.protocol}) of this rank; install the same for all",
            )
        if kind not in (self._expected, Kind.REFUSAL):
            raise Refuse(RefusalCode.MALFORMED, f"it sent message kind {kind} out of turn")
        if role != me.role:
            raise Refuse(RefusalCode.MALFORMED, "it came to a socket of another role")

    def _message(self, message: bytes) -> bytes:
        if kind_of(message) is Kind.REFUSAL:
            self.verdict = self._told(message)
            return b""
        self.messages_taken += 1
        return self._step(message)

    def _told(self, message: bytes) -> Refused:
        try:
            code = RefusalCode(message[m.PREFIX.size])
        except ValueError:
            code = RefusalCode.MALFORMED
        return Refused(code, f"it refused this rank: {code.words}", by_peer=True)

    @abc.abstractmethod
    def _step(self, message: bytes) -> bytes:
        """Take a whole message of the expected kind; return the answer."""

    def _prefix(self, kind: Kind) -> bytes:
        me = self._me
        return m.PREFIX.pack(m.MAGIC, kind, me.protocol, me.role, me.version.encode()[:32])

    def _mac(self, label: bytes) -> bytes:
        """Authenticate the transcript so far. Labels differ by side: a reflected MAC is void."""
        if self._secret is None:
            raise AssertionError("no secret is known yet")
        return hmac.digest(self._secret, label + b"\0" + self._transcript, hashlib.sha256)

    def _seal(self, label: bytes, head: bytes) -> bytes:
        """Return the message ``head`` plus its MAC, and take both into the transcript."""
        self._transcript += head
        mac = self._mac(label)
        self._transcript += mac
        return head + mac

    def _verify(self, label: bytes, message: bytes) -> None:
        """Check a sealed message of the peer, and take it into the transcript."""
        self._transcript += message[: -m.MAC_BYTES]
        if not hmac.compare_digest(self._mac(label), message[-m.MAC_BYTES :]):
            raise Refuse(RefusalCode.PROOF, "it does not know this job's secret")
        self._transcript += message[-m.MAC_BYTES :]

    def _conclude(self) -> None:
        if self._secret is None:
            raise AssertionError("proven without a secret")
        rank, size, version, nonces = self._peer
        # HKDF (RFC 5869) with SHA-256, one block: the nonces are the salt, the transcript is info.
        extracted = hmac.digest(nonces, self._secret, hashlib.sha256)
        info = b"rueda session" + hashlib.sha256(self._transcript).digest() + b"\x01"
        key = hmac.digest(extracted, info, hashlib.sha256)
        self.verdict = Proven(rank, size, version, key, self._secret)


def kind_of(message: bytes) -> Kind:
    """Return the kind of a message whose prefix was checked."""
    return Kind(message[len(m.MAGIC)])


def version_of(message: bytes) -> str:
    """Return the rueda version that a message names."""
    return m.text_of(m.PREFIX.unpack_from(message)[4])
