"""Batch normalisation over the batches of all processes, which may differ in size.

    python examples/sync_batch_norm.py
    ruedarun -np 3 python examples/sync_batch_norm.py

Each rank gets only a handful of images a step, rank 0 more than the others: too few for a mean and
a variance of their own. The script trains a small convolutional net three times on the same global
batches: with SyncBatchNorm on all ranks, with each rank's own BatchNorm, and on rank 0 alone with
the whole batches. The first equals the last up to rounding; the second does not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import rueda as hvd


def load_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of shape (n, 1, 8, 8) and their classes."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    return images, torch.from_numpy(digits.target).long()


def make_net() -> nn.Module:
    """Return a smooth net with two batch normalisations."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 32),
        nn.BatchNorm1d(32),
        nn.GELU(),
        nn.Linear(32, 10),
    )


def share(batch: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a global batch: rank 0 has twice as much as each other."""
    parts = batch.chunk(hvd.size() + 1)
    if len(parts) <= hvd.size():  # fewer images than that: the last ranks have none
        return parts[hvd.rank()] if hvd.rank() < len(parts) else batch[:0]
    return torch.cat(parts[:2]) if hvd.rank() == 0 else parts[hvd.rank() + 1]


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    part_of: Callable[[torch.Tensor], torch.Tensor],
    options: argparse.Namespace,
) -> None:
    """Train on a part of each global batch."""
    images, classes = load_data()
    for step in range(options.steps):
        generator = torch.Generator().manual_seed(step)
        batch = torch.randint(len(images), (options.batch_size,), generator=generator)
        own = part_of(batch)
        optimizer.zero_grad()
        # Sums over the rank's images, divided by the number of all: summed over ranks, the average.
        loss = functional.cross_entropy(net(images[own]), classes[own], reduction="sum")
        (loss / options.batch_size).backward()
        optimizer.step()


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Return the largest absolute difference between parameters and running statistics."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def main() -> int:
    """Train three times and compare; the result is for sys.exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="of all ranks (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are too small to be shared out among threads as well
    hvd.init()
    return compare(options)


def compare(options: argparse.Namespace) -> int:
    """Train with SyncBatchNorm, with BatchNorm and alone; print what came out."""
    sizes = hvd.allgather_object(len(share(torch.arange(options.batch_size))))
    synchronized = hvd.SyncBatchNorm.convert_sync_batchnorm(make_net())
    nets = {"SyncBatchNorm": synchronized}
    if min(sizes) > 1:  # BatchNorm has no variance of one image
        nets["BatchNorm"] = make_net()
    for net in nets.values():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        train(net, hvd.DistributedOptimizer(optimizer, op=hvd.Sum), share, options)
    if hvd.rank() == 0:
        print(f"images of each rank in a step: {', '.join(str(size) for size in sizes)}")
        whole = make_net()
        alone = torch.optim.SGD(whole.parameters(), lr=0.05, momentum=0.9)
        train(whole, alone, lambda batch: batch, options)
        for title, net in nets.items():
            print(f"{title}, difference to 1 process: {largest_difference(net, whole):.1e}")
    # The others wait here while rank 0 still trains.
    checksums = hvd.allgather_object(
        [value.double().sum().item() for value in synchronized.state_dict().values()]
    )
    same = all(one == checksums[0] for one in checksums)
    if hvd.rank() == 0:
        print(f"identical on all {hvd.size()} ranks: {'yes' if same else 'NO'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
