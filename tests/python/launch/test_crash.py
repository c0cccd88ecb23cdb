from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda._failure_report import report_of
from rueda._world import World
from rueda.launch.crash import CrashReport, parse_report, recorded_traceback

GOOD = {
    "rank": 2,
    "host": "h",
    "pid": 77,
    "type": "ValueError",
    "message": "bad",
    "traceback": "Traceback ...",
    "code": 1,
    "blames": None,
    "victim": False,
}


def encoded(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_report_is_read() -> None:
    expected = CrashReport(2, "h", 77, "ValueError", "bad", "Traceback ...", 1, 0, True)
    assert parse_report(encoded(blames=0, victim=True) + b"\n", 2) == expected


def test_what_follows_the_first_report_is_ignored() -> None:
    report = parse_report(encoded() + b"\n" + encoded(message="second"), 2)
    assert report is not None
    assert report.message == "bad"


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 1},
        {"rank": True},
        {"pid": "77"},
        {"code": None},
        {"blames": "1"},
        {"blames": -1},
        {"blames": True},
        {"victim": 1},
        {"message": None},
        {"traceback": ["x"]},
        {"type": 3},
        {"host": 5},
    ],
)
def test_a_report_of_the_wrong_form_is_no_report(changes: dict[str, object]) -> None:
    assert parse_report(encoded(**changes), 2) is None


@given(st.binary(max_size=300))
def test_noise_is_no_report(noise: bytes) -> None:
    assert parse_report(noise, 0) is None


@given(st.integers(0, len(encoded()) - 1))
def test_half_a_report_is_no_report(length: int) -> None:
    assert parse_report(encoded()[:length], 2) is None


@pytest.mark.parametrize("data", [b"[" * 60000, b'{"a":' * 10000, b"[1]", b"3", b"null"])
def test_odd_json_is_no_report(data: bytes) -> None:
    assert parse_report(data, 0) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (json.dumps({"message": {"message": "m", "extraInfo": {"py_callstack": "T"}}}), "T"),
        (json.dumps({"message": "old form"}), ""),
        (json.dumps({"message": {"extraInfo": {"py_callstack": 3}}}), ""),
        ("[1]", ""),
        ("{", ""),
        ("", ""),
    ],
)
def test_the_error_file_of_torch_is_read(content: str, text: str) -> None:
    descriptor = os.memfd_create("error")
    try:
        os.write(descriptor, content.encode())
        assert recorded_traceback(descriptor) == text
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("piece", ["x", "\u00e9", "\U0001f600", "\ud800\0\n"], ids=ascii)
def test_what_a_rank_reports_fits_and_can_be_read(piece: str) -> None:
    encoded = report_of(ValueError(piece * 100_000), World(1, 2, 1, 2, 0, 1, "python", "key"))
    assert len(encoded) <= 48 << 10
    report = parse_report(encoded, 1)
    assert report is not None
    assert report.type == "ValueError"
    assert len(report.message) == 2000
