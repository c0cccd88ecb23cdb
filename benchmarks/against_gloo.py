"""rueda against PyTorch's Gloo, side by side in one run.

    ruedarun -np 2 benchmarks/against_gloo.py

Every figure is a median over rounds in which all variants take turns, so that a machine whose
speed drifts is unfair to none; the slowest rank counts. "extra" is what a training step with the
gradients of ResNet-50 (161 tensors, 102 MB) takes beyond the same step without communication.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import rueda as hvd
from rueda._bench.resnet50 import resnet50_shapes

Variant = Callable[[], object]


class ManyParameters(torch.nn.Module):
    """Parameters of given shapes whose gradients cost little to compute."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(s)) for s in shapes])

    def forward(self, factor: torch.Tensor) -> torch.Tensor:
        """Return a sum whose gradient is the factor everywhere."""
        return torch.stack([(weight * factor).sum() for weight in self.weights]).sum()


def timed(variants: dict[str, Variant], rounds: int, repeats: int) -> dict[str, float]:
    """Return each variant's median time of one call in seconds, on the slowest rank."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds + 2):
        for name, variant in variants.items():
            hvd.barrier()
            start = time.perf_counter()
            for _ in range(repeats):
                variant()
            elapsed = torch.tensor((time.perf_counter() - start) / repeats)
            slowest = float(hvd.allreduce(elapsed, op=hvd.Max))
            if round_number >= 2:
                samples[name].append(slowest)
    return {name: statistics.median(values) for name, values in samples.items()}


def all_reduces(count: int) -> dict[str, Variant]:
    """Return the variants of one all-reduce of ``count`` float32 elements."""
    ours, theirs = torch.ones(count), torch.ones(count)
    return {
        "rueda": lambda: hvd.allreduce_(ours, name=f"bench.{count}", op=hvd.Sum),
        "gloo": lambda: dist.all_reduce(theirs),
    }


def training_steps() -> dict[str, Variant]:
    """Return the variants of a step of 161 gradients, without the optimizer's own update."""
    shapes = resnet50_shapes()
    factor = torch.tensor(1.0)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, keep: bool) -> None:
        optimizer.zero_grad(set_to_none=not keep)
        model(factor).backward()

    def plain(keep: bool) -> Variant:
        model = ManyParameters(shapes)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        return lambda: step(model, optimizer, keep)

    def ddp(view: bool) -> Variant:
        model = ManyParameters(shapes)
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=view)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        return lambda: step(wrapped, optimizer, view)

    def rueda(keep: bool) -> Variant:
        model = ManyParameters(shapes)
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.0), model.named_parameters()
        )

        def run() -> None:
            step(model, optimizer, keep)
            optimizer.synchronize()

        return run

    return {
        "plain": plain(False),
        "plain, gradients kept": plain(True),
        "DDP(gloo)": ddp(False),
        "DDP(gloo), bucket views": ddp(True),
        "rueda": rueda(False),
        "rueda, gradients kept": rueda(True),
    }


def report(what: str, times: dict[str, float], unit: float, label: str) -> None:
    """Print one comparison on rank 0."""
    if hvd.rank() == 0:
        ratio = times["gloo"] / times["rueda"]
        print(
            f"{what:<28}rueda {times['rueda'] / unit:8.1f} {label}   "
            f"gloo {times['gloo'] / unit:8.1f} {label}   {ratio:5.1f}x"
        )


def report_training(times: dict[str, float]) -> None:
    """Print the extra time of each way to train on rank 0."""
    if hvd.rank() != 0:
        return
    base = {False: times["plain"], True: times["plain, gradients kept"]}
    print(f"{'step without communication':<28}{base[False] * 1e3:8.1f} ms")
    extra = {
        name: time_ - base["kept" in name or "views" in name]
        for name, time_ in times.items()
        if not name.startswith("plain")
    }
    for name, value in extra.items():
        ratio = extra["DDP(gloo)"] / value
        print(f"  extra, {name:<26}{value * 1e3:8.1f} ms   {ratio:5.1f}x faster than DDP(gloo)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21, help="samples of each variant")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of each rank")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    hvd.init()
    dist.init_process_group("gloo", rank=hvd.rank(), world_size=hvd.size())
    rounds = arguments.rounds
    report("all-reduce 4 KiB", timed(all_reduces(1 << 10), rounds, 50), 1e-6, "us")
    report("all-reduce 64 MiB", timed(all_reduces(1 << 24), rounds, 1), 1e-3, "ms")
    report_training(timed(training_steps(), rounds, 1))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
