"""One job: everything between checked options and an exit code."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rueda.launch.conclusion import Conclusion, conclude
from rueda.launch.console import Console, fill_standard_descriptors
from rueda.launch.guardian import Guardian
from rueda.launch.job import Plan, reserved_port, start_workers
from rueda.launch.leftovers import remove_leftovers
from rueda.launch.log_files import WorkerLogs, open_logs
from rueda.launch.oom import oom_kills
from rueda.launch.options import Options
from rueda.launch.prctl import load_prctl
from rueda.launch.preflight import Command, command_of
from rueda.launch.signals import SignalPipe
from rueda.launch.supervisor import Supervisor
from rueda.launch.usage import UsageError
from rueda.launch.worker_environment import with_settings


def run(
    options: Options,
    environ: Mapping[str, str],
    tell: Callable[[Conclusion], str],
    *,
    command: Command | None = None,
    passed: Sequence[tuple[int, ...]] = (),
) -> int:
    """Start a job, watch it to its end, and return the exit code.

    Args:
        options: What to run.
        environ: The environment of this process.
        tell: Returns what standard error is to say about the end, perhaps nothing.
        command: What each worker executes; found from the options if None.
        passed: For each rank further descriptors that it inherits.

    Raises:
        UsageError: The program or the log folder is not usable; nothing was started.
        StartError: A worker could not be started; nothing is left.
    """
    fill_standard_descriptors()
    if command is None:
        command = command_of(options, environ)
    environ, remarks = _environment(options, environ)
    logs, folder = _logs(options)
    console = Console(environ, timestamps=options.timestamps)
    for remark in remarks:
        console.say(f"ruedarun: {remark}")
    if folder is not None and options.log_dir is None:
        console.say(f"ruedarun: the logs are in {folder}")
    with reserved_port() as port:
        plan = Plan(options, command, environ, logs, port.getsockname()[1], passed)
        return _run_job(plan, console, tell)


def _environment(
    options: Options, environ: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what all workers inherit, and what is to be said about it."""
    remarks = options.remarks
    if options.as_horovod:
        from rueda.launch.as_horovod import disguised  # noqa: PLC0415 - brings importlib.metadata

        disguise = disguised(options, environ)
        environ, remarks = disguise.environ, (*remarks, *disguise.remarks)
    return with_settings(environ, options.settings), remarks


def _run_job(plan: Plan, console: Console, tell: Callable[[Conclusion], str]) -> int:
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
        conclusion = conclude(supervisor, workers)
        words = tell(conclusion)
        if words:
            console.say(words)
        supervisor.drain()
    if conclusion.code != 0:
        remove_leftovers(began, os.getuid())
    return conclusion.code


def _logs(options: Options) -> tuple[list[WorkerLogs], Path | None]:
    """Open the log files; -r and -t without --log-dir get a new folder, as with torchrun."""
    if not any(options.redirects) and not any(options.tees):
        return [WorkerLogs() for _ in range(options.num_proc)], None
    try:
        folder = Path(options.log_dir or tempfile.mkdtemp(prefix="ruedarun-"))
    except OSError as error:
        raise UsageError(f"no folder for logs can be made ({error}); give --log-dir") from None
    return open_logs(options, folder), folder
