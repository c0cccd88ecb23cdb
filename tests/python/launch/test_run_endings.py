"""Signals to the launcher, its sudden death, and that nothing lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A worker with a child of its own, as a DataLoader has, that ignores every polite request. Whole
# lines are written at once: the two share a pipe.
FAMILY = """
    import os, signal
    child = os.fork()
    if child == 0:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
    os.write(1, b"worker\\n" if child else b"child\\n")
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_are_passed_on_and_waited_for(
    start: Callable, script: Callable, signum: signal.Signals
) -> None:
    path = script(
        """
        import signal, sys
        def obey(signum, frame):
            print("saved after", signal.Signals(signum).name)
            sys.exit(0)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(signum, obey)
        print("up")
        while True:
            signal.pause()
        """
    )
    launcher = start("-np", 2, path)
    launcher.read_lines_until({"[0] up", "[1] up"})
    launcher.process.send_signal(signum)
    result = launcher.finish()
    assert result.code == 128 + signum
    saved = sorted(result.out.splitlines())
    assert saved == [f"[{rank}] saved after {signum.name}" for rank in range(2)]
    assert result.err == f"ruedarun: ended by {signum.name}\n"
    launcher.wait_until_nothing_is_left()


STUBBORN = """
    import os, signal
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN if os.environ["RANK"] == "1" else signal.SIG_DFL)
    print("up")
    while True:
        signal.pause()
"""


def test_after_the_grace_period_workers_are_killed(start: Callable, script: Callable) -> None:
    launcher = start("-np", 2, "--grace-seconds", "0.3", script(STUBBORN))
    launcher.read_lines_until({"[0] up", "[1] up"})
    launcher.process.send_signal(signal.SIGTERM)
    result = launcher.finish()
    assert result.code == 128 + signal.SIGTERM
    assert result.err == "ruedarun: ended by SIGTERM; had to be killed: rank 1\n"
    launcher.wait_until_nothing_is_left()


def test_a_second_interrupt_kills_at_once(start: Callable, script: Callable) -> None:
    launcher = start("-np", 2, "--grace-seconds", "1000", script(STUBBORN))
    launcher.read_lines_until({"[0] up", "[1] up"})
    launcher.process.send_signal(signal.SIGINT)
    while launcher.process.poll() is None:
        try:
            launcher.process.wait(0.3)
        except subprocess.TimeoutExpired:
            launcher.process.send_signal(signal.SIGINT)
    result = launcher.finish()
    assert result.code == 128 + signal.SIGINT
    assert "had to be killed: rank 1" in result.err
    launcher.wait_until_nothing_is_left()


def test_one_interrupt_that_arrives_twice_at_once_is_one(start: Callable, script: Callable) -> None:
    path = script(
        """
        import signal, sys
        count = 0
        def obey(signum, frame):
            print("interrupted")
            sys.exit(0)
        signal.signal(signal.SIGINT, obey)
        print("up")
        signal.pause()
        """
    )
    launcher = start("--grace-seconds", "1000", path)
    launcher.read_line()
    launcher.process.send_signal(signal.SIGINT)
    launcher.process.send_signal(signal.SIGINT)
    result = launcher.finish()
    assert result.out == "[0] interrupted\n"
    assert "killed" not in result.err


def test_a_signal_that_reaches_everybody_is_no_failure(start: Callable, script: Callable) -> None:
    launcher = start("-np", 2, script("import signal; print('up'); signal.pause()"))
    launcher.read_lines_until({"[0] up", "[1] up"})
    # Stopped meanwhile, the launcher learns of all deaths and of its own signal at once.
    os.kill(launcher.pid, signal.SIGSTOP)
    stopped, status = os.waitpid(launcher.pid, os.WUNTRACED)
    assert (stopped, os.WIFSTOPPED(status)) == (launcher.pid, True)
    for pid, signum in [
        *((pid, signal.SIGTERM) for pid in launcher.workers()),
        (launcher.pid, signal.SIGTERM),
        (launcher.pid, signal.SIGCONT),
    ]:
        os.kill(pid, signum)
    result = launcher.finish()
    assert (result.code, result.err) == (
        128 + signal.SIGTERM,
        "ruedarun: ended by SIGTERM\n",
    )


def test_user_signals_are_passed_on_and_end_nothing(start: Callable, script: Callable) -> None:
    path = script(
        """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        print("up")
        signal.sigwait([signal.SIGUSR1])
        print("checkpoint")
        """
    )
    launcher = start("-np", 2, path)
    launcher.read_lines_until({"[0] up", "[1] up"})
    launcher.process.send_signal(signal.SIGUSR1)
    result = launcher.finish()
    assert result.code == 0
    assert sorted(result.out.splitlines()) == ["[0] checkpoint", "[1] checkpoint"]


