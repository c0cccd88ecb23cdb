"""Ranks as real processes: started by hand, by mpirun and by torchrun, killed, and spied on."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rueda._bootstrap.job_key import proxy_key
from rueda.exceptions import RuedaError

PROGRAM = Path(__file__).with_name("program.py")
DEADLINE_SECONDS = 60.0
KEPT = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR", "USER")
Start = Callable[..., "subprocess.Popen[str]"]


def clean_env(**more: str) -> dict[str, str]:
    """Return an environment that no launcher has touched."""
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **more}


def by_hand(rank: int, size: int, **more: str) -> dict[str, str]:
    return clean_env(
        RUEDA_RANK=str(rank),
        RUEDA_SIZE=str(size),
        RUEDA_LOCAL_RANK=str(rank),
        RUEDA_LOCAL_SIZE=str(size),
        RUEDA_CROSS_RANK="0",
        RUEDA_CROSS_SIZE="1",
        **more,
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs; whatever still runs after the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(command: list[str], env: dict[str, str], **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def reports(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Wait for a program and return what its ranks printed, by rank."""
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert process.returncode == 0, output + errors
    return sorted(found, key=lambda report: int(report["rank"]))


def check_met(found: list[dict[str, Any]], size: int) -> None:
    assert [report["rank"] for report in found] == list(range(size))
    assert len({report["secret_hash"] for report in found}) == 1
    pids = [report["pid"] for report in found]
    assert all(report["roster_pids"] == pids for report in found)
    assert all(
        report["heard"] == [r for r in range(size) if r != report["rank"]] for report in found
    )


def sealed_secret(content: bytes) -> int:
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def test_processes_meet_by_an_inherited_secret_that_nobody_can_see(start: Start) -> None:
    secret = os.urandom(32)
    descriptor = sealed_secret(secret)
    try:
        ranks = [
            start(
                [sys.executable, str(PROGRAM), "--hold"],
                by_hand(
                    rank, 3, RUEDA_JOB_ID=f"by-hand-{os.getpid()}", RUEDA_SECRET_FD=str(descriptor)
                ),
                pass_fds=[descriptor],
                stdin=subprocess.PIPE,
            )
            for rank in range(3)
        ]
    finally:
        os.close(descriptor)
    lines = []
    for process in ranks:
        assert process.stdout is not None
        lines.append(process.stdout.readline())
    # While all three hold their meetings, look where others could.
    for process in ranks:
        for place in ("cmdline", "environ"):
            seen = Path(f"/proc/{process.pid}/{place}").read_bytes()
            assert secret not in seen
            assert secret.hex().encode() not in seen
        links = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert not any("memfd:secret" in link for link in links)
    for process in ranks:
        output, errors = process.communicate("", timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, errors
        lines.append(output)
        assert secret.hex() not in output + errors
    check_met([json.loads(line) for line in lines[:3]], 3)


def test_a_killed_rank_is_named_within_a_second(
    new_job: Callable[..., Any], start: Start, eventually: Callable[..., None]
) -> None:
    job = new_job(3, deadline_seconds=60.0)
    job.start(0)
    victim = start([sys.executable, str(PROGRAM)], by_hand(1, 3, RUEDA_JOB_ID=job.key))

    def has_come() -> bool:
        # Rank 0, in this process, holds the arena that the victim sent.
        return any(
            fd.is_symlink() and "arena-of-program" in str(fd.readlink())
            for fd in Path("/proc/self/fd").iterdir()
        )

    eventually(has_come)
    victim.kill()
    killed = time.monotonic()
    error = job.errors()[0]
    assert time.monotonic() - killed < 5.0  # the figure is 1 s, of a machine that is not loaded
    assert isinstance(error, RuedaError)
    assert (error.code, error.rank) == ("R301", 1)
    assert f"pid {victim.pid}) ended while the ranks met" in str(error)


def test_a_rank_of_another_user_is_refused(
    new_job: Callable[..., Any], start: Start, eventually: Callable[..., None]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    job = new_job(2)
    job.start(0)
    name = str(job.point()).rpartition("@")[2]
    code = (
        "import socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect(chr(0) + {name!r}); print(s.recv(1))"
    )
    eventually(lambda: name in Path("/proc/net/unix").read_text())
    # -S -E: that user need not be able to read this one's packages.
    stranger = start(["/usr/bin/env", "python3", "-S", "-E", "-c", code], clean_env(), user=65534)
    output, errors = stranger.communicate(timeout=DEADLINE_SECONDS)
    assert output == "b''\n" or "ConnectionResetError" in errors, errors
    job.start(1)
    assert len(job.meetings()) == 2


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun here")
def test_mpirun_starts_a_job(start: Start) -> None:
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "--oversubscribe", "-np", "3", sys.executable, str(PROGRAM)]
    check_met(reports(start(command, clean_env(**root))), 3)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch here")
def test_torchrun_starts_a_job(start: Start) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
    ]
    check_met(reports(start([*command, str(PROGRAM)], clean_env())), 2)


def test_plain_python_is_a_job_of_one(start: Start) -> None:
    check_met(reports(start([sys.executable, str(PROGRAM)], clean_env())), 1)


# Launchers that name no job: the proxy process that started the ranks names it.


def fake_proc(root: Path, processes: dict[int, tuple[str, int, int]]) -> Path:
    for pid, (name, parent, started) in processes.items():
        (root / str(pid)).mkdir()
        fields = ["S", str(parent), *["0"] * 17, str(started), "0"]
        (root / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    return root


def test_the_proxy_above_the_rank_names_the_job(tmp_path: Path) -> None:
    proc = fake_proc(
        tmp_path,
        {
            30: ("python", 20, 400),
            31: ("my) (shell", 10, 301),
            32: ("python", 31, 401),
            20: ("bash", 10, 300),
            10: ("hydra_pmi_proxy", 5, 200),
            5: ("mpiexec.hydra", 1, 100),
            1: ("init", 0, 1),
        },
    )
    assert proxy_key(30, proc) == proxy_key(32, proc) == "proxy:10:200"


def test_without_a_proxy_there_is_no_name(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, {30: ("python", 1, 400), 1: ("init", 0, 1)})
    assert proxy_key(30, proc) is None
    assert proxy_key(999, proc) is None
