"""--as-horovod: scripts, modules and child processes that import horovod get rueda, in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rueda._as_horovod.names import HOMES
from rueda.launch.as_horovod import FOLDER, disguised
from rueda.launch.command_line import split_words
from rueda.launch.engine_settings import load_engine
from rueda.launch.horovod_variables import translate
from rueda.launch.options import Options, parse
from rueda.launch.usage import UsageError

# Time for jobs whose processes all import PyTorch, on a machine that is busy.
IMPORTS_S = 55.0


def options(*argv: str) -> Options:
    return parse(split_words(argv), count=lambda word: 1, is_this_host=lambda name: True)


def test_a_script_for_horovod_runs_on_rueda(start: Callable, script: Callable) -> None:
    path = script(
        """
        import os, torch
        import horovod
        import horovod.torch as hvd
        from horovod.common.exceptions import HorovodInternalError
        from horovod.common.process_sets import ProcessSet, global_process_set
        from horovod.common.util import gloo_built, num_rank_is_power_2, split_list
        from horovod.torch import Compression, DistributedOptimizer
        from horovod.torch.compression import Compression as same
        from horovod.torch.functions import broadcast_parameters
        from horovod.torch.mpi_ops import allreduce, size
        from horovod.torch.optimizer import DistributedOptimizer as again
        import rueda

        hvd.init()
        assert hvd.allreduce is allreduce is rueda.allreduce
        assert (same, again) == (Compression, DistributedOptimizer)
        assert rueda.HorovodInternalError is HorovodInternalError
        assert hvd.global_process_set is global_process_set
        assert split_list([1, 2, 3], 2) == [[1, 2], [3]] and num_rank_is_power_2(size())
        assert int(os.environ["HOROVOD_RANK"]) == hvd.rank()
        assert int(horovod.__version__.split(".")[1]) >= 28
        total = hvd.allreduce(torch.tensor([float(hvd.rank() + 1)]), op=hvd.Sum)
        print(hvd.rank(), total.item(), "DistributedOptimizer" in dir(hvd))
        """
    )
    result = start("-np", 2, "--as-horovod", path).finish(IMPORTS_S)
    assert result.code == 0, result.err
    assert sorted(result.out.splitlines()) == ["[0] 0 3.0 True", "[1] 1 3.0 True"]
    assert result.err == ""


def test_modules_and_commands_get_it_too(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text("import horovod.torch as h; print(h.Sum.value)")
    for words in (["-m", "pack"], ["--no-python", "python3", "-m", "pack"]):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        result = run("--as-horovod", *words, cwd=tmp_path, env={"PATH": path})
        assert (result.code, result.err) == (0, "")
        assert result.out == "[0] 1\n"


def test_child_processes_of_every_kind_get_it_too(start: Callable, script: Callable) -> None:
    path = script(
        """
        import multiprocessing, subprocess, sys
        import torch
        import horovod.torch as hvd

        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 2
            def __getitem__(self, index):
                import horovod.torch as inside
                return index + inside.Sum.value

        def child(queue):
            import horovod.torch as inside
            queue.put(inside.Sum.value)

        if __name__ == "__main__":
            hvd.init()
            for method in ("fork", "spawn", "forkserver"):
                loader = torch.utils.data.DataLoader(
                    Data(), num_workers=1, multiprocessing_context=method
                )
                print(method, sorted(int(item) for item in loader))
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            print("child", queue.get())
            process.join()
            command = "import horovod.torch as hvd; print(hvd.Sum.value)"
            print("command", subprocess.check_output([sys.executable, "-c", command], text=True))
        """
    )
    result = start("--as-horovod", path).finish(100)
    assert result.code == 0, result.err
    lines = [line.removeprefix("[0] ") for line in result.out.split("\n") if line.strip("[0] ")]
    assert lines == [
        *("fork [1, 2]", "spawn [1, 2]", "forkserver [1, 2]", "child 1", "command 1"),
    ]


TRAINING = """
import torch
import torch.nn.functional as F
import horovod.torch as hvd
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

def metric_average(value, name):
    return hvd.allreduce(torch.tensor(value, dtype=torch.float64), name=name).item()

