"""Output of whole jobs: whole lines, log files, slow and lost readers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_lines_are_never_torn(run: Callable, script: Callable) -> None:
    path = script(
        """
        import os
        rank = os.environ["RANK"]
        for number in range(2000):
            line = f"{number}:" + rank * (number % 300) + "\\n"
            os.write(1, line[:number % 7].encode())
            os.write(1, line[number % 7:].encode())
        """
    )
    result = run("-np", 3, path)
    assert result.code == 0
    expected = {r: [f"[{r}] {n}:" + str(r) * (n % 300) for n in range(2000)] for r in range(3)}
    lines = result.out.splitlines()
    assert len(lines) == 6000
    for rank in range(3):
        assert [line for line in lines if line.startswith(f"[{rank}]")] == expected[rank]


def test_a_line_of_a_megabyte_comes_through(run: Callable, script: Callable) -> None:
    path = script("import os; os.write(1, b'x' * (1 << 20)); print('end')")
    result = run(path)
    assert (result.code, result.out) == (0, "[0] " + "x" * (1 << 20) + "end\n")


def test_bytes_that_are_no_text_come_through(start: Callable, script: Callable) -> None:
    launcher = start(script("import os; os.write(1, b'\\xff\\x00\\xfe\\n')"))
    out, _ = launcher.process.communicate(timeout=30)
    assert out == b"[0] \xff\x00\xfe\n"


def test_output_comes_at_once_and_to_its_own_stream(start: Callable, script: Callable) -> None:
    path = script(
        """
        import signal, sys
        print("out")
        print("err", file=sys.stderr)
        print("up")
        signal.pause()
        """
    )
    launcher = start(path)
    assert [launcher.read_line(), launcher.read_line()] == ["[0] out\n", "[0] up\n"]
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.finish().err.startswith("[0] err\n")


def test_both_streams_into_one_file_tear_no_line(
    start: Callable, script: Callable, tmp_path: Path
) -> None:
    path = script(
        """
        import sys
        for number in range(500):
            sys.stdout.write(f"out {number}\\n")
            sys.stderr.write(f"err {number}\\n")
        """
    )
    with (tmp_path / "both").open("wb") as both:
        launcher = start(path, stdout=both.fileno(), stderr=both.fileno())
        assert launcher.process.wait(30) == 0
    lines = (tmp_path / "both").read_text().splitlines()
    assert len(lines) == 1000
    for name in ("out", "err"):
        own = [line for line in lines if name in line]
        assert own == [f"[0] {name} {number}" for number in range(500)]


def test_a_progress_bar_is_one_line_in_a_pipe(run: Callable, script: Callable) -> None:
    path = script(
        "import os\nfor n in range(101): os.write(2, b'\\r%3d%%' % n)\nos.write(2, b'\\n')"
    )
    assert run(path).err == "[0] 100%\n"


def test_a_lost_reader_ends_the_job_quietly(script: Callable, package_root: Path) -> None:
    path = script("while True: print('line')")
    result = subprocess.run(
        [
            "bash",
            "-c",
            '"$0" -m rueda.launch -np 2 "$1" | head -1; echo ${PIPESTATUS[0]}',
            sys.executable,
            path,
        ],
        env={**os.environ, "PYTHONPATH": str(package_root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert lines[0] in ("[0] line", "[1] line")
    assert lines[1:] == [str(128 + signal.SIGPIPE)]
    assert result.stderr == ""


def wait_channel(pid: int) -> str:
    """Return the kernel function in which a process sleeps."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def test_a_slow_reader_holds_the_workers_but_not_the_launcher(
    start: Callable, script: Callable, eventually: Callable
) -> None:
    path = script("import os\nos.write(2, b'up\\n')\nwhile True: os.write(1, b'x' * 99 + b'\\n')")
    launcher = start(path)

    def worker_waits_in_write() -> bool:
        return any("pipe_write" in wait_channel(pid) for pid in launcher.workers())

    eventually(worker_waits_in_write, "worker held back")
    # Nobody reads, and still the launcher hears a signal and obeys.
    launcher.process.send_signal(signal.SIGTERM)
    eventually(lambda: not launcher.workers(), "end of the worker")
    assert launcher.finish().code == 128 + signal.SIGTERM


def test_a_full_disk_does_not_end_the_job(start: Callable, script: Callable) -> None:
    path = script("print('lost'); import sys; print('heard', file=sys.stderr)")
    with Path("/dev/full").open("wb") as full:
        result = start(path, stdout=full.fileno()).finish()
    assert result.code == 0
    assert "[0] heard\n" in result.err
    assert result.err.count("standard output cannot be written (No space left on device)") == 1


def test_logs_and_console(run: Callable, script: Callable, tmp_path: Path) -> None:
    path = script("import sys; print('out'); print('a\\rb', file=sys.stderr)")
    logs = tmp_path / "logs"
    result = run("-np", 2, "--log-dir", logs, path)
    assert sorted(result.out.splitlines()) == ["[0] out", "[1] out"]
    for rank in range(2):
        assert (logs / f"rank.{rank}" / "stdout").read_bytes() == b"out\n"
        assert (logs / f"rank.{rank}" / "stderr").read_bytes() == b"a\rb\n"  # Every byte.


def test_redirected_output_goes_to_the_log_only(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    path = script("import sys; print('out'); print('err', file=sys.stderr); sys.exit('last words')")
    logs = tmp_path / "logs"
    result = run("-np", 2, "--log-dir", logs, "-r", "3", "-t", "1:1", path)
    assert result.out == "[1] out\n"
    assert (logs / "rank.0" / "stdout").read_text() == "out\n"
    assert (logs / "rank.1" / "stderr").read_text() == "err\nlast words\n"
    # The report finds the last lines in the log, and says where it is.
    assert "  | last words\n" in result.err
    assert str(logs) in result.err


def test_redirects_without_a_folder_get_a_new_one(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    result = run("-r", "3", script("print('out')"), env={"TMPDIR": str(tmp_path)})
    assert (result.code, result.out) == (0, "")
    folder = result.err.removeprefix("ruedarun: the logs are in ").strip()
    assert Path(folder, "rank.0", "stdout").read_text() == "out\n"


def test_a_log_that_cannot_be_written_is_said_once(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    (tmp_path / "rank.0").mkdir()
    (tmp_path / "rank.0" / "stdout").symlink_to("/dev/full")
    result = run("--log-dir", tmp_path, script("for n in range(9): print(n)"))
    assert result.out.splitlines() == [f"[0] {n}" for n in range(9)]
    assert result.err.count("the log of rank 0 cannot be written") == 1


def test_only_the_chosen_ranks_are_shown(run: Callable, script: Callable) -> None:
    path = script("import os, sys; print('out'); sys.exit(os.environ['RANK'] == '1')")
    result = run("-np", 3, "--local-ranks-filter", "0,2", path)
    assert sorted(result.out.splitlines()) == ["[0] out", "[2] out"]
    assert "  | out\n" in result.err  # The last lines of a hidden rank are known all the same.


@pytest.mark.parametrize("redirect", ["1", "0"])
def test_a_daemon_that_holds_the_output_open_does_not_hold_the_launcher(
    run: Callable, script: Callable, redirect: str, tmp_path: Path
) -> None:
    path = script(
        """
        import os, signal
        if os.fork() == 0:
            os.setsid()
            signal.alarm(20)
            signal.pause()
        os.write(1, b"unfinished")
        """
    )
    result = run("-t", redirect, "--log-dir", tmp_path, path)
    assert (result.code, result.out) == (0, "[0] unfinished\n")
