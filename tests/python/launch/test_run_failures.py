"""Jobs that fail: the right rank is blamed, its code is passed on, nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rueda.launch.summary import WIDTH

# What rueda's exception hook does in a worker, without rueda.
REPORT = """
    import json, os, signal, sys, traceback
    rank = int(os.environ["RANK"])
    def report(error, victim=False, blames=None, pid=None):
        text = "".join(traceback.format_exception(error))
        os.write(int(os.environ["RUEDA_REPORT_FD"]), json.dumps(dict(
            rank=rank, host="here", pid=pid or os.getpid(), type=type(error).__name__,
            message=str(error), traceback=text, code=1, blames=blames, victim=victim)).encode())
        sys.stderr.write(text)
    def wait_for_end():
        while True:
            signal.pause()
"""


def block_of(err: str) -> str:
    """Return the one failure block."""
    rule = "-" * WIDTH + "\n"
    assert err.count(rule) == 2, err
    return err.split(rule)[1]


def test_the_code_and_the_last_lines_of_a_plain_script_are_passed_on(
    run: Callable, script: Callable
) -> None:
    path = script(
        """
        import os, sys
        if os.environ["RANK"] == "1":
            print("about to fail")
            raise ValueError("no such thing")
        """
    )
    result = run("-np", 3, path, "--lr", "a b")
    block = block_of(result.err)
    assert result.code == 1
    assert "failed on rank 1 of 3" in block
    assert "  | about to fail\n  | Traceback (most recent call last):\n" in block
    assert "  | ValueError: no such thing\n" in block
    assert f"python -m rueda.launch -np 3 {path} --lr 'a b'\n" in block
    assert os.uname().nodename in block
    assert "\x1b" not in block


def test_a_setting_that_init_refuses_is_the_cause(run: Callable, script: Callable) -> None:
    path = script("import rueda; rueda.init()")
    result = run("-np", 2, path, env={"RUEDA_BACKEND": "pigeon"})
    assert result.code == 1
    assert "ValueError: [R101] RUEDA_BACKEND='pigeon' is not accepted" in block_of(result.err)


def test_an_exit_code_is_passed_on(run: Callable, script: Callable) -> None:
    path = script("import os, sys; sys.exit(int(os.environ['RANK']) * 21)")
    result = run("-np", 2, path)
    assert result.code == 21
    assert "exit code 21" in block_of(result.err)


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_death_is_named_and_passed_on(
    run: Callable, script: Callable, signum: signal.Signals
) -> None:
    path = script("import os, sys; os.kill(os.getpid(), int(sys.argv[1]))")
    result = run(path, int(signum))
    block = block_of(result.err)
    assert result.code == 128 + signum
    assert signum.name in block
    assert ("possibly out of memory" in " ".join(block.split())) == (signum == signal.SIGKILL)


def test_the_cause_is_shown_and_not_the_victims_that_ended_before(
    run: Callable, script: Callable
) -> None:
    path = script(
        REPORT
        + """
    if rank == 2:
        open(sys.argv[1]).read()  # Ends after both victims have.
        report(KeyError("the cause"))
        sys.exit(3)
    report(ConnectionError("VICTIM"), victim=True, blames=2)
    with open(sys.argv[1], "w") if rank == 0 else open(os.devnull):
        sys.stdout.close()
        os.close(2)
        os._exit(1)
    """
    )
    fifo = Path(path).with_name("fifo")
    os.mkfifo(fifo)
    result = run("-np", 3, path, fifo)
    block = block_of(result.err)
    assert result.code == 3
    assert "failed on rank 2 of 3: KeyError: 'the cause'" in block
    assert block.count("KeyError: 'the cause'") == 2  # Headline and traceback, not the last lines.
    assert "VICTIM" not in block
    assert "  0: exit code 1, had lost rank 2" in block


def test_survivors_get_two_seconds_for_their_own_error(run: Callable, script: Callable) -> None:
    path = script(
        REPORT
        + """
    if rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if signal.sigtimedwait([signal.SIGTERM], 1) is None:  # Nothing for a second: time to notice.
        report(ConnectionError("lost rank 0"), victim=True, blames=0)
    sys.exit(1)
    """
    )
    result = run("-np", 2, path)
    assert result.code == 137
    assert "  1: exit code 1, had lost rank 0" in block_of(result.err)


def test_survivors_that_hang_are_ended(start: Callable, script: Callable) -> None:
    path = script(
        REPORT
        + """
    if rank == 0:
        sys.exit(5)
    if rank == 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_end()
    """
    )
    begin = time.monotonic()
    launcher = start("-np", 3, "--grace-seconds", 0.3, path)
    result = launcher.finish()
    block = block_of(result.err)
    assert result.code == 5
    assert "  1: SIGTERM, ended by ruedarun" in block
    assert "  2: SIGKILL, ended by ruedarun" in block
    assert time.monotonic() - begin >= 2.3
    launcher.wait_until_nothing_is_left()


def test_a_rank_that_reported_but_does_not_end_starts_the_clock(
    run: Callable, script: Callable
) -> None:
    path = script(REPORT + "\n    if rank == 1: report(ValueError('bad'))\n    wait_for_end()")
    result = run("-np", 2, path)
    block = block_of(result.err)
    assert result.code == 1
    assert "failed on rank 1 of 2: ValueError: bad" in block


def test_a_report_of_a_forked_child_does_not_end_the_job(run: Callable, script: Callable) -> None:
    path = script(
        REPORT
        + """
    if os.fork() == 0:
        report(ValueError("in the child"))
        os._exit(1)
    os.wait()
    """
    )
    result = run(path)
    assert "in the child" in result.err
    # The parent ends well, but somebody did say that this rank failed.
    assert result.code == 1


def test_noise_on_the_report_pipe_is_ignored(run: Callable, script: Callable) -> None:
    path = script(
        """
        import os
        descriptor = int(os.environ["RUEDA_REPORT_FD"])
        os.set_blocking(descriptor, False)
        try:
            while True:
                os.write(descriptor, b"[" * 4096)
        except OSError:
            print("full")
        """
    )
    result = run(path)
    assert (result.code, result.err) == (0, "")


RECORD = """
    import json, os, sys
    with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as error_file:
        json.dump({"message": {"extraInfo": {"py_callstack": "RECORDED"}}}, error_file)
    sys.exit(1)
