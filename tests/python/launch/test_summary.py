from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rueda.launch.crash import CrashReport
from rueda.launch.summary import Witness, describe_end, failure_block, printable
from rueda.launch.verdict import Exit, find_cause

TRACE = "Traceback (most recent call last):\n  File x\nValueError: bad\n"
REPORT = CrashReport(1, "h", 42, "ValueError", "bad", TRACE, 1, None, False)
LOST = CrashReport(0, "h", 41, "RuedaError", "rank 1 left", "VICTIM TRACE", 1, 1, True)


def block(*witnesses: Witness, command: tuple[str, ...] = ("ruedarun", "x.py")) -> str:
    verdict = find_cause([witness.end for witness in witnesses])
    assert verdict is not None
    return failure_block(verdict, witnesses, "node1", command)


def test_the_block_names_what_is_known_about_the_cause() -> None:
    text = block(
        Witness(Exit(0, 1, 3.0, report=LOST), 41, ["VICTIM LINE"]),
        Witness(
            Exit(1, 1, 3.26, report=REPORT),
            42,
            ["epoch 3", *TRACE.splitlines()],
            logs=(Path("logs/rank.1/stderr"),),
        ),
        command=("ruedarun", "-np", "2", "my train.py"),
    )
    for words in (
        "rank 1 of 2: ValueError: bad",
        "node1",
        "42",
        "exit code 1, 3.26 s after start",
        "logs/rank.1/stderr",
        "  | epoch 3",
        "  0: exit code 1, had lost rank 1",
        "  ruedarun -np 2 'my train.py'",
    ):
        assert words in text
    assert text.count("ValueError: bad") == 2  # In the headline and in the traceback.
    assert "VICTIM" not in text


def test_without_a_report_the_traceback_is_shown_from_its_beginning() -> None:
    frames = [f"  frame {number}" for number in range(40)]
    lines = ["before", "Traceback (most recent call last):", *frames, "ValueError: bad"]
    text = block(Witness(Exit(0, 1, 1.0), 41, lines))
    assert "  | Traceback (most recent call last):\n" in text
    assert "before" not in text


def test_only_the_last_lines_are_shown() -> None:
    text = block(Witness(Exit(0, 1, 1.0), 41, [f"line {number}" for number in range(200)]))
    assert "  | line 180\n" in text
    assert "  | line 179\n" not in text


def test_a_traceback_that_torch_recorded_is_shown() -> None:
    assert "  | ValueError: bad" in block(Witness(Exit(0, 1, 1.0), 41, traceback=TRACE))


def test_a_very_long_traceback_keeps_both_ends() -> None:
    trace = "\n".join(f"frame {number}" for number in range(1000))
    report = dataclasses.replace(REPORT, traceback=trace)
    text = block(Witness(Exit(1, 1, 1.0, report=report), 42))
    assert "  | frame 0\n" in text
    assert "  | ... 940 lines ...\n" in text
    assert "  | frame 999\n" in text


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (Exit(0, 3, 1.0), "exit code 3"),
        (Exit(0, -11, 1.0), "SIGSEGV"),
        (Exit(0, -9, 1.0), "SIGKILL (possibly out of memory: see dmesg)"),
        (Exit(0, -9, 1.0, stopped=True), "SIGKILL"),
        (Exit(0, 139, 1.0), "exit code 139, which stands for SIGSEGV"),
        (Exit(0, -40, 1.0), "signal 40"),
    ],
)
def test_an_end_is_described(end: Exit, text: str) -> None:
    assert describe_end(end) == text


def test_an_out_of_memory_kill_is_said_for_sure() -> None:
    text = describe_end(Exit(0, -9, 1.0, out_of_memory=True))
    assert "out-of-memory killer" in text
    assert "possibly" not in text


def test_many_other_ranks_are_not_all_listed() -> None:
    others = [Witness(Exit(rank, 0, 1.0), 40 + rank) for rank in range(1, 100)]
    assert "  and 83 more" in block(Witness(Exit(0, 1, 1.0), 40), *others)


@given(st.text(max_size=300), st.text(max_size=80), st.lists(st.text(max_size=80), max_size=5))
def test_the_block_is_plain_text_of_sixty_columns(
    message: str, kind: str, lines: list[str]
) -> None:
    report = dataclasses.replace(REPORT, message=message, type=kind, traceback=message)
    text = block(
        Witness(Exit(0, 1, 3.0, report=LOST), 41),
        Witness(Exit(1, -9, 2.0, report=report), 42, lines),
    )
    assert printable(text) == text
    own = [line for line in text.split("\n") if not line.startswith("  | ")]
    assert max(map(len, own)) <= 60


def test_escape_sequences_are_taken_out() -> None:
    assert printable("\x1b[31mred\x1b[0m\a \x1b]0;title\x07tab\t\r\n") == "red 0;titletab\t\n"
