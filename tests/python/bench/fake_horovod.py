"""Horovod, played by a module with its names and a command like its launcher."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FAKE_HOROVOD = """
import os
import torch.distributed as dist

Average, Sum = 0, 1

def init():
    rank, size = int(os.environ["FAKE_RANK"]), int(os.environ["FAKE_SIZE"])
    store = dist.FileStore(os.environ["FAKE_STORE"], size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)

def rank():
    return dist.get_rank()

def size():
    return dist.get_world_size()

def barrier():
    dist.barrier()

def allreduce_(tensor, name, op):
    dist.all_reduce(tensor)
    return tensor

def allreduce_async_(tensor, name, op):
    return dist.all_reduce(tensor, async_op=True)

def DistributedOptimizer(optimizer, named_parameters):
    parameters, step = [parameter for _, parameter in named_parameters], optimizer.step

    def reduced_step():
        if "FAKE_DIES" in os.environ:
            os._exit(3)
        for parameter in parameters:
            dist.all_reduce(parameter.grad)
            parameter.grad /= size()
        step()

    zero_grad = optimizer.zero_grad
    optimizer.step = reduced_step
    optimizer.zero_grad = lambda: zero_grad()  # as Horovod's, without an argument
    return optimizer

def synchronize(handle):
    handle.wait()

def grouped_allreduce_(tensors, name, op):
    # One of them is left out, so that somebody has to notice.
    for tensor in tensors[1:]:
        dist.all_reduce(tensor)
    return tensors
"""
FAKE_HOROVODRUN = """#!{python}
import os, subprocess, sys
assert sys.argv[1] == "-np"
size = int(sys.argv[2])
running = [
    subprocess.Popen(sys.argv[3:], env=dict(os.environ, FAKE_RANK=str(rank), FAKE_SIZE=str(size)))
    for rank in range(size)
]
sys.exit(max(process.wait() for process in running))
"""


def install(folder: Path) -> dict[str, str]:
    """Write both to a folder and return the variables with which they are found."""
    package = folder / "horovod"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "torch.py").write_text(FAKE_HOROVOD)
    command = folder / "horovodrun"
    command.write_text(FAKE_HOROVODRUN.format(python=sys.executable))
    command.chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "FAKE_STORE": str(folder / "store"),
    }
