"""One job: everything between checked options and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rueda.launch.console import Console, fill_standard_descriptors
from rueda.launch.guardian import Guardian
from rueda.launch.job import Plan, StartError, reserved_port, start_workers
from rueda.launch.leftovers import remove_leftovers
from rueda.launch.log_files import WorkerLogs, open_logs
from rueda.launch.oom import oom_kills
from rueda.launch.options import Options
from rueda.launch.prctl import load_prctl
from rueda.launch.preflight import command_of
from rueda.launch.signals import SignalPipe
from rueda.launch.summary import failure_block, signal_name
from rueda.launch.supervisor import Supervisor
from rueda.launch.this_host import host_name
from rueda.launch.usage import UsageError
from rueda.launch.verdict import find_cause
from rueda.launch.worker import Worker

_CANNOT_START = 126
_READER_LOST = 128 + signal.SIGPIPE


def run(options: Options, environ: Mapping[str, str], repeat: Sequence[str]) -> int:
    """Start a job, watch it to its end, and return the exit code.

    Args:
        options: What to run.
        environ: The environment of this process.
        repeat: The command line that led here, for the failure report.

    Raises:
        UsageError: The program or the log folder is not usable; nothing was started.
    """
    fill_standard_descriptors()
    command = command_of(options, environ)
    logs, folder = _logs(options)
    console = Console(environ)
    if folder is not None and options.log_dir is None:
        console.say(f"ruedarun: the logs are in {folder}")
    with reserved_port() as port:
        plan = Plan(options, command, environ, logs, port.getsockname()[1])
        try:
            return _run_job(plan, console, repeat)
        except StartError as error:
            print(f"ruedarun: {error}", file=sys.stderr)
            return _CANNOT_START


def _run_job(plan: Plan, console: Console, repeat: Sequence[str]) -> int:
    prctl = load_prctl()
    began = time.time()
    with contextlib.ExitStack() as stack:
        signals = SignalPipe()
        stack.callback(signals.close)
        guardian = Guardian(prctl)
        stack.callback(guardian.close)
        started, kills_before = time.monotonic(), oom_kills()
        workers = start_workers(plan, console, guardian, prctl)
        for worker in workers:
            stack.callback(worker.close)
        supervisor = Supervisor(
            workers,
            console,
            guardian,
            signals,
            started=started,
            oom_kills_before=kills_before,
            grace_s=plan.options.grace_s,
            signal_groups=plan.options.kind == "command",
        )
        stack.callback(supervisor.close)
        supervisor.run()
        code = _conclude(supervisor, workers, console, repeat)
        supervisor.drain()
    if code != 0:
        remove_leftovers(began, os.getuid())
    return code


def _logs(options: Options) -> tuple[list[WorkerLogs], Path | None]:
    """Open the log files; -r and -t without --log-dir get a new folder, as with torchrun."""
    if not any(options.redirects) and not any(options.tees):
        return [WorkerLogs() for _ in range(options.num_proc)], None
    try:
        folder = Path(options.log_dir or tempfile.mkdtemp(prefix="ruedarun-"))
    except OSError as error:
        raise UsageError(f"no folder for logs can be made ({error}); give --log-dir") from None
    return open_logs(options, folder), folder


def _conclude(
    supervisor: Supervisor, workers: Sequence[Worker], console: Console, repeat: Sequence[str]
) -> int:
    """Say how the job ended, unless it ended well, and return the exit code."""
    if supervisor.signum is not None:
        console.say(f"ruedarun: ended by {signal_name(supervisor.signum)}{_killed(workers)}")
        return 128 + supervisor.signum
    if supervisor.reader_lost:
        return _READER_LOST
    witnesses = [worker.witness() for worker in workers]
    verdict = find_cause([witness.end for witness in witnesses])
    if verdict is None:
        return 0
    console.say(failure_block(verdict, witnesses, host_name(), repeat))
    return verdict.code


def _killed(workers: Sequence[Worker]) -> str:
    """Say which workers did not end by themselves."""
    killed = [
        str(worker.rank)
        for worker in workers
        if worker.end is not None and worker.end.code == -signal.SIGKILL
    ]
    if not killed:
        return ""
    return f"; had to be killed: rank{'s' if len(killed) > 1 else ''} {', '.join(killed)}"
