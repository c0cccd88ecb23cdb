"""What of a figure is the neighbours' doing: other guests of the host that this machine runs on.

    ruedarun -np 2 benchmarks/neighbours.py

1. Whether a core is shared: the time of a loop that needs nothing but its core, beside each step of
   the simulated control plane. Where the loop takes its least time, nobody else computes there.
2. Whether a core is taken away: loops of synchronous calls of 4 KiB by the time that the host stole
   meanwhile, as the kernel counts it, in hundredths of a second.
3. Whether caches are emptied: 300 asynchronous calls of 1 KiB right after the last ones, after
   counting, which touches next to no memory, and after writing more than a cache holds. Submitting
   waits for no other rank.

Works with any number of ranks. A machine that is its owner's alone counts no stolen time, so the
second table has one line there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

import rueda as hvd
from rueda._bench.control_run import simulation
from rueda._bench.control_settings import NO_LINK, ControlSettings
from rueda._bench.processors import pinned
from rueda._bench.statistics import median, percentile
from rueda._bench.stolen import StolenTime

NUMBERS = tuple(range(400))
# The loop against its least time.
SHARED = ((1.0, 1.05), (1.05, 1.2), (1.2, 1.4), (1.4, 1.6), (1.6, 2.0), (2.0, float("inf")))
# Percent of the processors' time.
STOLEN = ((0.0, 0.0), (0.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 100.0))
COUNTING_S = 0.03
MORE_THAN_A_CACHE = 64 << 20
TENSORS_IN_A_BURST = 300


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def steps_beside_a_loop(seconds: float) -> list[tuple[float, float]]:
    """Return pairs: what the loop took around a simulated step, and the step, in seconds."""
    simulated = simulation(ControlSettings(), "cached", "star", 2, (NO_LINK, NO_LINK))
    pairs = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = seconds_of(lambda: sum(NUMBERS))
        taken = simulated.step().total
        after = seconds_of(lambda: sum(NUMBERS))
        pairs.append(((before + after) / 2, taken))
    return pairs


def print_shared(pairs: Sequence[tuple[float, float]]) -> None:
    """Say how long a step takes by what the loop took."""
    least = min(loop for loop, _ in pairs)
    print(f"A loop takes {least * 1e6:.2f} us at least. A step of 300 cached tensors beside it:")
    for low, high in SHARED:
        steps = [step * 1e6 for loop, step in pairs if low <= loop / least < high]
        if steps:
            print(
                f"  loop {low:4.2f} to {high:4.2f} times its least: {len(steps):6d} steps, "
                f"median {median(steps):6.2f} us, "
                f"p10 {percentile(steps, 10):.2f}, p90 {percentile(steps, 90):.2f}"
            )


def loop_of_calls(tensor: torch.Tensor, calls: int) -> tuple[float, float, float]:
    """Return a loop's median and 99th percentile of a call in us, and the stolen percent."""
    times = []
    with StolenTime() as stolen:
        for _ in range(calls):
            times.append(seconds_of(lambda: hvd.allreduce_(tensor, op=hvd.Max, name="loop")))
    return median(times) * 1e6, percentile(times, 99) * 1e6, stolen.percent


def print_stolen(loops: Sequence[tuple[float, float, float]], calls: int) -> None:
    """Say what calls took by what was stolen."""
    print(f"\nLoops of {calls} calls of 4 KiB, by the time that the host took from the processors:")
    for low, high in STOLEN:
        chosen = [one for one in loops if (one[2] == 0 if high == 0 else low < one[2] <= high)]
        if chosen:
            middle, tail = median([one[0] for one in chosen]), median([one[1] for one in chosen])
            ratio = median([one[1] / one[0] for one in chosen])
            print(
                f"  {'none' if high == 0 else f'up to {high:.0f} %':>10}: {len(chosen):4d} loops, "
                f"medians of p50 {middle:5.1f} us, p99 {tail:6.1f} us, p99 / p50 {ratio:.1f}"
            )
    if len({one[2] for one in loops}) > 1:
        print(f"  correlation of the stolen time with p99: {correlated(loops):.2f}")


def correlated(loops: Iterable[tuple[float, float, float]]) -> float:
    """Return the correlation of stolen time and p99."""
    _, tails, stolen = zip(*loops, strict=True)
    return statistics.correlation(stolen, tails)


def burst_of(tensors: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return how long many calls take to submit, and until all are done, in seconds."""
    began = time.perf_counter()
    handles = [hvd.allreduce_async_(one, op=hvd.Max, name=f"{i}") for i, one in enumerate(tensors)]
    submitted = time.perf_counter()
    for handle in handles:
        hvd.synchronize(handle)
    return submitted - began, time.perf_counter() - began


def compute_for(seconds: float) -> None:
    """Keep the core, and touch next to no memory."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def bursts_after(bursts: int) -> dict[str, list[tuple[float, float]]]:
    """Return bursts of calls by what comes before each of them."""
    memory = torch.ones(MORE_THAN_A_CACHE // 4)
    befores: dict[str, Callable[[], object]] = {
        "another burst": lambda: None,
        f"{COUNTING_S * 1e3:.0f} ms of counting": lambda: compute_for(COUNTING_S),
        f"writing {MORE_THAN_A_CACHE >> 20} MiB": lambda: memory.mul_(1),
    }
    tensors = [torch.ones(256) for _ in range(TENSORS_IN_A_BURST)]
    burst_of(tensors)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in befores}
    for _ in range(bursts):
        for name, before in befores.items():
            burst_of(tensors)
            before()
            hvd.barrier()
            taken[name].append(burst_of(tensors))
    return taken


def print_bursts(taken: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Say how long bursts take by what came before."""
    print(
        f"\n{TENSORS_IN_A_BURST} asynchronous calls of 1 KiB, ranks: {hvd.size()}. Medians, after"
    )
    for name, bursts in taken.items():
        submitting, whole = (median(column) * 1e6 for column in zip(*bursts, strict=True))
        print(f"  {name:>20}: submitting {submitting:6.0f} us, until all are done {whole:6.0f} us")


def main() -> None:
    """Measure all, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8, help="of simulated steps (8)")
    parser.add_argument("--loops", type=int, default=40, help="of calls (40)")
    parser.add_argument("--calls", type=int, default=50_000, help="in a loop (50000)")
    parser.add_argument("--bursts", type=int, default=60, help="after each of what may come (60)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    hvd.init()
    if hvd.rank() == 0:
        with pinned(min(os.sched_getaffinity(0))):
            pairs = steps_beside_a_loop(options.seconds)
        print_shared(pairs)
    hvd.barrier()
    tensor = torch.ones(1024)
    loop_of_calls(tensor, options.calls)
    loops = [loop_of_calls(tensor, options.calls) for _ in range(options.loops)]
    bursts = bursts_after(options.bursts)
    if hvd.rank() == 0:
        print_stolen(loops, options.calls)
        print_bursts(bursts)
    hvd.shutdown()


if __name__ == "__main__":
    main()