"""


@pytest.mark.parametrize("wrapper", [False, True])
def test_the_traceback_of_torchs_record_is_shown(
    run: Callable, script: Callable, wrapper: bool
) -> None:
    path = script(RECORD)
    if wrapper:  # A program between us and the script may pass no descriptors on.
        code = "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, %r]))"
        path = script(code % path, "wrapper.py")
    assert "its traceback:\n  | RECORDED\n" in block_of(run(path).err)


def test_a_crash_behind_a_shell_is_known(run: Callable) -> None:
    result = run("--no-python", "sh", "-c", "sh -c 'kill -SEGV $$'; exit $?")
    assert result.code == 139
    assert "stands for SIGSEGV" in " ".join(block_of(result.err).split())


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A memory cgroup with a limit of 64 MiB (version 1), or one of version 2."""
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    group = (root / "memory" if first else root) / f"rueda-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if first else "memory.max"
        (group / limit).write_text(str(64 << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield group
    group.rmdir()


def test_an_out_of_memory_kill_is_said_for_sure(
    start: Callable, script: Callable, small_memory: Path
) -> None:
    path = script(
        """
        import os, signal
        if os.environ["RANK"] == "1":
            data = bytearray(200 << 20)
        signal.pause()
        """
    )
    enter = f'echo 0 > {small_memory}/cgroup.procs; exec "$@"'
    launcher = start("-np", 2, path, before=["sh", "-c", enter, "sh"])
    result = launcher.finish()
    assert result.code == 137
    block = " ".join(block_of(result.err).split())
    assert "failed on rank 1 of 2" in block
    assert "the kernel's out-of-memory killer" in block
    launcher.wait_until_nothing_is_left()
