"""Train two models side by side, one on the even ranks and one on the odd ones.

    ruedarun -np 4 examples/process_sets.py

Each process set reduces its own gradients and does not wait for the other. At the end a set of
their first ranks, made for the purpose, compares the results.
"""

from __future__ import annotations

import argparse
import sys

import torch

import rueda as hvd

_TARGETS = {"even": [3.0, -2.0], "odd": [-1.0, 4.0]}


def train(target: torch.Tensor, steps: int, process_set: hvd.ProcessSet) -> torch.Tensor:
    """Fit a linear model to ``x @ target`` on the ranks of a set and return its weights."""
    torch.manual_seed(hvd.rank())
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1),
        named_parameters=model.named_parameters(),
        process_set=process_set,
    )
    # The set's first rank begins; roots are ranks of the job.
    root = (process_set.ranks or [0])[0]
    hvd.broadcast_parameters(model.state_dict(), root_rank=root, process_set=process_set)
    for _ in range(steps):
        x = torch.randn(32, 2)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), x @ target.unsqueeze(1)).backward()
        optimizer.step()
    return model.weight.detach().flatten()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="of the even ranks; odd take twice")
    arguments = parser.parse_args()

    hvd.init(process_sets="dynamic")
    ranks = list(range(hvd.size()))
    if len(ranks) < 2:
        sys.exit("this example needs at least 2 processes: ruedarun -np 4 examples/process_sets.py")
    # A set of all ranks exists already; sets are added by all ranks in one order.
    sets = {"even": hvd.add_process_set(ranks[::2]), "odd": hvd.add_process_set(ranks[1::2])}
    name = "even" if sets["even"].included() else "odd"
    own = sets[name]
    steps = arguments.steps if name == "even" else 2 * arguments.steps

    weights = train(torch.tensor(_TARGETS[name]), steps, own)
    everyones = hvd.allgather(weights.unsqueeze(0), process_set=own)
    same = bool((everyones == everyones[0]).all())
    if own.rank() == 0:
        numbers = ", ".join(f"{weight:.3f}" for weight in weights.tolist())
        print(f"{name} ranks {own.ranks}: {steps} steps, weights {numbers}")
        print(f"{name} ranks have identical parameters: {'yes' if same else 'no'}")

    # With two ranks the first ones are all there are.
    leaders = hvd.global_process_set if len(ranks) == 2 else hvd.add_process_set([0, 1])
    if leaders.included():
        models = hvd.allgather(weights.unsqueeze(0), process_set=leaders)
        if hvd.rank() == 0:
            print(f"distance between the two models: {float((models[0] - models[1]).norm()):.3f}")
    hvd.barrier()  # rank 0 leads the job, so nobody leaves before all are done


if __name__ == "__main__":
    main()
