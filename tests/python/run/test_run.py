"""``rueda.run``: what comes back, in which order, and what may be sent."""

from __future__ import annotations

import inspect
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import rueda
from rueda import HorovodInternalError

# The tests' modules cannot be imported by name, so what they define travels whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_results_come_in_rank_order() -> None:
    factor = 10

    def work(base: int, *, more: int) -> tuple[int, int]:
        rank = int(os.environ["RANK"])
        return rank, rank * factor + base + more

    assert rueda.run(work, (1,), {"more": 2}, num_proc=3) == [(0, 3), (1, 13), (2, 23)]


def test_one_rank_is_the_default() -> None:
    assert rueda.run(lambda: os.environ["WORLD_SIZE"]) == ["1"]


def test_the_ranks_are_a_job() -> None:
    def work() -> tuple[int, float]:
        import torch

        import rueda as hvd

        hvd.init()
        return hvd.size(), hvd.allreduce(torch.tensor(float(hvd.rank())), op=hvd.Sum).item()

    assert rueda.run(work, num_proc=3) == [(3, 3.0)] * 3


def test_big_arguments_and_results_pass() -> None:
    data = os.urandom(1 << 20) * 100

    def work(given: bytes) -> bytes:
        return given[::-1]

    results = rueda.run(work, (data,), num_proc=2)
    assert all(result == data[::-1] for result in results)


class Box:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


def test_objects_of_own_classes_come_back_as_such() -> None:
    results = rueda.run(lambda: Box(os.getpid()), num_proc=2)
    assert all(isinstance(result, Box) for result in results)
    assert results[0].inside != results[1].inside


def test_functions_of_modules_are_imported_on_the_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_module.py").write_text("import os\ndef rank():\n    return os.environ['RANK']")
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_module

    assert rueda.run(own_module.rank, num_proc=2) == ["0", "1"]


def test_the_ranks_see_the_callers_folder_path_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "1"])
    monkeypatch.setattr(sys, "path", [*sys.path, "/some/where"])
    ((argv, path, folder),) = rueda.run(lambda: (sys.argv, sys.path, str(Path.cwd())))
    assert (argv, folder) == (["train.py", "--lr", "1"], str(tmp_path))
    assert path[: len(sys.path)] == sys.path


def test_a_call_from_another_thread_works() -> None:
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.extend(rueda.run(lambda: os.environ["RANK"], num_proc=2))
    )
    thread.start()
    thread.join(60)
    assert results == ["0", "1"]


def test_what_ranks_print_is_shown_under_their_number(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    rueda.run(lambda: print("out") or print("err", file=sys.stderr), num_proc=2)
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] out", "[1] out", "before"]
    assert out.startswith("before")
    assert sorted(err.splitlines()) == ["[0] err", "[1] err"]