hvd.init()
torch.manual_seed(42)
torch.set_num_threads(1)
x = torch.randn(64, 10, dtype=torch.float64)
data = TensorDataset(x, (x.sum(1) > 0).long())
sampler = DistributedSampler(data, hvd.size(), hvd.rank(), shuffle=False)
loader = DataLoader(data, batch_size=16 // hvd.size(), sampler=sampler)
torch.manual_seed(hvd.rank())
model = torch.nn.Sequential(
    torch.nn.Linear(10, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
).double()
if hvd.rank() == 0:
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)
optimizer = hvd.DistributedOptimizer(
    optimizer,
    named_parameters=model.named_parameters(),
    compression=hvd.Compression.none,
    op=hvd.Average,
)
for epoch in range(4):
    sampler.set_epoch(epoch)
    total = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() / len(loader)
    mean = metric_average(total, f"loss.{epoch}")
    if hvd.rank() == 0:
        print(f"{mean:.12f}", flush=True)
"""


def test_the_training_curve_is_that_of_one_process(
    start: Callable, script: Callable, full_size: bool
) -> None:
    path = script(TRAINING)
    curves = {}
    sizes = (1, 2, 4) if full_size else (1, 2)
    for size in sizes:
        result = start("-np", size, "--as-horovod", path).finish(IMPORTS_S)
        assert result.code == 0, result.err
        curves[size] = [float(line[4:]) for line in result.out.splitlines()]
    assert len(curves[1]) == 4
    assert curves[1][-1] < curves[1][0]
    for size in sizes[1:]:
        assert curves[size] == pytest.approx(curves[1], abs=1e-9)


MISSING = {
    "hvd.nosuch": "AttributeError module 'horovod.torch' has no attribute 'nosuch': rueda",
    "from horovod.torch import nosuch": "ModuleNotFoundError cannot import 'nosuch' from",
    "from horovod.torch.mpi_ops import nosuch": "horovod.torch.mpi_ops.nosuch",
    "import horovod.torch.nosuch": "does not have horovod.torch.nosuch",
    "import horovod.tensorflow.keras": "for horovod.torch alone",
    "import horovod.spark": "for horovod.torch alone",
    "horovod.ray": "AttributeError module 'horovod' has no attribute 'ray'",
    "hvd()": "TypeError 'module' object is not callable",
    "horovod.run(3)": "ValueError rueda.run calls a function, found 3",
    "import horovod.run as run; run(3)": "ValueError rueda.run calls a function, found 3",
    "from horovod.run import run; run(3)": "ValueError rueda.run calls a function, found 3",
}


def test_what_rueda_does_not_have_is_said_in_words(run: Callable, script: Callable) -> None:
    path = script(
        f"""
        import horovod, horovod.torch as hvd
        for code in {list(MISSING)!r}:
            try:
                exec(code)
            except Exception as error:
                print(type(error).__name__, error)
        print(hasattr(hvd, "nosuch"), hasattr(hvd, "allreduce"), getattr(hvd, "nosuch", 5))
        from horovod.torch import *
        print(allreduce is hvd.allreduce)
        """
    )
    result = run("--as-horovod", path)
    assert result.code == 0, result.err
    *said, attributes, star = [line[4:] for line in result.out.splitlines()]
    for (code, hint), text in zip(MISSING.items(), said, strict=True):
        assert hint in text, code
    assert (attributes, star) == ("False True 5", "True")


def test_every_module_can_be_imported_or_says_why_not(run: Callable, script: Callable) -> None:
    path = script(
        f"""
        import importlib
        for name in {sorted(HOMES)!r}:
            try:
                print(name, len(dir(importlib.import_module(name))))
            except ModuleNotFoundError as error:
                print(name, "rueda stands in for Horovod" in str(error))
        """
    )
    result = run("--as-horovod", path)
    assert result.code == 0, result.err
    lines = [line[4:].split() for line in result.out.splitlines()]
    assert [name for name, _ in lines] == sorted(HOMES)
    assert all(outcome != "False" for _, outcome in lines)
    assert all(int(outcome) > 0 for _, outcome in lines if outcome.isdigit())


def test_without_the_option_horovod_is_not_there(run: Callable, script: Callable) -> None:
    result = run(script("import horovod.torch"))
    assert result.code == 1
    assert "No module named 'horovod'" in result.err


def test_an_installed_horovod_is_shadowed_and_one_line_says_so(
    run: Callable, script: Callable, tmp_path: Path, package_root: Path
) -> None:
    site = tmp_path / "site"
    (site / "horovod").mkdir(parents=True)
    (site / "horovod" / "__init__.py").write_text("raise RuntimeError('the real one')")
    (site / "horovod-0.28.1.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: horovod\nVersion: 0.28.1\n"
    (site / "horovod-0.28.1.dist-info" / "METADATA").write_text(metadata)
    env = {"PYTHONPATH": os.pathsep.join([str(site), str(package_root)])}
    result = run("-np", 2, "--as-horovod", script("import horovod.torch as h; h.Sum"), env=env)
    assert result.code == 0, result.err
    assert result.err == (
        "ruedarun: warning: the installed Horovod 0.28.1 is shadowed: horovod means rueda in this "
        "job\n"
    )


def test_a_horovod_that_python_would_find_first_is_refused(
    run: Callable, script: Callable, tmp_path: Path
) -> None:
    path = script("import horovod")
    (tmp_path / "horovod").mkdir()
    assert run("--as-horovod", path).code == 0  # A folder without code does not count.
    (tmp_path / "horovod" / "__init__.py").touch()
    for words in ([path], ["-m", "train"]):
        result = run("--as-horovod", *words, cwd=tmp_path)
        assert (result.code, result.out) == (2, "")
        assert f"{tmp_path}/horovod/__init__.py comes before rueda" in result.err
        assert result.err.count("\n") == 1


def test_variables_of_horovod_are_taken_for_ruedas_in_one_line(
    run: Callable, script: Callable
) -> None:
    path = script(
        """
        import os
        names = ["FUSION_THRESHOLD", "STALL_CHECK_TIME_SECONDS", "LOG_LEVEL", "CACHE_CAPACITY"]
        print(*(os.environ.get("RUEDA_" + name) for name in names), os.environ["HOROVOD_RANK"])
        """
    )
    env = {
        "HOROVOD_FUSION_THRESHOLD": "1048576",
        "HOROVOD_STALL_CHECK_TIME_SECONDS": "7",
        "HOROVOD_LOG_LEVEL": "DEBUG",
        "HOROVOD_CACHE_CAPACITY": "5",
        "HOROVOD_CYCLE_TIME": "3",
        "HOROVOD_RANK": "77",
        "RUEDA_CACHE_CAPACITY": "6",
    }
    result = run("--as-horovod", "--log-level", "error", path, env=env)
    assert (result.code, result.out) == (0, "[0] 1048576 7 error 6 0\n"), result.err
    assert result.err == (
        "ruedarun: --as-horovod takes HOROVOD_FUSION_THRESHOLD as RUEDA_FUSION_THRESHOLD=1048576, "
        "HOROVOD_STALL_CHECK_TIME_SECONDS as RUEDA_STALL_CHECK_TIME_SECONDS=7; without effect: "
        "HOROVOD_CACHE_CAPACITY (RUEDA_CACHE_CAPACITY is set), HOROVOD_CYCLE_TIME, "
        "HOROVOD_LOG_LEVEL (RUEDA_LOG_LEVEL is set)\n"
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"FUSION_THRESHOLD": "0"}, {"FUSION_THRESHOLD": "1"}),
        (
            {"STALL_CHECK_DISABLE": "1"},
            {"STALL_CHECK_TIME_SECONDS": "0", "STALL_SHUTDOWN_TIME_SECONDS": "0"},
        ),
        (
            {"STALL_CHECK_DISABLE": "1", "STALL_SHUTDOWN_TIME_SECONDS": "60"},
            {"STALL_CHECK_TIME_SECONDS": "0", "STALL_SHUTDOWN_TIME_SECONDS": "0"},
        ),
        ({"STALL_CHECK_DISABLE": "0"}, {}),
        (
            {"STALL_CHECK_DISABLE": "1", "STALL_CHECK_TIME_SECONDS": "9"},
            {"STALL_CHECK_TIME_SECONDS": "0", "STALL_SHUTDOWN_TIME_SECONDS": "0"},
        ),
        ({"GLOO_TIMEOUT_SECONDS": "40"}, {"TIMEOUT_SECONDS": "40"}),
        ({"START_TIMEOUT": "40"}, {"START_TIMEOUT_SECONDS": "40"}),
        ({"TIMELINE": "DYNAMIC", "LOG_LEVEL": ""}, {}),
        ({"HOSTNAME": "x", "RANK": "1", "GLOO_RENDEZVOUS_PORT": "1"}, {}),
    ],
)
def test_what_variables_mean(theirs: dict[str, str], ours: dict[str, str]) -> None:
    environ = {f"HOROVOD_{name}": value for name, value in theirs.items()}
    expected = {f"RUEDA_{name}": value for name, value in ours.items()}
    assert translate(environ, (), load_engine).settings == expected


def test_a_variable_that_the_engine_does_not_accept_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        translate({"HOROVOD_LOG_LEVEL": "loud"}, (), load_engine)
    assert "HOROVOD_LOG_LEVEL='loud'" in str(caught.value)
    assert "warning" in str(caught.value)


def test_the_folder_holds_horovod_alone_and_comes_first_once() -> None:
    assert [path.name for path in FOLDER.iterdir() if path.name != "__pycache__"] == ["horovod"]
    once = disguised(options("--as-horovod", "x.py"), {"PYTHONPATH": "/a"}).environ
    twice = disguised(options("--as-horovod", "x.py"), once).environ
    assert once["PYTHONPATH"] == twice["PYTHONPATH"] == f"{FOLDER}{os.pathsep}/a"
