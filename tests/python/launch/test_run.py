"""Whole jobs: what workers get, what comes out, which exit code is passed on."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def test_every_worker_learns_its_place(run: Callable, script: Callable) -> None:
    path = script(
        """
        import json, os, socket, sys
        port = int(os.environ["MASTER_PORT"])
        if os.environ["RANK"] == "0":  # The port is kept for rank 0, who may listen there.
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((os.environ["MASTER_ADDR"], port))
            server.listen()
        names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "RUEDA_RANK", "RUEDA_JOB_ID", "MASTER_PORT"]
        leads = os.getpgrp() == os.getpid()
        print(json.dumps([[os.environ[n] for n in names], sys.argv[1:], leads]))
        """
    )
    own = ["--its", "--own", "-np", "9", "a b", ""]
    result = run("-np", 3, path, *own, env={"RANK": "77", "PMIX_RANK": "5"})
    assert result.code == 0, result.err
    lines = sorted(result.out.splitlines())
    places = [json.loads(line[4:]) for line in lines]
    assert [line[:4] for line in lines] == ["[0] ", "[1] ", "[2] "]
    assert [place[0][:4] for place in places] == [[str(r), "3", str(r), str(r)] for r in range(3)]
    assert all(place[1] == own and place[2] for place in places)
    assert len({tuple(place[0][4:]) for place in places}) == 1
    assert len(places[0][0][4]) == 32


def test_modules_and_commands_are_run_too(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text("import sys; print(__package__, sys.argv[1:])")
    result = run("-m", "pack", "-x", cwd=tmp_path)
    assert (result.out, result.code) == ("[0] pack ['-x']\n", 0), result.err
    result = run("-np", 2, "--no-python", "sh", "-c", "echo $RANK $0 $1", "a", "b c")
    assert sorted(result.out.splitlines()) == ["[0] 0 a b c", "[1] 1 a b c"]


def test_nothing_is_started_when_the_command_is_wrong(run: Callable, script: Callable) -> None:
    path = script("print('started')")
    for words in (
        ["-np", "0", path],
        ["-np", "2", "--nope", path],
        ["-np", "2", path + "x"],
        ["-np", "2", "--log-dir", "/proc/nothing", path],
        ["-np", "2"],
    ):
        result = run(*words)
        assert (result.code, result.out) == (2, ""), words
        assert result.err.startswith("ruedarun: ")
        assert result.err.count("\n") == 1


def test_without_arguments_the_usage_is_shown(run: Callable) -> None:
    result = run()
    assert result.code == 2
    assert result.err.startswith("usage: ruedarun")


def test_a_command_that_cannot_be_executed_ends_what_was_started(
    run: Callable, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    result = run("-np", 2, "--no-python", broken)
    assert result.code == 126
    assert "rank 0 could not be started" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_help_fits_any_terminal(run: Callable, columns: int) -> None:
    result = run("--help", env={"COLUMNS": str(columns)})
    assert result.code == 0
    lines = result.out.splitlines()
    # Examples are to be copied and never broken.
    assert max(len(line) for line in lines if "ruedarun -np" not in line) <= columns
    for name in ("-np", "--nproc-per-node", "--log-dir", "--grace-seconds", "--no-python"):
        assert name in result.out


def test_the_help_imports_nothing_heavy(package_root: Path) -> None:
    code = (
        "import sys; from rueda.launch.cli import main; main(['--help']);"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'psutil', 'rich', 'subprocess',"
        " 'socket', 'ctypes', 'asyncio', 'multiprocessing', 'argparse', 'tempfile'}))"
    )
    begin = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package_root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    print(f"ruedarun --help took {time.monotonic() - begin:.3f} s")
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_version_is_one_line(run: Callable) -> None:
    result = run("--version")
    assert result.code == 0
    assert result.out.startswith("ruedarun ")
    assert result.out.count("\n") == 1


def test_verbose_says_what_is_started(run: Callable, script: Callable) -> None:
    path = script("pass")
    result = run("-np", 2, "--verbose", path, "--lr", "0.1")
    assert f"{sys.executable} {path} --lr 0.1" in result.err
    assert "ruedarun: rank 1: pid " in result.err
    assert result.err.count("OMP_NUM_THREADS=") == 1


def test_ranks_that_end_early_without_error_are_fine(start: Callable, script: Callable) -> None:
    path = script(
        """
        import os, sys
        if os.environ["RANK"] == "0":
            open(sys.argv[1]).read()  # Until the test opens the other end.
            print("last")
        else:
            print("gone")
        """
    )
    fifo = Path(path).with_name("fifo")
    os.mkfifo(fifo)
    launcher = start("-np", 3, path, fifo)
    lines = {launcher.read_line(), launcher.read_line()}
    fifo.write_text("go")
    result = launcher.finish()
    assert lines == {"[1] gone\n", "[2] gone\n"}
    assert (result.code, result.out, result.err) == (0, "[0] last\n", "")


def test_an_idle_launcher_sleeps_without_a_time_limit(
    start: Callable, script: Callable, eventually: Callable
) -> None:
    launcher = start("-np", 2, script("import signal; print('up'); signal.pause()"))
    assert {launcher.read_line(), launcher.read_line()} == {"[0] up\n", "[1] up\n"}

    def sleeps_for_ever() -> bool:
        # Number of the call, then its arguments; the fourth of epoll_wait is the time-out.
        words = Path(f"/proc/{launcher.pid}/syscall").read_text().split()
        return len(words) > 4 and int(words[4], 16) & 0xFFFFFFFF == 0xFFFFFFFF

    eventually(sleeps_for_ever, "launcher asleep without a time limit")
    assert len(list(Path(f"/proc/{launcher.pid}/task").iterdir())) == 1


def test_closed_standard_descriptors_are_no_trouble(script: Callable, package_root: Path) -> None:
    path = script("print('lost')")
    result = subprocess.run(
        ["sh", "-c", 'exec "$0" -m rueda.launch "$1" <&- >&- 2>&-', sys.executable, path],
        env={**os.environ, "PYTHONPATH": str(package_root)},
        timeout=30,
        check=False,
    )
    assert result.returncode == 0


def test_a_terminal_gets_colours_and_a_file_does_not(
    start: Callable, script: Callable, tmp_path: Path
) -> None:
    path = script("import os; print(os.environ.get('COLUMNS'))")
    master, slave = pty.openpty()
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    try:
        coloured, plain = b"\x1b[36m[0]\x1b[0m ", b"[0] "
        for env, prefix in (
            ({"TERM": "xterm"}, coloured),
            ({"TERM": "xterm", "NO_COLOR": "1"}, plain),
            ({"TERM": "dumb"}, plain),
        ):
            launcher = start(path, stdout=slave, stderr=slave, env=env)
            assert launcher.process.wait(30) == 0
            assert os.read(master, 1000).startswith(prefix)
        launcher = start(path, stdout=out)
        launcher.finish()
        assert (tmp_path / "out").read_bytes() == b"[0] None\n"
    finally:
        for descriptor in (master, slave, out):
            os.close(descriptor)


def test_limits_are_inherited_unchanged(run: Callable, script: Callable) -> None:
    path = script("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))")
    assert run(path).out == f"[0] {resource.getrlimit(resource.RLIMIT_NOFILE)}\n"