def test_a_stopped_launcher_stops_its_workers(
    start: Callable, script: Callable, eventually: Callable
) -> None:
    launcher = start("-np", 2, script("import signal; print('up'); signal.pause()"))
    launcher.read_lines_until({"[0] up", "[1] up"})

    def states() -> list[str]:
        pids = [launcher.pid, *launcher.workers()]
        texts = [Path(f"/proc/{pid}/stat").read_text() for pid in pids]
        return [text.rpartition(")")[2].split()[0] for text in texts]

    launcher.process.send_signal(signal.SIGTSTP)
    eventually(lambda: states() == ["T", "T", "T"], "all stopped")
    launcher.process.send_signal(signal.SIGCONT)
    eventually(lambda: states() == ["S", "S", "S"], "all going on")
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.finish().code == 128 + signal.SIGTERM


def test_ignored_signals_stay_ignored(script: Callable, package_root: Path) -> None:
    path = script("import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)")
    result = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$0" -m rueda.launch "$1"', sys.executable, path],
        env={**os.environ, "PYTHONPATH": str(package_root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == "[0] True\n"


def start_family(start: Callable, script: Callable, *words: str) -> Any:
    launcher = start("-np", 2, *words, script(FAMILY))
    launcher.read_lines_until({"[0] worker", "[1] worker", "[0] child", "[1] child"})
    # Launcher, guardian, two workers, two children.
    assert len(launcher.processes()) == 6, launcher.describe_processes()
    return launcher


def test_nothing_survives_the_sudden_death_of_the_launcher(
    start: Callable, script: Callable
) -> None:
    launcher = start_family(start, script)
    launcher.process.kill()
    launcher.wait_until_nothing_is_left()


def test_nothing_survives_a_launcher_that_dies_while_it_starts_workers(
    start: Callable, script: Callable, eventually: Callable
) -> None:
    launcher = start("-np", 12, script(FAMILY))
    eventually(lambda: bool(launcher.workers()), "first worker")
    launcher.process.kill()
    launcher.wait_until_nothing_is_left()


def test_workers_die_with_the_launcher_even_without_the_guardian(
    start: Callable, script: Callable
) -> None:
    launcher = start("-np", 2, script("import signal; print('up'); signal.pause()"))
    launcher.read_lines_until({"[0] up", "[1] up"})
    os.kill(launcher.guardian(), signal.SIGKILL)
    launcher.process.kill()
    launcher.wait_until_nothing_is_left()


def test_nothing_survives_a_signal(start: Callable, script: Callable) -> None:
    launcher = start_family(start, script)
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.finish().code == 128 + signal.SIGINT
    launcher.wait_until_nothing_is_left()


def test_nothing_survives_the_death_of_a_worker(start: Callable, script: Callable) -> None:
    launcher = start_family(start, script, "--grace-seconds", "0.1")
    worker = launcher.workers()[0]
    os.kill(worker, signal.SIGKILL)
    result = launcher.finish()
    assert result.code == 128 + signal.SIGKILL
    assert str(worker) in result.err
    launcher.wait_until_nothing_is_left()


def test_children_of_a_worker_that_ends_well_are_ended(start: Callable, script: Callable) -> None:
    path = script("import os, signal\nif os.fork() == 0: signal.pause()\nprint('done')")
    launcher = start("-np", 2, path)
    assert launcher.finish().code == 0
    launcher.wait_until_nothing_is_left()


def test_the_secret_is_nowhere_to_be_seen(
    start: Callable, script: Callable, tmp_path: Path
) -> None:
    path = script(
        """
        import os, signal
        with open(os.environ["KEY"] + os.environ["RANK"], "w") as key:
            key.write(os.pread(int(os.environ["RUEDA_SECRET_FD"]), 64, 0).hex())
        print("up")
        signal.pause()
        """
    )
    launcher = start(
        *("-np", 2, "--verbose", "--log-dir", tmp_path / "logs", path),
        env={"KEY": str(tmp_path / "key")},
    )
    launcher.read_lines_until({"[0] up", "[1] up"})
    keys = {(tmp_path / f"key{rank}").read_text() for rank in range(2)}
    assert len(keys) == 1
    key = bytes.fromhex(keys.pop())
    assert len(key) == 32
    seen = b""
    for pid in launcher.processes():
        seen += Path(f"/proc/{pid}/cmdline").read_bytes()
        seen += Path(f"/proc/{pid}/environ").read_bytes()
    launcher.process.send_signal(signal.SIGTERM)
    result = launcher.finish()
    seen += result.out.encode() + result.err.encode()
    seen += b"".join(p.read_bytes() for p in (tmp_path / "logs").rglob("*") if p.is_file())
    assert b"RUEDA_SECRET_FD=" in seen
    for form in (key, key.hex().encode(), key.hex().upper().encode(), repr(key)[2:-1].encode()):
        assert form not in seen


def test_workers_inherit_nothing_but_what_is_meant_for_them(
    run: Callable, script: Callable
) -> None:
    path = script(
        """
        import os
        known = {int(os.environ[n]) for n in ("RUEDA_SECRET_FD", "RUEDA_REPORT_FD")}
        descriptors = set(map(int, os.listdir("/proc/self/fd")))
        print(sorted(d for d in descriptors - known if os.path.exists(f"/proc/self/fd/{d}")))
        print(os.readlink("/proc/self/fd/0"))
        """
    )
    assert run(path).out == "[0] [0, 1, 2]\n[0] /dev/null\n"
