"""Starts the workers of one job: secret, port, pipes, files, processes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rueda.launch import child
from rueda.launch.console import Console
from rueda.launch.guardian import Guardian
from rueda.launch.log_files import WorkerLogs
from rueda.launch.options import Options
from rueda.launch.prctl import Prctl
from rueda.launch.preflight import Command
from rueda.launch.secret import sealed_secret
from rueda.launch.tail import Tail
from rueda.launch.this_host import core_count
from rueda.launch.worker import Stream, Worker
from rueda.launch.worker_environment import Place, omp_threads, worker_environment


class StartError(Exception):
    """A worker could not be started; the ones before it were ended again."""


@dataclass(frozen=True)
class Plan:
    """What is to be started.

    Attributes:
        options: The run.
        command: What each worker executes.
        environ: The launcher's environment.
        logs: Open log files by rank; the workers take them over.
        master_port: Port on loopback that is kept free for rank 0.
        passed: For each rank further descriptors that it inherits; empty for none.
    """

    options: Options
    command: Command
    environ: Mapping[str, str]
    logs: Sequence[WorkerLogs]
    master_port: int
    passed: Sequence[tuple[int, ...]] = ()


def reserved_port() -> socket.socket:
    """Return a bound socket that keeps a free port of loopback from being handed out to others.

    SO_REUSEADDR is set after the bind: the port was then really free, and rank 0, whose servers
    set it too (TCPStore, Gloo), can listen there although we still hold it.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.bind(("127.0.0.1", 0))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def start_workers(plan: Plan, console: Console, guardian: Guardian, prctl: Prctl) -> list[Worker]:
    """Start all workers.

    Raises:
        StartError: One could not be started.
    """
    secret = sealed_secret()
    workers: list[Worker] = []
    job = _Job(plan, console, secrets.token_hex(16), secret)
    job.announce()
    try:
        for rank in range(plan.options.num_proc):
            workers.append(_start(job, rank, guardian, prctl))
    except (OSError, subprocess.SubprocessError) as error:
        _end_again(workers, guardian)
        why = getattr(error, "strerror", None) or str(error)
        raise StartError(
            f"rank {len(workers)} could not be started: {why}: {plan.command.executable}"
        ) from error
    finally:
        os.close(secret)
    return workers


@dataclass(frozen=True)
class _Job:
    plan: Plan
    console: Console
    job_id: str
    secret_fd: int

    def announce(self) -> None:
        """Say in verbose mode what all workers have in common; never the secret."""
        options = self.plan.options
        if not options.verbose:
            return
        self.console.say(f"ruedarun: job {self.job_id}, {options.num_proc} workers on this host")
        self.console.say(f"ruedarun: MASTER_ADDR=127.0.0.1 MASTER_PORT={self.plan.master_port}")
        if options.num_proc > 1 and "OMP_NUM_THREADS" not in self.plan.environ:
            cores = core_count()
            self.console.say(
                f"ruedarun: OMP_NUM_THREADS={omp_threads(cores, options.num_proc)} for each worker "
                f"({cores} cores shared by {options.num_proc})"
            )

    def announce_worker(self, worker: Worker) -> None:
        """Say in verbose mode what was started."""
        if self.plan.options.verbose:
            words = shlex.join(self.plan.command.argv)
            self.console.say(f"ruedarun: rank {worker.rank}: pid {worker.pid}: {words}")


def _start(job: _Job, rank: int, guardian: Guardian, prctl: Prctl) -> Worker:
    # The child's ends are closed here in any case; ours only if the worker does not come to be.
    with contextlib.ExitStack() as childs, contextlib.ExitStack() as ours:
        report_read, report_write = _pipe(childs, ours)
        error_fd = os.memfd_create("rueda-error", os.MFD_CLOEXEC)
        ours.callback(os.close, error_fd)
        tail = Tail()
        streams, outputs = _outputs(job, rank, tail, childs, ours)
        place = Place(
            rank=rank,
            size=job.plan.options.num_proc,
            job_id=job.job_id,
            master_port=job.plan.master_port,
            secret_fd=job.secret_fd,
            report_fd=report_write,
            # By our own number, which also a process knows that inherited no descriptor.
            error_file=f"/proc/{os.getpid()}/fd/{error_fd}",
            as_horovod=job.plan.options.as_horovod,
        )
        environ = worker_environment(
            job.plan.environ, place, core_count(), columns=job.console.columns_of(rank)
        )
        further = job.plan.passed[rank] if job.plan.passed else ()
        inheritance = child.Inheritance(
            environ,
            stdout=outputs[0],
            stderr=outputs[1],
            passed=(job.secret_fd, report_write, *further),
        )
        process = child.start(job.plan.command, inheritance, guardian, prctl)
        worker = Worker(
            rank,
            process,
            streams=streams,
            tail=tail,
            logs=job.plan.logs[rank],
            report_fd=report_read,
            error_fd=error_fd,
        )
        ours.pop_all()
    job.announce_worker(worker)
    return worker


def _outputs(
    job: _Job, rank: int, tail: Tail, childs: contextlib.ExitStack, ours: contextlib.ExitStack
) -> tuple[list[Stream], list[int]]:
    """Return our streams, and what becomes the worker's standard output and standard error."""
    logs = job.plan.logs[rank]
    outputs: list[int] = []
    streams: list[Stream] = []
    for number, sink in enumerate(job.console.sinks):
        log = logs.descriptors.get(number, -1)
        if number in logs.only_file:
            outputs.append(log)
            continue
        read_end, write_end = _pipe(childs, ours)
        outputs.append(write_end)
        shown = sink if job.plan.options.shown[rank] else None
        streams.append(Stream(rank, read_end, shown, tail, log))
    return streams, outputs


def _pipe(childs: contextlib.ExitStack, ours: contextlib.ExitStack) -> tuple[int, int]:
    """Open a pipe from the child to us: our end never blocks, the child's is an ordinary one."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, read_end)
    childs.callback(os.close, write_end)
    os.set_blocking(read_end, False)
    return read_end, write_end


def _end_again(workers: Sequence[Worker], guardian: Guardian) -> None:
    for worker in workers:
        worker.reap(guardian)
        worker.close()
