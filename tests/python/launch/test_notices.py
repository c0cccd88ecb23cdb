"""What ranks tell the launcher of a stall: read strictly, said once, wherever their output goes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rueda.launch.crash import parse_report
from rueda.launch.notices import Notice, take_notices


def line(**changes: object) -> bytes:
    value = {"notice": "stall", "rank": 0, "headline": "h", "text": "h\n  t", **changes}
    return json.dumps(value).encode() + b"\n"


def test_notices_are_taken_and_a_crash_report_is_left() -> None:
    crash = b'{"rank": 0, "host": "x"'
    assert take_notices(line() + line(headline="i") + crash, 0) == (
        [Notice("h", "h\n  t"), Notice("i", "h\n  t")],
        crash,
    )


def test_a_notice_may_come_in_pieces() -> None:
    whole = line()
    for cut in range(len(b'{"notice": '), len(whole)):
        notices, kept = take_notices(whole[:cut], 0)
        assert (notices, kept) == ([], whole[:cut])
        assert take_notices(kept + whole[cut:], 0) == ([Notice("h", "h\n  t")], b"")


@pytest.mark.parametrize(
    "wrong",
    [
        line(rank=1),
        line(rank="0"),
        line(notice="other"),
        line(headline=1),
        line(text=None),
        b'{"notice": [\n',
        b'{"notice": "stall"\xff}\n',
        b'{"notice": ' + b"[" * 5000 + b"\n",
    ],
)
def test_what_is_no_notice_is_dropped(wrong: bytes) -> None:
    assert take_notices(wrong + line(), 0) == ([Notice("h", "h\n  t")], b"")


def test_a_line_without_end_hides_nothing_for_ever() -> None:
    assert take_notices(b'{"notice": "' + b"x" * 5000, 0) == ([], b"")


def test_control_characters_do_not_reach_the_terminal() -> None:
    notices, _ = take_notices(line(headline="a\x1b[2Jb\nc", text="d\x07e"), 0)
    assert notices == [Notice("ab", "de")]


def test_a_crash_report_after_notices_is_read() -> None:
    report = {
        **{"rank": 0, "host": "h", "pid": 1, "type": "T", "message": "m"},
        **{"traceback": "t", "code": 1, "blames": None, "victim": False},
    }
    _, left = take_notices(line() + json.dumps(report).encode(), 0)
    parsed = parse_report(left, 0)
    assert parsed is not None
    assert parsed.type == "T"


STALLS = """
    import sys, threading
    import torch
    import rueda as hvd

    def load(flag):
        import os
        while not os.path.exists(flag):
            threading.Event().wait(0.02)

    hvd.init()
    if hvd.rank() == 1:
        load(sys.argv[1])
    hvd.allreduce(torch.ones(1), name="late")
    hvd.shutdown()
"""


@pytest.mark.parametrize("redirected", [False, True])
def test_the_launcher_says_once_what_stalls_and_that_it_goes_on(
    start: Callable[..., object],
    script: Callable[[str], str],
    eventually: Callable[..., None],
    tmp_path: Path,
    redirected: bool,
) -> None:
    flag, said = tmp_path / "flag", tmp_path / "said"
    options = ["--redirects", "3", "--log-dir", str(tmp_path / "logs")] if redirected else []
    descriptor = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    # The second report would come after 60 s.
    launcher = start(
        *("-np", 2, "--stall-check-warning-time-seconds", "2", *options),
        *(script(STALLS), str(flag)),
        stderr=descriptor,
    )
    os.close(descriptor)
    eventually(lambda: "ruedarun: rank 0: stalled for" in said.read_text(), "word of the stall")
    flag.touch()
    assert launcher.finish().code == 0  # type: ignore[attr-defined]
    lines = said.read_text().splitlines()
    own = [text for text in lines if text.startswith("ruedarun: rank 0: stalled")]
    assert "allreduce 'late' waits for rank 1 (pid " in own[0]
    assert sum(text.startswith("ruedarun: rank 0: resumed after ") for text in lines) == 1
    # All of it where rank 0's own standard error is not shown; else that has said it.
    assert any(text.startswith("[0] [rueda, rank 0] warning: stalled") for text in lines) != (
        redirected
    )
    assert any(text.startswith("    ") and " in load" in text for text in lines) == redirected
    if redirected:
        log = (tmp_path / "logs" / "rank.0" / "stderr").read_text()
        assert log.startswith("[rueda, rank 0] warning: stalled for")


def test_without_the_check_nothing_is_said(
    start: Callable[..., object], script: Callable[[str], str], tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    text = STALLS.replace(
        "load(sys.argv[1])",
        # Longer than the check's time would be.
        "threading.Event().wait(1.5)",
    )
    launcher = start(
        *("-np", 2, "--no-stall-check", script(text), str(flag)),
        env={"RUEDA_STALL_CHECK_TIME_SECONDS": "0.1", "RUEDA_STALL_SHUTDOWN_TIME_SECONDS": "0.2"},
    )
    result = launcher.finish()  # type: ignore[attr-defined]
    assert (result.code, result.err) == (0, "")
