from __future__ import annotations

import errno
import os
import pty
import select
from collections.abc import Iterator

import pytest

from rueda.launch.lines import Piece
from rueda.launch.sink import Look, Sink, same_output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError as error:
            assert error.errno == errno.EBADF


def written(sink: Sink, read_end: int) -> bytes:
    data = b""
    while sink.pending:
        sink.flush()
        data += os.read(read_end, 1 << 20)
    return data


def test_each_line_gets_the_prefix_of_its_rank(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    sink.put(0, Piece(b"a"))
    sink.put(11, Piece(b""))
    sink.say("words")
    assert written(sink, pipe[0]) == b"[0] a\n[11] \nwords\n"


def test_parts_of_a_long_line_stay_together(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    sink.put(0, Piece(b"aaa", ends=False))
    sink.put(0, Piece(b"bbb", starts=False, ends=False))
    sink.put(0, Piece(b"", starts=False))
    sink.put(1, Piece(b"c"))
    assert written(sink, pipe[0]) == b"[0] aaabbb\n[1] c\n"


def test_a_long_line_is_broken_rather_than_mixed_with_another(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    sink.put(0, Piece(b"aaa", ends=False))
    sink.put(1, Piece(b"c"))
    sink.put(0, Piece(b"bbb", starts=False))
    sink.put(0, Piece(b"ddd", ends=False))
    sink.say("words")
    sink.put(0, Piece(b"", starts=False))
    assert written(sink, pipe[0]) == b"[0] aaa\n[1] c\n[0] bbb\n[0] ddd\nwords\n"


def test_colour_is_for_the_prefix_alone(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look(colour=True))
    sink.put(1, Piece(b"plain"))
    assert written(sink, pipe[0]) == b"\x1b[33m[1]\x1b[0m plain\n"


def test_a_flush_never_waits_for_the_reader(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    sink.put(0, Piece(b"x" * 200_000))
    poller = select.poll()
    poller.register(pipe[1], select.POLLOUT)
    while poller.poll(0):
        sink.flush()  # Blocks for ever, until the test's deadline, if it writes too much at once.
    assert 0 < sink.pending < 200_000
    assert os.get_blocking(pipe[1])


def test_a_lost_reader_is_noticed_and_what_comes_is_dropped(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    os.close(pipe[0])
    sink.put(0, Piece(b"x"))
    sink.flush()
    sink.put(0, Piece(b"y"))
    sink.say("z")
    assert sink.broken_pipe
    assert sink.pending == 0


def test_a_full_disk_is_an_error_but_no_lost_reader() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        sink = Sink(descriptor, Look())
        sink.put(0, Piece(b"x"))
        sink.flush()
        assert sink.error is not None
        assert sink.error.errno == errno.ENOSPC
        assert not sink.broken_pipe
    finally:
        os.close(descriptor)


def test_files_are_written_without_epoll(tmp_path: object) -> None:
    path = f"{tmp_path}/out"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        sink = Sink(descriptor, Look())
        assert not sink.pollable
        sink.put(0, Piece(b"x" * 100_000))
        sink.flush()
        assert sink.pending == 0
        assert os.fstat(descriptor).st_size == 100_005
    finally:
        os.close(descriptor)


def test_a_progress_bar_is_redrawn_below_other_lines(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look(terminal=True))
    sink.show_progress(1, b"10%")
    sink.put(0, Piece(b"line"))
    sink.put(1, Piece(b"100%"))
    sink.put(0, Piece(b"after"))
    clear = b"\r\x1b[K"
    bar = b"[1] 10%"
    shown = bar + clear + b"[0] line\n" + bar + clear + b"[1] 100%\n" + b"[0] after\n"
    assert written(sink, pipe[0]) == shown


def test_a_progress_bar_never_wraps(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look(terminal=True))
    sink.show_progress(0, b"x" * 500)
    assert len(written(sink, pipe[0])) < 80


def test_without_a_terminal_no_progress_is_drawn(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], Look())
    sink.show_progress(0, b"10%")
    assert sink.pending == 0


def test_the_same_output_is_recognised_under_two_numbers(pipe: tuple[int, int]) -> None:
    other = os.dup(pipe[1])
    master, slave = pty.openpty()
    try:
        assert same_output(pipe[1], other)
        assert not same_output(pipe[1], slave)
    finally:
        for descriptor in (other, master, slave):
            os.close(descriptor)
