"""The handshake lets in who knows the secret, and nobody by any change of any message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda._bootstrap import handshake_messages as messages
from rueda._bootstrap.handshake import ClientHandshake, ServerHandshake
from rueda._bootstrap.handshake_messages import (
    MAX_UNPROVEN_BYTES,
    Identity,
    Proven,
    RefusalCode,
    Refused,
    Role,
)

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))
SERVER = Identity(b"j" * 32, 0, 4, Role.MEETING, "0.1.0")
CLIENT = Identity(b"j" * 32, 3, 4, Role.MEETING, "0.1.0")
# In the order they are sent: HELLO, CHALLENGE, PROOF, WELCOME.
LENGTHS = (118, 146, 73, 73)


def run(
    client: ClientHandshake, server: ServerHandshake, changes: dict[int, bytes] | None = None
) -> list[bytes]:
    """Let both talk, putting other bytes in place of the n-th message; return what was sent."""
    sent = [client.start()]
    receivers = [server, client]
    while sent[-1]:
        message = (changes or {}).get(len(sent) - 1, sent[-1])
        sent.append(receivers[(len(sent) - 1) % 2].feed(message))
    return sent[:-1]


def sides(
    client_secret: bytes | None = SECRET, *, hands_out: bool = False
) -> tuple[ClientHandshake, ServerHandshake]:
    return (
        ClientHandshake(CLIENT, 0, client_secret, nonce=b"c" * 32),
        ServerHandshake(SERVER, SECRET, hands_out=hands_out, nonce=b"s" * 32),
    )


def proven(side: ClientHandshake | ServerHandshake) -> Proven:
    assert isinstance(side.verdict, Proven), side.verdict
    return side.verdict


def refused(side: ClientHandshake | ServerHandshake) -> Refused:
    assert isinstance(side.verdict, Refused), side.verdict
    return side.verdict


def test_equal_secrets_prove_both() -> None:
    client, server = sides()
    sent = run(client, server)
    assert tuple(len(message) for message in sent) == LENGTHS
    assert (proven(server).rank, proven(server).size, proven(server).version) == (3, 4, "0.1.0")
    assert proven(client).rank == 0
    assert proven(client).session_key == proven(server).session_key
    assert client.bytes_wanted == server.bytes_wanted == 0


def test_what_a_stranger_may_send_stays_below_the_limit() -> None:
    assert LENGTHS[0] + LENGTHS[2] <= MAX_UNPROVEN_BYTES
    assert LENGTHS[1] + LENGTHS[3] <= MAX_UNPROVEN_BYTES


def test_every_session_has_its_own_key() -> None:
    keys = set()
    for _ in range(3):
        client = ClientHandshake(CLIENT, 0, SECRET)
        server = ServerHandshake(SERVER, SECRET)
        run(client, server)
        keys.add(proven(client).session_key)
    assert len(keys) == 3


def test_a_secret_is_granted_to_whoever_has_none() -> None:
    client, server = sides(None, hands_out=True)
    run(client, server)
    assert proven(client).secret == SECRET
    assert proven(client).session_key == proven(server).session_key


def test_nothing_shows_the_secret() -> None:
    client, server = sides()
    sent = run(client, server)
    shown = repr((client, server, client.verdict, server.verdict))
    for hidden in (SECRET, proven(client).session_key):
        assert repr(hidden)[2:-1] not in shown
        assert all(hidden not in message for message in sent)


@given(st.integers(0, 3), st.data())
def test_any_flipped_bit_of_any_message_is_refused(index: int, data: st.DataObject) -> None:
    honest = run(*sides())
    bit = data.draw(st.integers(0, LENGTHS[index] * 8 - 1))
    changed = bytearray(honest[index])
    changed[bit // 8] ^= 1 << bit % 8
    client, server = sides()
    run(client, server, {index: bytes(changed)})
    assert isinstance(client.verdict, Refused)
    # Only a changed WELCOME comes too late for the server; the client is gone then.
    assert isinstance(server.verdict, Proven if index == 3 else Refused)


@given(st.integers(0, 3), st.binary(min_size=1, max_size=1024))
def test_noise_in_place_of_any_message_is_refused(index: int, noise: bytes) -> None:
    client, server = sides()
    run(client, server, {index: noise})
    assert not (isinstance(client.verdict, Proven) and isinstance(server.verdict, Proven))


@given(st.lists(st.integers(1, 60), max_size=12))
def test_messages_may_come_in_any_pieces(cuts: list[int]) -> None:
    client, server = sides()
    sides_in_turn: list[ClientHandshake | ServerHandshake] = [server, client]
    pending, turn = client.start(), 0
    while pending:
        side, replies, place = sides_in_turn[turn % 2], b"", 0
        for cut in [*cuts, len(pending)]:
            replies += side.feed(pending[place : place + cut])
            place += cut
        pending, turn = replies, turn + 1
    assert proven(client).session_key == proven(server).session_key


@given(st.integers(0, 3), st.data())
def test_a_truncated_message_proves_nothing(index: int, data: st.DataObject) -> None:
    honest = run(*sides())
    length = data.draw(st.integers(0, LENGTHS[index] - 1))
    client, server = sides()
    run(client, server, {index: honest[index][:length]})
    assert client.verdict is None or isinstance(server.verdict, Refused)
    assert not isinstance(client.verdict, Proven)


@given(st.integers(0, 3), st.binary(min_size=1, max_size=8))
def test_bytes_after_a_message_are_refused(index: int, extra: bytes) -> None:
    honest = run(*sides())
    client, server = sides()
    run(client, server, {index: honest[index] + extra})
    receiver = server if index % 2 == 0 else client
    assert refused(receiver).code is RefusalCode.MALFORMED


def test_the_session_key_depends_on_all_that_was_said() -> None:
    keys = set()
    for rank, size, version in ((3, 4, "0.1.0"), (2, 4, "0.1.0"), (3, 5, "0.1.0"), (3, 4, "0.1.1")):
        me = replace(CLIENT, rank=rank, size=size, version=version)
        client = ClientHandshake(me, 0, SECRET, nonce=b"c" * 32)
        server = ServerHandshake(SERVER, SECRET, nonce=b"s" * 32)
        run(client, server)
        keys.add(proven(client).session_key)
    assert len(keys) == 4


def test_a_wrong_secret_is_refused_by_the_client_and_told_as_a_code() -> None:
    client, server = sides(OTHER)
    sent = run(client, server)
    assert refused(client).code is RefusalCode.PROOF
    assert refused(server) == replace(refused(server), code=RefusalCode.PROOF, by_peer=True)
    assert len(sent[-1]) == messages.PREFIX.size + 1


def test_a_client_without_the_secret_cannot_go_on_regardless() -> None:
    _, server = sides()
    stranger = ClientHandshake(CLIENT, 0, OTHER)
    server.feed(stranger.start())
    forged = messages.PREFIX.pack(b"rueda", 3, 1, Role.MEETING, b"0.1.0") + b"m" * 32
    server.feed(forged)
    assert refused(server).code is RefusalCode.PROOF


def test_a_recorded_handshake_is_worthless_later() -> None:
    hello, _, proof, _ = run(*sides())
    server = ServerHandshake(SERVER, SECRET)
    server.feed(hello)
    assert server.verdict is None
    server.feed(proof)
    assert refused(server).code is RefusalCode.PROOF


def test_a_recorded_server_is_worthless_later() -> None:
    _, challenge, _, _ = run(*sides())
    client = ClientHandshake(CLIENT, 0, SECRET)
    client.start()
    client.feed(challenge)
    assert refused(client).code is RefusalCode.PROOF


def test_reflected_messages_are_refused() -> None:
    client, server = sides()
    hello = client.start()
    client.feed(hello)
    assert refused(client).code is RefusalCode.MALFORMED
    challenge = server.feed(hello)
    server.feed(challenge)
    assert refused(server).code is RefusalCode.MALFORMED


def test_a_reflected_proof_is_refused() -> None:
    _, server = sides()
    challenge = server.feed(ClientHandshake(CLIENT, 0, SECRET).start())
    proof = messages.PREFIX.pack(b"rueda", 3, 1, Role.MEETING, b"0.1.0") + challenge[-32:]
    server.feed(proof)
    assert refused(server).code is RefusalCode.PROOF


def test_two_clients_cannot_prove_to_each_other() -> None:
    one, other = sides()[0], sides()[0]
    other.start()
    other.feed(one.start())
    assert refused(other).code is RefusalCode.MALFORMED


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"job": b"k" * 32}, RefusalCode.JOB),
        ({"role": Role.PAIR}, RefusalCode.MALFORMED),
        ({"rank": 0}, RefusalCode.WRONG_RANK),
        ({"protocol": 2}, RefusalCode.VERSION),
    ],
)
def test_who_does_not_belong_here_is_refused(changed: dict[str, object], code: RefusalCode) -> None:
    client = ClientHandshake(replace(CLIENT, **changed), 0, SECRET)  # type: ignore[arg-type]
    server = ServerHandshake(SERVER, SECRET)
    run(client, server)
    assert refused(server).code is code
    assert isinstance(client.verdict, Refused)


def test_who_wants_another_rank_is_refused() -> None:
    client = ClientHandshake(CLIENT, 2, SECRET)
    server = ServerHandshake(SERVER, SECRET)
    run(client, server)
    assert refused(server).code is RefusalCode.WRONG_RANK
    assert "this is rank 0" in refused(server).reason


@pytest.mark.parametrize("newer", [True, False])
def test_version_skew_is_told_to_both_in_words_with_both_versions(newer: bool) -> None:
    mine, theirs = ("0.2.0", 2), ("0.1.0", 1)
    if not newer:
        mine, theirs = theirs, mine
    client = ClientHandshake(replace(CLIENT, version=mine[0], protocol=mine[1]), 0, SECRET)
    server = ServerHandshake(replace(SERVER, version=theirs[0], protocol=theirs[1]), SECRET)
    run(client, server)
    ages = ("older", "newer") if newer else ("newer", "older")
    for side, age in zip((client, server), ages, strict=True):
        assert refused(side).code is RefusalCode.VERSION
        assert all(part in refused(side).reason for part in ("0.1.0", "0.2.0", age))


@pytest.mark.parametrize(
    ("client_secret", "hands_out", "code"),
    [(None, False, RefusalCode.SECRET_NEEDED), (SECRET, True, RefusalCode.SECRET_UNKNOWN)],
)
def test_a_secret_on_one_side_only_is_explained(
    client_secret: bytes | None, hands_out: bool, code: RefusalCode
) -> None:
    client, server = sides(client_secret, hands_out=hands_out)
    run(client, server)
    assert refused(server).code is refused(client).code is code
    assert "RUEDA_SECRET_FILE" in refused(client).reason


def test_a_client_that_has_a_secret_takes_no_other() -> None:
    granting = ServerHandshake(SERVER, OTHER, hands_out=True)
    asking = ClientHandshake(CLIENT, 0, None, nonce=b"c" * 32)
    challenge = granting.feed(asking.start())
    client, _ = sides()
    client.start()
    client.feed(challenge)
    assert refused(client).code is RefusalCode.MALFORMED


def test_what_a_stranger_calls_its_version_cannot_forge_a_log() -> None:
    prefix = messages.PREFIX.pack(b"rueda", 1, 99, Role.MEETING, b"1\n\x1b[31mrank 0: all is well")
    server = ServerHandshake(SERVER, SECRET)
    server.feed(prefix)
    assert refused(server).code is RefusalCode.VERSION
    assert refused(server).reason.isprintable()
