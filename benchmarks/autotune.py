"""What autotune gains on a step of many small tensors: the start's settings against its result.

    python benchmarks/autotune.py -np 2

One job searches and writes its result; then jobs with the start's settings and jobs that were given
the result take turns, so that a machine whose speed drifts is unfair to neither. A step submits 300
tensors of 4 to 256 KiB that no peer maps, then waits for all. Figures are medians, of the slowest
rank.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import rueda as hvd

TENSORS = 300
SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16)  # float32 elements
RANK = "--as-a-rank"
SEARCH_STEPS = 2000  # at most: 23 samples of 11 steps, and room


def tensors() -> list[torch.Tensor]:
    """Return one rank's tensors, about 25 MB, of mixed sizes in a fixed order."""
    return [torch.ones(SIZES[i % 7 % len(SIZES)]) for i in range(TENSORS)]


def step(work: list[torch.Tensor]) -> None:
    """Reduce all tensors, as a training loop without the optimizer's own buckets does."""
    handles = [
        hvd.allreduce_async_(tensor, name=f"t{i}", op=hvd.Average) for i, tensor in enumerate(work)
    ]
    for handle in handles:
        hvd.synchronize(handle)


def run_rank(steps: int, until_result: str) -> None:
    """Be one rank: take steps, and print the median of the slowest rank's times on rank 0.

    A job that searches stops when its file has the result.
    """
    torch.set_num_threads(1)
    hvd.init()
    work = tensors()
    seconds = []
    for number in range(steps):
        start = time.perf_counter()
        step(work)
        seconds.append(time.perf_counter() - start)
        if until_result and number % 50 == 49:
            done = hvd.rank() == 0 and "result" in Path(until_result).read_text()
            if hvd.broadcast_object(done, 0):
                break
    median = torch.tensor(statistics.median(seconds[len(seconds) // 5 :]))
    slowest = float(hvd.allreduce(median, op=hvd.Max))
    if hvd.rank() == 0:
        print(json.dumps({"seconds": slowest}))


def job(ranks: int, steps: int, variables: dict[str, str], until_result: str = "") -> float:
    """Run one job and return the seconds of its step."""
    command = [sys.executable, "-m", "rueda.launch", "-np", str(ranks)]
    command += [__file__, RANK, "--steps", str(steps), "--until-result", until_result]
    done = subprocess.run(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if "seconds" in line)
    return float(json.loads(line[line.index("{") :])["seconds"])


def found(log: str) -> dict[str, str]:
    """Return the result's row of a log."""
    with Path(log).open(newline="") as file:
        return next(row for row in csv.DictReader(file) if row["phase"] == "result")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-np", type=int, default=2, help="ranks")
    parser.add_argument("--rounds", type=int, default=5, help="jobs of each kind")
    parser.add_argument("--steps", type=int, default=100, help="steps of each job")
    parser.add_argument("--until-result", default="", help=argparse.SUPPRESS)
    parser.add_argument(RANK, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_a_rank:
        run_rank(arguments.steps, arguments.until_result)
        return
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder) / "autotune.csv")
        search = {"RUEDA_AUTOTUNE": "1", "RUEDA_AUTOTUNE_LOG": log}
        job(arguments.np, SEARCH_STEPS, search, until_result=log)
        print(Path(log).read_text())
        row = found(log)
        kinds: dict[str, dict[str, str]] = {"start": {}, "tuned": {"RUEDA_AUTOTUNE_RESULT": log}}
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, variables in kinds.items():
                times[kind].append(job(arguments.np, arguments.steps, variables))
    start, tuned = (statistics.median(times[kind]) for kind in ("start", "tuned"))
    settings = f"{row['RUEDA_FUSION_THRESHOLD']} B, {row['RUEDA_LINGER_US']} us"
    print(
        f"start {start * 1e3:.2f} ms, tuned {tuned * 1e3:.2f} ms ({settings}): {start / tuned:.2f}x"
    )


if __name__ == "__main__":
    main()