def test_the_output_goes_to_a_folder_when_asked_to(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    rueda.run(lambda: print("out"), num_proc=2, output_filename=str(folder))
    assert (folder / "rank.1" / "stdout").read_text() == "out\n"


def test_verbose_says_what_is_started(capfd: pytest.CaptureFixture[str]) -> None:
    rueda.run(lambda: None, num_proc=2, verbose=1)
    assert "rank 1: pid" in capfd.readouterr().err


def test_the_start_timeout_reaches_the_ranks() -> None:
    name = "RUEDA_START_TIMEOUT_SECONDS"
    assert rueda.run(lambda: os.environ[name], start_timeout=7) == ["7"]


def test_another_python_may_run_the_ranks(tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nWRAPPED=yes exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    results = rueda.run(lambda: os.environ["WRAPPED"], num_proc=2, executable=str(wrapper))
    assert results == ["yes", "yes"]


def test_what_the_ranks_start_does_not_inherit_their_descriptors() -> None:
    def work() -> str:
        import subprocess

        listing = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in range(3, 20)"
        listing += " if os.path.exists(f'/proc/self/fd/{n}')])"
        command = [sys.executable, "-c", listing]
        return subprocess.check_output(command, close_fds=False, text=True)

    (seen,) = rueda.run(work)
    assert "rueda-call" not in seen
    assert "rueda-result" not in seen


def test_slots_of_this_host_are_counted(tmp_path: Path) -> None:
    assert rueda.run(lambda: 1, num_proc=2, hosts="localhost:2") == [1, 1]
    hostfile = tmp_path / "hosts"
    hostfile.write_text("localhost slots=2\n")
    assert rueda.run(lambda: 1, num_proc=2, hostfile=str(hostfile), use_gloo=True) == [1, 1]


def test_the_parameters_are_horovods() -> None:
    names = list(inspect.signature(rueda.run).parameters)
    assert names[:12] == [
        *("func", "args", "kwargs", "num_proc", "min_num_proc", "max_num_proc", "slots"),
        *("reset_limit", "cooldown_range", "hosts", "hostfile", "host_discovery_script"),
    ]
    assert {"start_timeout", "ssh_port", "verbose", "use_gloo", "use_mpi", "executable"} <= {*names}


def test_the_old_name_of_num_proc_is_taken_with_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert rueda.run(lambda: 1, np=2) == [1, 1]
    assert [str(warning.message) for warning in caught] == ["np is deprecated, use num_proc"]
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="num_proc=2 and np=3"):
        rueda.run(print, num_proc=2, np=3)


@pytest.mark.parametrize(
    ("arguments", "hints"),
    [
        ({"num_proc": 0}, ("num_proc", "1 to 1024", "0")),
        ({"num_proc": 2.0}, ("num_proc", "2.0")),
        ({"args": "abc"}, ("args must be a tuple", "'abc'")),
        ({"kwargs": [1]}, ("kwargs must be a dict", "[1]")),
        ({"num_proc": True}, ("num_proc", "True")),
        ({"min_num_proc": 1}, ("min_num_proc=1", "keeps the ranks")),
        ({"max_np": 2}, ("max_np=2",)),
        ({"slots": 2}, ("slots=2",)),
        ({"reset_limit": 0}, ("reset_limit=0",)),
        ({"cooldown_range": (1, 2)}, ("cooldown_range=(1, 2)",)),
        ({"host_discovery_script": "s"}, ("host_discovery_script='s'",)),
        ({"ssh_port": 22}, ("ssh_port=22", "this host alone")),
        ({"ssh_identity_file": "f"}, ("ssh_identity_file",)),
        ({"network_interfaces": "eth0"}, ("network_interfaces='eth0'",)),
        ({"use_mpi": True}, ("use_mpi=True", "mpirun")),
        ({"mpi_args": "-x"}, ("mpi_args='-x'", "mpirun")),
        ({"hosts": "node7:2"}, ("hosts=", "'node7'", "not this machine")),
        ({"hosts": "localhost:1", "num_proc": 2}, ("num_proc=2", "1 slots", "localhost:1")),
        ({"hosts": "localhost", "hostfile": "f"}, ("hosts='localhost'", "hostfile='f'")),
        ({"hostfile": "/no/such"}, ("/no/such", "No such file")),
        ({"executable": "/no/such"}, ("executable='/no/such'",)),
        ({"start_timeout": "soon"}, ("--start-timeout", "'soon'")),
        ({"output_filename": "/proc/none"}, ("/proc/none",)),
    ],
)
def test_wrong_and_refused_arguments_are_named(
    arguments: dict[str, Any], hints: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError) as caught:
        rueda.run(print, **arguments)
    assert all(hint in str(caught.value) for hint in hints), str(caught.value)


def test_more_ranks_than_files_may_be_open_are_refused() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with pytest.raises(ValueError, match=r"num_proc=100 needs about \d+ open files"):
            rueda.run(print, num_proc=100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ValueError, match="calls a function"):
        rueda.run("train.py")


def test_a_call_on_a_rank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"on rank [01] of 2 of a running job \(started by"):
        rueda.run(lambda: rueda.run(print), num_proc=2)


def test_functions_that_cannot_be_pickled_are_refused_in_words() -> None:
    lock = threading.Lock()

    def work() -> bool:
        return lock.locked()

    with pytest.raises(ValueError) as caught:
        rueda.run(work, num_proc=2)
    assert "work and its arguments" in str(caught.value)
    assert "cannot pickle '_thread.lock'" in str(caught.value)


def test_a_launcher_that_is_killed_is_named_and_takes_its_ranks_along() -> None:
    def work() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

    with pytest.raises(HorovodInternalError, match=r"launcher process.*SIGKILL"):
        rueda.run(work, num_proc=2)


def test_a_launcher_that_is_told_to_end_is_named() -> None:
    def work() -> None:
        if os.environ["RANK"] == "0":
            os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()

    with pytest.raises(HorovodInternalError, match="SIGTERM ended the job from outside"):
        rueda.run(work, num_proc=2)


def test_output_that_nobody_reads_ends_the_job() -> None:
    code = (
        "import rueda, itertools\n"
        "def work():\n"
        "    for number in itertools.count():\n"
        "        print(number)\n"
        "try:\n"
        "    rueda.run(work)\n"
        "except BrokenPipeError as error:\n"
        "    raise SystemExit(str(error))\n"
    )
    root = str(Path(rueda.__file__).parents[1])
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "[0] 0\n"
    program.stdout.close()
    assert program.stderr is not None
    with program.stderr:
        assert "nobody reads its standard output" in program.stderr.read()
    assert program.wait(60) == 1
