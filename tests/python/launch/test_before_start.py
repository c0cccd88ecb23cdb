from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from rueda.launch import ending
from rueda.launch.command_line import split_words
from rueda.launch.log_files import open_logs
from rueda.launch.oom import oom_kills
from rueda.launch.options import Options, parse
from rueda.launch.preflight import command_of
from rueda.launch.secret import sealed_secret
from rueda.launch.this_host import count_workers, gpu_count, host_name, is_this_host
from rueda.launch.usage import UsageError
from rueda.launch.worker_environment import Place, worker_environment

PLACE = Place(1, 3, "ab" * 16, 4242, 7, 8, "/proc/5/fd/9")


def options(*argv: str) -> Options:
    return parse(split_words(argv), count=lambda word: 1, is_this_host=is_this_host)


def refusal(*argv: str, path: str = "/bin") -> str:
    with pytest.raises(UsageError) as caught:
        command_of(options(*argv), {"PATH": path})
    return str(caught.value)


def test_a_script_is_run_by_this_python(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.touch()
    command = command_of(options(str(script), "--lr", "1"), {})
    assert command.executable == sys.executable
    assert command.argv == (sys.executable, str(script), "--lr", "1")


def test_scripts_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(str(tmp_path / "no.py"))
    assert "is a folder" in refusal(str(tmp_path))
    assert "no such command is on PATH" in refusal("nosuchprogram")
    assert refusal("no-such.py")
    assert "'a\\x00b'" in refusal("a\0b")


def test_a_script_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "train.py"
    script.touch(mode=0)
    # Root may read everything, so the answer of the kernel is put in its mouth.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be read" in refusal(str(script))


def test_modules_are_found_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud_module.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    command = command_of(options("-m", "loud_module"), {})
    assert command.argv == (sys.executable, "-m", "loud_module")
    assert "loud_module" not in sys.modules


@pytest.mark.parametrize(
    ("name", "hint"),
    [("no_such_module", "no_such_module"), ("a/b.py", "a.b"), ("", "''"), ("a..b", "'a..b'")],
)
def test_modules_that_are_not_there_are_refused(name: str, hint: str) -> None:
    assert hint in refusal("-m", name)


def test_commands_are_found_as_a_shell_finds_them(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    assert "chmod +x" in refusal("--no-python", str(tool))
    assert "chmod +x" in refusal("--no-python", "tool", path=str(tmp_path))
    tool.chmod(0o755)
    command = command_of(options("--no-python", "tool", "a"), {"PATH": f"/nowhere:{tmp_path}"})
    assert (command.executable, command.argv) == (str(tool), ("tool", "a"))


def test_commands_that_are_not_there_are_refused(tmp_path: Path) -> None:
    assert "not found on PATH" in refusal("--no-python", "no-such-tool")
    assert "does not exist" in refusal("--no-python", "./no-such-tool")
    assert "is a folder" in refusal("--no-python", str(tmp_path))
    assert "''" in refusal("--no-python", "")


def test_too_many_workers_for_the_descriptor_limit_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.touch()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        assert "ulimit -n" in refusal("-np", "100", str(script))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_log_files_lie_as_horovod_lays_them(tmp_path: Path) -> None:
    logs = open_logs(options("-np", "11", "--log-dir", "d", "-t", "3", "-r", "1:1", "x"), tmp_path)
    for opened in logs:
        opened.close()
    assert (tmp_path / "rank.03" / "stderr").exists()
    assert (tmp_path / "rank.10" / "stdout").exists()


def test_a_log_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--log-dir: cannot write"):
        open_logs(options("--log-dir", "d", "x"), tmp_path / "file" / "logs")


def test_a_worker_gets_the_variables_of_torchrun_and_rueda() -> None:
    environ = worker_environment({"HOME": "/h"}, PLACE, cores=7)
    expected = {
        "HOME": "/h",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "0",
        "ROLE_RANK": "1",
        "ROLE_NAME": "default",
        "WORLD_SIZE": "3",
        "LOCAL_WORLD_SIZE": "3",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_WORLD_SIZE": "3",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4242",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "ab" * 16,
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_ERROR_FILE": "/proc/5/fd/9",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": "2",
        "PYTHONUNBUFFERED": "1",
        "RUEDA_RANK": "1",
        "RUEDA_SIZE": "3",
        "RUEDA_LOCAL_RANK": "1",
        "RUEDA_LOCAL_SIZE": "3",
        "RUEDA_CROSS_RANK": "0",
        "RUEDA_CROSS_SIZE": "1",
        "RUEDA_JOB_ID": "ab" * 16,
        "RUEDA_SECRET_FD": "7",
        "RUEDA_REPORT_FD": "8",
    }
    assert environ == expected


def test_what_the_user_set_stays() -> None:
    own = {
        "OMP_NUM_THREADS": "5",
        "PYTHONUNBUFFERED": "",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
        "RUEDA_BACKEND": "gloo",
        "SLURM_JOB_ID": "9",
        "MV2_ENABLE_AFFINITY": "0",
        "COLUMNS": "70",
    }
    assert own.items() <= worker_environment(own, PLACE, cores=7, columns=120).items()


def test_another_launchers_world_is_taken_out() -> None:
    stale = {
        *("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_FD"),
        *("PMIX_RANK", "MV2_COMM_WORLD_RANK", "MPI_LOCALRANKID", "JSM_NAMESPACE_RANK"),
        *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NODEID", "HOROVOD_RANK"),
        *("HOROVOD_CROSS_SIZE", "PET_NODE_RANK", "NODE_RANK", "TORCHELASTIC_FOREIGN"),
    }
    environ = worker_environment(dict.fromkeys(stale, "0"), PLACE, cores=1)
    assert not stale & set(environ)


def test_a_lone_worker_may_use_all_threads() -> None:
    place = Place(0, 1, "j", 1, 2, 3, "e")
    assert "OMP_NUM_THREADS" not in worker_environment({}, place, cores=8)


def test_a_worker_learns_the_width_that_its_lines_have() -> None:
    assert worker_environment({}, PLACE, cores=8, columns=96)["COLUMNS"] == "96"


def test_the_secret_can_be_read_again_and_again_but_not_changed() -> None:
    descriptor = sealed_secret()
    try:
        first = os.pread(descriptor, 100, 0)
        assert len(first) == 32
        assert os.pread(descriptor, 100, 0) == first
        with pytest.raises(OSError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(OSError):
            os.ftruncate(descriptor, 0)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_names_of_this_host() -> None:
    assert is_this_host("localhost")
    assert is_this_host(host_name())
    assert not is_this_host("localhost.evil.example")
    assert not is_this_host("")


@pytest.mark.parametrize(
    ("visible", "number"),
    [(None, 2), ("", 0), ("1", 1), ("0,1", 2), ("0,-1,1", 1), ("0,1,2,3", 2), ("GPU-ab", 1)],
)
def test_gpus_are_counted_as_cuda_would_show_them(
    tmp_path: Path, visible: str | None, number: int
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia0x"):
        (tmp_path / name).touch()
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpu_count(environ, tmp_path) == number


def test_asking_for_gpus_where_there_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        count_workers("gpu", {"CUDA_VISIBLE_DEVICES": ""})
    assert count_workers("auto", {"CUDA_VISIBLE_DEVICES": ""}) == count_workers("cpu", {})


@pytest.mark.parametrize(
    ("membership", "counter"),
    [
        ("0::/job/one\n", "job/one/memory.events"),
        ("0::/elsewhere\n", "memory.events"),
        ("5:cpu:/\n4:memory:/job\n0::/\n", "memory/job/memory.oom_control"),
        ("4:memory:/docker/x\n", "memory/memory.oom_control"),
    ],
)
def test_out_of_memory_kills_are_counted(tmp_path: Path, membership: str, counter: str) -> None:
    (tmp_path / "self").write_text(membership)
    path = tmp_path / counter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("low 0\noom 9\noom_kill 3\n")
    assert oom_kills(tmp_path, tmp_path / "self") == 3


def test_without_cgroups_nothing_is_counted(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "self") is None
    (tmp_path / "self").write_text("garbage\n0::/\n")
    assert oom_kills(tmp_path, tmp_path / "self") is None


def test_survivors_get_two_seconds_then_sigterm_then_sigkill() -> None:
    steps = ending.after_failure(100.0, grace_s=30.0)
    assert [(step.at, step.signum) for step in steps] == [
        (102.0, signal.SIGTERM),
        (105.0, signal.SIGKILL),
        (115.0, None),
    ]


def test_a_short_grace_period_holds_after_a_failure_too() -> None:
    assert [step.at for step in ending.after_failure(0.0, grace_s=0.5)][:2] == [2.0, 2.5]


def test_a_signal_is_passed_on_at_once_and_followed_by_sigkill() -> None:
    steps = ending.after_signal(0.0, signal.SIGINT, grace_s=7.0)
    assert [(step.at, step.signum) for step in steps][:2] == [
        (0.0, signal.SIGINT),
        (7.0, signal.SIGKILL),
    ]
