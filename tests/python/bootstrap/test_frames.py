"""Frames arrive whole, in order and unaltered, or not at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda._bootstrap.frames import (
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameError,
    FrameKind,
    FrameReader,
    FrameWriter,
)

KEY = bytes(range(32))
LABEL = b"client to server"
CARD = {"rank": 1, "host": "böse"}


def writer() -> FrameWriter:
    return FrameWriter(KEY, LABEL)


def reader(key: bytes = KEY, label: bytes = LABEL) -> FrameReader:
    return FrameReader(key, label)


@given(st.lists(st.integers(1, 50), max_size=20))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(cuts: list[int]) -> None:
    sealing = writer()
    data = sealing.seal(FrameKind.CARD, CARD, 2) + sealing.seal(FrameKind.READY, {}, 0)
    opening, frames, place = reader(), [], 0
    for cut in [*cuts, len(data)]:
        frames += opening.feed(data[place : place + cut])
        place += cut
    assert frames == [Frame(FrameKind.CARD, CARD, 2), Frame(FrameKind.READY, {}, 0)]


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    frame = bytearray(writer().seal(FrameKind.CARD, CARD, 2))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    try:
        # A longer length makes it incomplete: then nothing must come out.
        assert reader().feed(bytes(frame)) == []
    except FrameError:
        return
    assert bit < 32


def test_replay_reordering_and_reflection_are_refused() -> None:
    sealing = writer()
    first = sealing.seal(FrameKind.CARD, CARD, 0)
    second = sealing.seal(FrameKind.READY, {}, 0)
    with pytest.raises(FrameError):
        reader().feed(first + first)
    with pytest.raises(FrameError):
        reader().feed(second)
    with pytest.raises(FrameError):
        reader(label=b"server to client").feed(first)
    with pytest.raises(FrameError):
        reader(key=bytes(32)).feed(first)


def test_a_long_frame_is_refused_by_its_header_alone() -> None:
    with pytest.raises(FrameError, match="too long"):
        reader().feed(struct.pack(">IBB", MAX_PAYLOAD_BYTES + 1, FrameKind.CARD, 0))
    with pytest.raises(FrameError, match="too long"):
        reader().feed(struct.pack(">IBB", 2, FrameKind.PEER, 4))
    with pytest.raises(FrameError, match="too long"):
        writer().seal(FrameKind.CARD, {"x": "x" * MAX_PAYLOAD_BYTES}, 0)
