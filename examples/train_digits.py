"""Train a small convolutional net on scikit-learn's handwritten digits, on one process or several.

    python examples/train_digits.py
    ruedarun -np 2 python examples/train_digits.py
    torchrun --nproc-per-node 2 examples/train_digits.py
    mpirun -np 2 python examples/train_digits.py

The lines that make a script for one process run on many are marked (1) to (5). However many
processes there are, they share out the same global batches, so they arrive at the same parameters
up to rounding. At the end rank 0 trains once more alone and prints the largest difference.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.progress import Progress
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler, TensorDataset

import rueda as hvd

TEST_IMAGES = 357  # of 1797; the other 1440 are 15 batches of 96


class BatchShares(Sampler[list[int]]):
    """One rank's share of each global batch, in an order that all ranks shuffle alike.

    Attributes:
        epoch: To be set before each epoch; with the seed it decides the order.
    """

    def __init__(self, images: int, batch_size: int, seed: int, rank: int, size: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.size = rank, size
        self.epoch = 0

    def __len__(self) -> int:
        return self.images // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for batch in range(len(self)):
            start = batch * self.batch_size
            yield order[start + self.rank : start + self.batch_size : self.size]


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Return the training and the test part: images of shape (1, 8, 8) and their classes."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    classes = torch.from_numpy(digits.target).long()
    train, test = train_test_split(
        range(len(images)), test_size=TEST_IMAGES, random_state=0, stratify=digits.target
    )
    return TensorDataset(images[train], classes[train]), TensorDataset(images[test], classes[test])


def make_net() -> nn.Module:
    """Return a net that maps images of shape (n, 1, 8, 8) to logits of shape (n, 10).

    It is smooth everywhere: at the kinks of ReLU or max pooling, one rounding more or less can send
    a gradient another way, and the comparison at the end would show that instead of rounding.
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.GELU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1, stride=2),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.GELU(),
        nn.Linear(64, 10),
    )


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: TensorDataset,
    shares: BatchShares,
    epochs: int,
    after_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> float:
    """Train, and return how many images a second all processes together worked through."""
    # The sampler yields whole shares; batch_size=None fetches each with one indexing. A forked
    # worker process prepares them.
    loader = DataLoader(
        data,
        sampler=shares,
        batch_size=None,
        num_workers=1,
        multiprocessing_context="fork",
        persistent_workers=True,
    )
    seconds = 0.0
    for epoch in range(epochs):
        shares.epoch = epoch
        loss_sum = 0.0
        start = time.perf_counter()
        for images, classes in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), classes, label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        seconds += time.perf_counter() - start
        after_epoch(epoch, loss_sum / len(shares))
    return epochs * len(shares) * shares.batch_size / seconds


def accuracy(model: nn.Module, data: TensorDataset) -> float:
    """Return the share of right answers on all of the data, of which each rank tests a part."""
    images, classes = data[hvd.rank() :: hvd.size()]
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == classes).sum()
    return hvd.allreduce(right, op=hvd.Sum).item() / len(data)


def fingerprint(model: nn.Module) -> str:
    """Return a hash of the bits of all parameters."""
    sha256 = hashlib.sha256()
    for parameter in model.parameters():
        sha256.update(parameter.detach().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Return the largest absolute difference between the parameters of two models."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def read_options() -> argparse.Namespace:
    """Read the command line; a mistake ends the process with code 2 before anything starts."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=16, help="default: %(default)s")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=96,
        help="images in a step of all processes together, which share them evenly "
        "(default: %(default)s, good for 1, 2, 3, 4, 6 or 8)",
    )
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--no-progress", action="store_true", help="print lines only, no bar")
    options = parser.parse_args()
    for name in ("epochs", "batch_size", "lr"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be above 0, found {value}")
    return options


def refuse(batch_size: int, images: int) -> str:
    """Return why such batches cannot be shared out, or an empty text."""
    if batch_size > images:
        return f"--batch-size must be at most {images}, the number of images; found {batch_size}"
    if batch_size % hvd.size():
        return f"--batch-size {batch_size} does not divide evenly among {hvd.size()} processes"
    return ""


def compare(model: nn.Module, alone: nn.Module, train_alone: Callable[[], float]) -> bool:
    """Print how the ranks differ, and from one process; return if all ranks are the same."""
    identical = len(set(hvd.allgather_object(fingerprint(model)))) == 1
    if hvd.rank() == 0:
        print(f"samples per second on 1 process, without rueda: {train_alone():,.0f}")
        print(f"parameters identical on all ranks: {'yes' if identical else 'NO'}")
        print(f"largest difference to 1 process: {largest_difference(model, alone):.1e}")
    hvd.barrier()  # nobody leaves while rank 0 still trains
    return identical


def main() -> int | str:
    """Train on all processes, then compare; the result is for sys.exit."""
    options = read_options()
    torch.set_num_threads(1)  # the tensors are too small to be shared out among threads as well
    hvd.init()  # (1) meets the other processes, whichever launcher started them
    data, test_data = load_data()
    if problem := refuse(options.batch_size, len(data)):
        return 2 if hvd.rank() else f"train_digits.py: error: {problem}"
    torch.manual_seed(options.seed + hvd.rank())  # ranks begin apart, and (2) brings them together
    model = make_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)  # (2) all start as rank 0
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)  # (3) with its optimizer's state, too
    alone = copy.deepcopy(model)
    optimizer = hvd.DistributedOptimizer(  # (4) averages the gradients of all ranks
        optimizer, named_parameters=model.named_parameters()
    )
    shares = BatchShares(  # (5) each rank works on its own part of the data
        len(data), options.batch_size, options.seed, hvd.rank(), hvd.size()
    )

    console = Console(quiet=hvd.rank() > 0, highlight=False)
    hide_bar = options.no_progress or not console.is_terminal
    with Progress(console=console, disable=hide_bar, transient=True) as progress:
        bar = progress.add_task("training", total=options.epochs)

        def after_epoch(epoch: int, loss: float) -> None:
            loss = hvd.allreduce(torch.tensor(loss), op=hvd.Average).item()
            right = accuracy(model, test_data)
            console.print(f"epoch {epoch + 1:2}: loss {loss:.4f}, accuracy {right:.4f}")
            progress.advance(bar)

        speed = train(model, optimizer, data, shares, options.epochs, after_epoch)
    console.print(f"test accuracy: {accuracy(model, test_data):.4f}")
    console.print(f"samples per second on {hvd.size()}, with rueda: {speed:,.0f}")

    def train_alone() -> float:
        """Go through the same global batches in one process, without rueda."""
        plain = torch.optim.SGD(alone.parameters(), lr=options.lr, momentum=0.9)
        whole = BatchShares(len(data), options.batch_size, options.seed, rank=0, size=1)
        return train(alone, plain, data, whole, options.epochs)

    return 0 if compare(model, alone, train_alone) else 1


if __name__ == "__main__":
    sys.exit(main())
