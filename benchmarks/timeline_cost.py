"""What a timeline costs: steps with 300 small tensors, recorded and not, taking turns.

    python benchmarks/timeline_cost.py
    python benchmarks/timeline_cost.py --absent-path FOLDER

Two jobs of two ranks lie side by side, and only one of them works at a time. The first switches its
timeline on and off; the second never starts one, or, with ``--absent-path``, imports rueda from a
folder with a version that has none. Every figure is a median over rounds in which all three take
turns. "calls" are 300 named all-reduces of 256 floats, started one by one and waited for; "step" is
a training step of 300 parameters of 256 floats with the distributed optimizer.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_TENSORS = 300
_ELEMENTS = 256
_WARM_UP = 2
_JOB_START_SECONDS = 60


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--absent-path", default="", help="folder of a rueda without a timeline")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


# What the ranks do.


def _steps() -> dict[str, Callable[[], object]]:
    import torch

    import rueda as hvd

    tensors = [torch.ones(_ELEMENTS) for _ in range(_TENSORS)]

    def calls() -> None:
        handles = [
            hvd.allreduce_async_(tensor, name=f"tensor.{i}", op=hvd.Average)
            for i, tensor in enumerate(tensors)
        ]
        for handle in handles:
            hvd.synchronize(handle)

    weights = [torch.nn.Parameter(torch.ones(_ELEMENTS)) for _ in range(_TENSORS)]
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(weights, lr=0.0), [(f"weight.{i}", w) for i, w in enumerate(weights)]
    )

    def step() -> None:
        optimizer.zero_grad()
        torch.stack([weight.sum() for weight in weights]).sum().backward()
        optimizer.step()

    return {"calls": calls, "step": step}


def serve(path: str) -> None:
    """Be a rank: rank 0 takes orders from a socket and answers with seconds a step."""
    import rueda as hvd

    hvd.init()
    orders = None
    if hvd.rank() == 0:
        line = socket.socket(socket.AF_UNIX)
        line.connect(path)
        orders = line.makefile("rw")
    steps = _steps()
    trace = Path(tempfile.gettempdir(), f"timeline_cost.{os.getpid()}.json")
    while True:
        text = orders.readline() if orders is not None else None
        order = json.loads(hvd.broadcast_object(text, 0) or "null")
        if order is None:
            break
        if order["on"] and hvd.rank() == 0:
            hvd.start_timeline(str(trace))
        run = steps[order["what"]]
        run()
        hvd.barrier()
        start = time.perf_counter()
        for _ in range(order["steps"]):
            run()
        hvd.barrier()
        seconds = (time.perf_counter() - start) / order["steps"]
        if order["on"] and hvd.rank() == 0:
            hvd.stop_timeline()
        if orders is not None:
            orders.write(f"{seconds}\n")
            orders.flush()
    trace.unlink(missing_ok=True)


# What gives the orders.


class Job:
    """Two ranks that wait for orders."""

    def __init__(self, folder: str, name: str, python_path: str) -> None:
        address = str(Path(folder, name))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(1)
        listener.settimeout(_JOB_START_SECONDS)
        environment = dict(os.environ)
        if python_path:
            environment["PYTHONPATH"] = python_path
        command = [sys.executable, "-m", "rueda.launch", "-np", "2", __file__, "--serve", address]
        self._process = subprocess.Popen(command, env=environment)
        line, _ = listener.accept()
        self._orders = line.makefile("rw")
        self._line = line

    def run(self, what: str, steps: int, on: bool) -> float:
        """Let the job make steps and return the seconds of one."""
        self._orders.write(json.dumps({"what": what, "steps": steps, "on": on}) + "\n")
        self._orders.flush()
        return float(self._orders.readline())

    def end(self) -> None:
        """Let the job end, and wait for it."""
        self._orders.close()
        self._line.close()
        self._process.wait(_JOB_START_SECONDS)


def measure(arguments: argparse.Namespace, folder: str) -> None:
    """Run all variants in turns and print their medians."""
    ours = Job(folder, "ours", "")
    other = Job(folder, "other", arguments.absent_path)
    variants = {"on": (ours, True), "off": (ours, False), "absent": (other, False)}
    for what in ("calls", "step"):
        samples: dict[str, list[float]] = {name: [] for name in variants}
        for round_number in range(arguments.rounds + _WARM_UP):
            for name, (job, on) in variants.items():
                seconds = job.run(what, arguments.steps, on)
                if round_number >= _WARM_UP:
                    samples[name].append(seconds)
        report(what, samples)
    ours.end()
    other.end()


def report(what: str, samples: dict[str, list[float]]) -> None:
    """Print medians, the medians of the differences within a round, and the fastest rounds."""
    base = samples["absent"]
    pairs = zip(samples["on"], samples["off"], strict=True)
    extra = statistics.median(on / off - 1 for on, off in pairs)
    print(f"{what:<6} on against off, the same job: {100 * extra:+6.2f} %")
    for name, values in samples.items():
        extra = statistics.median(a / b - 1 for a, b in zip(values, base, strict=True))
        median, fastest = statistics.median(values) * 1e6, min(values) * 1e6
        print(
            f"{what:<6} {name:<7} median {median:9.1f} us a step {100 * extra:+6.2f} %   "
            f"fastest {fastest:9.1f} us {100 * (min(values) / min(base) - 1):+6.2f} %",
            flush=True,
        )


def main() -> None:
    """Measure, or be one of the ranks that are measured."""
    arguments = parsed()
    if arguments.serve:
        serve(arguments.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, folder)


if __name__ == "__main__":
    main()
