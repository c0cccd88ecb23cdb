"""Train on ranks that have different amounts of data: who runs out first joins.

    ruedarun -np 3 examples/uneven_data.py

Rank r has (r + 1) times as many batches as rank 0. A rank that is out of data sleeps in
``hvd.join()`` while the others go on without it.
"""

from __future__ import annotations

import argparse

import torch

import rueda as hvd


def make_batches(count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches of 16 points (x, y) with y = 3 a - 2 b + 0.5 c + 1 and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        x = torch.randn(16, 3, generator=generator)
        noise = 0.01 * torch.randn(16, 1, generator=generator)
        batches.append((x, x @ torch.tensor([[3.0], [-2.0], [0.5]]) + 1 + noise))
    return batches


def mean_loss(model: torch.nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the mean squared error over all batches of all ranks."""
    with torch.no_grad():
        own = sum((torch.nn.functional.mse_loss(model(x), y) for x, y in batches), torch.zeros(()))
    total = hvd.allreduce(torch.stack([own, torch.tensor(float(len(batches)))]), op=hvd.Sum)
    return float(total[0] / total[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=20, help="batches of rank 0")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    hvd.init()
    torch.manual_seed(hvd.rank())
    batches = make_batches(arguments.batches * (hvd.rank() + 1), seed=hvd.rank())
    model = torch.nn.Linear(3, 1)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.05), named_parameters=model.named_parameters()
    )
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    first = mean_loss(model, batches)
    for epoch in range(arguments.epochs):
        for x, y in batches:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        last = hvd.join()
        # Who joined last has taken every step of this epoch.
        hvd.broadcast_parameters(model.state_dict(), root_rank=last)
        loss = mean_loss(model, batches)
        if hvd.rank() == 0:
            print(f"epoch {epoch + 1}: loss {loss:.5f}, the last to join was rank {last}")

    counts = hvd.allgather(torch.tensor([len(batches)])).tolist()
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()]).detach()
    everyones = hvd.allgather(weights.unsqueeze(0))
    if hvd.rank() == 0:
        print(f"batches of the ranks: {counts}")
        print(f"loss before: {first:.5f}")
        print(f"weights: {', '.join(f'{weight:.2f}' for weight in weights.tolist())}")
        same = "yes" if bool((everyones == everyones[0]).all()) else "no"
        print(f"parameters identical on all ranks: {same}")


if __name__ == "__main__":
    main()
