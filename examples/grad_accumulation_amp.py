"""Gradient accumulation, mixed precision, loss scaling and clipping together.

    python examples/grad_accumulation_amp.py
    ruedarun -np 2 python examples/grad_accumulation_amp.py --passes 4

A small net learns scikit-learn's handwritten digits. Each step adds up the gradients of several
backward passes locally and reduces them once. The lines that matter, in this order:

    optimizer.synchronize()             all ranks have the same, still scaled gradients
    scaler.unscale_(optimizer)          which can now be read as they are
    clip_grad_norm_(...)                and clipped, alike on all ranks
    with optimizer.skip_synchronize():
        scaler.step(optimizer)          steps on all ranks or on none

With --overflow-at one rank's loss overflows in that step: the sum is infinite on every rank, so
every rank skips the step and halves its scale.
"""

from __future__ import annotations

import argparse
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import rueda as hvd

TRAINED = 1440  # of 1797 images; the rest are for testing


def load_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of shape (n, 64) and their classes."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().flatten(1) / 16
    return images, torch.from_numpy(digits.target).long()


def own_batches(passes: int, seed: int) -> list[tuple[torch.Tensor, ...]]:
    """Return this rank's part of an epoch, a pair of tensors a pass, in one order for all."""
    images, classes = (part[:TRAINED] for part in load_data())
    order = torch.randperm(TRAINED, generator=torch.Generator().manual_seed(seed))
    own = order[hvd.rank() :: hvd.size()]
    steps = max(1, TRAINED // 96)
    own = own[: len(own) // (steps * passes) * steps * passes]  # whole passes only
    return [(images[one], classes[one]) for one in own.chunk(steps * passes)]


def train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    options: argparse.Namespace,
    epoch: int,
) -> tuple[float, int]:
    """Return the average loss and how many steps were skipped."""
    batches = own_batches(options.passes, epoch)
    skipped, loss_sum = 0, 0.0
    for first in range(0, len(batches), options.passes):
        optimizer.zero_grad()
        step = first // options.passes
        for images, classes in batches[first : first + options.passes]:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = functional.cross_entropy(net(images), classes)
            loss_sum += loss.item() / len(batches)
            # The passes are added up, so each counts as its share.
            loss = loss / options.passes
            if (epoch, step, hvd.rank()) == (0, options.overflow_at, hvd.size() - 1):
                loss = loss * float("inf")
            scaler.scale(loss).backward()
        optimizer.synchronize()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), options.clip)
        before = scaler.get_scale()
        with optimizer.skip_synchronize():
            scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < before
    return hvd.allreduce(torch.tensor(loss_sum), name="loss").item(), skipped


def accuracy(net: nn.Module) -> float:
    """Return the share of right answers on the test images."""
    images, classes = (part[TRAINED:] for part in load_data())
    with torch.no_grad():
        return (net(images).argmax(dim=1) == classes).float().mean().item()


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--passes", type=int, default=2, help="a step (default: %(default)s)")
    parser.add_argument("--clip", type=float, default=1.0, help="norm of the gradients")
    parser.add_argument("--overflow-at", type=int, default=-1, help="a step of the first epoch")
    return parser.parse_args()


def main() -> int:
    """Train, test and say whether all ranks agree; the result is for sys.exit."""
    options = read_options()
    torch.set_num_threads(1)  # the tensors are too small to be shared out among threads as well
    hvd.init()
    torch.manual_seed(hvd.rank())
    net = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    hvd.broadcast_parameters(net.state_dict(), root_rank=0)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.AdamW(net.parameters(), lr=0.01),
        named_parameters=net.named_parameters(),
        backward_passes_per_step=options.passes,
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for epoch in range(options.epochs):
        loss, skipped = train_epoch(net, optimizer, scaler, options, epoch)
        if hvd.rank() == 0:
            scale = scaler.get_scale()
            print(f"epoch {epoch + 1}: loss {loss:.4f}, skipped {skipped}, scale {scale:.0f}")
    facts = hvd.allgather_object(
        (scaler.get_scale(), [p.double().sum().item() for p in net.parameters()])
    )
    same = all(one == facts[0] for one in facts)
    if hvd.rank() == 0:
        print(f"test accuracy: {accuracy(net):.4f}")
        print(f"scale and weights identical on all {hvd.size()} ranks: {'yes' if same else 'NO'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
