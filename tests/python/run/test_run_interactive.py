"""``rueda.run`` as people use it: scripts, a REPL on a terminal, Ctrl-C, callers that vanish."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import rueda

DEADLINE_S = 40.0
ROOT = str(Path(rueda.__file__).parents[1])


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, "TERM": "dumb"}


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            # The terminal is to send Ctrl-C to it.
            preexec_fn=lambda: _take_terminal(slave),  # noqa: PLW1509
        )
        os.close(slave)
        self.seen = ""
        self._looked = 0

    def read_until(self, text: str, times: int = 1) -> None:
        """Read until a text has come a number of times behind what the last call looked for."""
        end = time.monotonic() + DEADLINE_S
        for _ in range(times):
            while (found := self.seen.find(text, self._looked)) < 0:
                ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
                assert ready, f"no {text!r} in {DEADLINE_S} s, only:\n{self.seen}"
                self.seen += os.read(self.master, 4096).decode(errors="replace")
            # What came in one piece with it may be what the next call looks for.
            self._looked = found + len(text)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        os.close(self.master)


def _take_terminal(slave: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_repl_runs_lambdas_and_survives_ctrl_c() -> None:
    terminal = Terminal(sys.executable, "-q")
    try:
        terminal.read_until(">>> ")
        terminal.type("import rueda, os, signal; k = 7\n")
        terminal.read_until(">>> ")
        terminal.type("print(rueda.run(lambda: (os.environ['RANK'], k), num_proc=2))\n")
        terminal.read_until("[('0', 7), ('1', 7)]")
        terminal.read_until(">>> ")
        terminal.type("rueda.run(lambda: print('u' + 'p') or signal.pause(), num_proc=2)\n")
        terminal.read_until("] up", times=2)
        terminal.type("\x03")
        terminal.read_until(">>> ")
        assert "KeyboardInterrupt" in terminal.seen
        terminal.type("print(rueda.run(lambda: 'again'))\n")
        terminal.read_until("['again']")
        terminal.type("exit()\n")
        assert terminal.process.wait(DEADLINE_S) == 0
    finally:
        terminal.close()


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return str(path)


def test_a_scripts_own_classes_go_there_and_back(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import os
        import rueda

        class Loss(Exception):
            pass

        def work(fail):
            if fail and os.environ["RANK"] == "0":
                raise Loss("nan")
            return Point(int(os.environ["RANK"]))

        class Point:
            def __init__(self, x):
                self.x = x

        if __name__ == "__main__":
            print([isinstance(p, Point) and p.x for p in rueda.run(work, (False,), num_proc=2)])
            try:
                rueda.run(work, (True,), num_proc=2)
            except Loss as error:
                print("caught", error)
        """,
    )
    result = subprocess.run(
        [sys.executable, path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("[0, 1]\ncaught nan\n", "")


PAUSING = """
import os, signal, sys
import rueda

def work():
    print("up", flush=True)
    {body}

if __name__ == "__main__":
    import rueda._run.call
    rueda._run.call._GRACE_S = {grace_s}
    rueda.run(work, num_proc=2)
"""


def start(tmp_path: Path, body: str, grace_s: float = 30) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, script(tmp_path, PAUSING.format(body=body, grace_s=grace_s))],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    assert sorted(process.stdout.readline() for _ in range(2)) == ["[0] up\n", "[1] up\n"]
    return process


def test_an_interrupt_to_the_caller_ends_the_ranks(tmp_path: Path) -> None:
    process = start(tmp_path, "signal.pause()")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_ranks_may_clean_up_after_an_interrupt(tmp_path: Path) -> None:
    body = "\n    ".join(
        ["try:", "    signal.pause()", "finally:", "    print('clean', flush=True)"]
    )
    process = start(tmp_path, body)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert sorted(out.splitlines()) == ["[0] clean", "[1] clean"]


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    # They say that they are up once they are deaf.
    deaf = (
        "pass\n    while True:\n        try: signal.pause()\n        except KeyboardInterrupt: pass"
    )
    process = start(tmp_path, deaf, 1000)
    process.send_signal(signal.SIGINT)
    end = time.monotonic() + DEADLINE_S
    while process.poll() is None:
        assert time.monotonic() < end, "interrupts did not end it"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3)
            break
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGINT


def test_a_caller_that_is_killed_takes_its_ranks_along(tmp_path: Path) -> None:
    process = start(tmp_path, "signal.pause()")
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGKILL  # The fixture sees to it that nothing is left.


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_an_interrupt_at_any_moment_leaves_nothing(delay: float) -> None:
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        timer.start()
        rueda.run(signal.pause, num_proc=2)
    timer.join()
