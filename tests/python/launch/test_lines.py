from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rueda.launch.lines import LONGEST_KEPT, LineBuffer, Piece


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return [*parts, data]


def feed_all(parts: list[bytes]) -> list[Piece]:
    lines = LineBuffer()
    return [piece for part in parts for piece in lines.feed(part)] + lines.finish()


@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))),
    st.lists(st.integers(0, 9), max_size=60),
)
def test_lines_come_out_whole_however_they_arrive(texts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(text + b"\n" for text in texts)
    assert feed_all(cut(data, sizes)) == [Piece(text) for text in texts]


def test_a_last_line_without_newline_comes_at_the_end() -> None:
    lines = LineBuffer()
    assert lines.feed(b"one\ntw") == [Piece(b"one")]
    assert lines.feed(b"o") == []
    assert lines.finish() == [Piece(b"two")]
    assert lines.finish() == []


def test_a_line_that_is_too_long_is_passed_on_in_parts() -> None:
    lines = LineBuffer()
    pieces = lines.feed(b"x" * (LONGEST_KEPT + 1))
    assert pieces == [Piece(b"x" * (LONGEST_KEPT + 1), starts=True, ends=False)]
    assert lines.feed(b"yy\nz\n") == [Piece(b"yy", starts=False, ends=True), Piece(b"z")]


def test_a_line_cut_short_after_a_part_is_ended() -> None:
    lines = LineBuffer()
    lines.feed(b"x" * (LONGEST_KEPT + 1))
    assert lines.finish() == [Piece(b"", starts=False, ends=True)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 30), max_size=20))
def test_what_is_kept_back_stays_bounded(data: bytes, sizes: list[int]) -> None:
    lines = LineBuffer()
    for part in cut(data * 500, [size * 1000 for size in sizes]):
        lines.feed(part)
        assert len(lines._part) <= LONGEST_KEPT + 1


def test_a_progress_bar_leaves_its_last_state() -> None:
    assert feed_all([b" 0%\r", b" 50%\r 1", b"00%\n", b"done\n"]) == [
        Piece(b" 100%"),
        Piece(b"done"),
    ]


def test_a_progress_bar_shows_its_state_meanwhile() -> None:
    lines = LineBuffer()
    lines.feed(b"\r 10%")
    assert lines.progress == b" 10%"
    lines.feed(b"\r 20%\r")
    assert lines.progress == b" 20%"
    lines.feed(b"\n")
    assert lines.progress is None


def test_line_ends_of_other_systems_are_taken() -> None:
    assert feed_all([b"one\r", b"\ntwo\r\n"]) == [Piece(b"one"), Piece(b"two")]


def test_an_endless_progress_bar_is_not_collected() -> None:
    lines = LineBuffer()
    for number in range(20000):
        assert lines.feed(b"\r%d of many" % number) == []
    assert lines.finish() == [Piece(b"19999 of many")]
