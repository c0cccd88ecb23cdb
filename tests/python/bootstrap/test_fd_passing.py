"""Descriptors arrive whole, close-on-exec and owned, and wrong ones are found out."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rueda._bootstrap.fd_passing import (
    DescriptorBag,
    DescriptorsLostError,
    arena_problem,
    is_socket,
    pidfd_problem,
    receive_some,
    send_some,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_descriptors_come_with_their_bytes_and_close_on_exec(
    pair: tuple[socket.socket, socket.socket], make_arena: Callable[..., int]
) -> None:
    arena = make_arena(name="mine")
    with DescriptorBag() as bag:
        assert send_some(pair[0], b"abc", [arena, pair[0].fileno()]) == 3
        data, descriptors = receive_some(pair[1], bag)
        assert data == b"abc"
        assert "mine" in str(Path(f"/proc/self/fd/{descriptors[0]}").readlink())
        assert is_socket(descriptors[1])
        assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in descriptors)
    assert not any(Path(f"/proc/self/fd/{fd}").is_symlink() for fd in descriptors)


def open_numbers() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def test_too_many_open_files_are_an_error_and_leave_nothing_open(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    send_some(pair[0], b"x", [0, 0, 0])
    before = open_numbers()
    highest = max(before)
    # One of the numbers is that of the listing itself.
    free = highest + 1 - (len(before) - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    # Fill the gaps below the limit, all but one.
    fillers = [os.dup(0) for _ in range(max(0, free - 1))]
    try:
        with DescriptorBag() as bag, pytest.raises(DescriptorsLostError, match="ulimit -n"):
            receive_some(pair[1], bag)
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_numbers() == before


def test_a_bag_closes_what_it_still_owns(make_arena: Callable[..., int]) -> None:
    bag = DescriptorBag()
    kept, dropped = os.dup(make_arena()), bag.adopt(os.dup(make_arena()))
    assert bag.release(bag.adopt(kept)) == kept
    bag.close()
    bag.close()
    os.fstat(kept)
    os.close(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(dropped)


def test_arenas_are_checked(make_arena: Callable[..., int]) -> None:
    assert arena_problem(make_arena(size=4096), 4096) is None
    assert arena_problem(make_arena(size=4096), 8192) == "has 4096 bytes, not 8192"
    assert "seals" in (arena_problem(make_arena(size=4096, sealed=False), 4096) or "")
    assert arena_problem(0, 4096) is not None


def test_pidfds_are_checked(make_arena: Callable[..., int]) -> None:
    with DescriptorBag() as bag:
        assert pidfd_problem(bag.adopt(os.pidfd_open(os.getpid()))) is None
    assert pidfd_problem(make_arena()) is not None
    assert pidfd_problem(987654) is not None
    assert not is_socket(make_arena())
    assert not is_socket(987654)
