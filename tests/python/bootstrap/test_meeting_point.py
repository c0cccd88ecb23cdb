"""Meeting points listen narrowly, know their peers' user, and say what to do when they cannot."""

from __future__ import annotations

import os
import re
import socket
from contextlib import closing

import pytest

from rueda._bootstrap.meeting_point import TcpPoint, UnixPoint, parse_rendezvous
from rueda.exceptions import RuedaError


def test_addresses_are_read() -> None:
    for text in ("node1:29400", "10.0.0.1:1", "[fd00::1]:65535", "localhost:29400"):
        assert str(parse_rendezvous(text, several_hosts=False)) == f"the TCP address {text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node1",
        "node1:",
        ":29400",
        "node1:0",
        "node1:65536",
        "node1:x",
        "fd00::1:29400",
        "[node1]:29400",
        "[::1]",
        "[1.2.3]:5",
        "node 1:29400",
        "tcp://node1:29400",
        "node1:29400\n",
        "0.0.0.0:29400",
        "[::]:29400",
    ],
)
def test_what_is_no_address_or_all_of_them_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RUEDA_RENDEZVOUS"):
        parse_rendezvous(text, several_hosts=False)


@pytest.mark.parametrize("text", ["localhost:29400", "127.0.0.1:29400", "[::1]:29400"])
def test_loopback_is_refused_for_several_hosts(text: str) -> None:
    with pytest.raises(ValueError, match="several hosts"):
        parse_rendezvous(text, several_hosts=True)


def test_a_name_without_an_address_fails_with_the_fix() -> None:
    point = parse_rendezvous("no-such-host.invalid:29400", several_hosts=True)
    with pytest.raises(RuedaError, match=r"does not resolve .* Set RUEDA_RENDEZVOUS"):
        point.addresses()


def test_an_address_of_another_host_cannot_be_listened_at() -> None:
    with pytest.raises(RuedaError, match="an address of the host that rank 0 runs on"):
        TcpPoint("192.0.2.77", 29400).listen()  # a documentation address (RFC 5737)


def test_a_taken_port_is_explained() -> None:
    with closing(TcpPoint("127.0.0.1", 0).listen()) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(RuedaError, match=f"127.0.0.1:{port}.*set another port"):
            TcpPoint("127.0.0.1", port).listen()


def test_tcp_listens_at_exactly_the_address() -> None:
    with closing(TcpPoint("127.0.0.1", 0).listen()) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_unix_names_differ_by_job_and_user_and_tell_neither() -> None:
    names = {str(UnixPoint(key, uid)) for key in ("a", "b") for uid in (0, 1)}
    assert len(names) == 4
    assert "job-7" not in str(UnixPoint("job-7"))


def test_a_taken_name_says_who_holds_it() -> None:
    with closing(UnixPoint("taken-by-a-test").listen()):
        told = re.escape(f"by process {os.getpid()} of user {os.geteuid()}")
        with pytest.raises(RuedaError, match=f"{told}.*RUEDA_JOB_ID"):
            UnixPoint("taken-by-a-test").listen()


def test_another_users_process_is_found_out() -> None:
    here, there = socket.socketpair()
    with closing(here), closing(there):
        assert UnixPoint("k").admit(here) is None
        stranger = UnixPoint("k", uid=os.geteuid() + 1).admit(here)
        assert stranger is not None
        assert f"user {os.geteuid()}" in stranger
