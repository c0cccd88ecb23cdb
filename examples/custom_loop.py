"""A training loop of one's own: no DistributedOptimizer, only all-reduces where it wants them.

    python examples/custom_loop.py
    ruedarun -np 2 python examples/custom_loop.py

Softmax regression on scikit-learn's handwritten digits. Each gradient is reduced as soon as it is
there, by a hook of this script; the update is three lines of arithmetic. With any number of
processes it arrives at the same weights up to rounding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import rueda as hvd

TRAINED = 1440  # of 1797 images; the rest are for testing


def load_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of shape (n, 64) and their classes."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().flatten(1) / 16
    return images, torch.from_numpy(digits.target).long()


class Reducing:
    """Starts a sum for each gradient when autograd has it, and waits for all of them."""

    def __init__(self, named: list[tuple[str, torch.nn.Parameter]]) -> None:
        self.handles: list[int] = []
        for name, parameter in named:
            parameter.register_post_accumulate_grad_hook(self.hook(name))

    def hook(self, name: str) -> Callable[[torch.Tensor], None]:
        """Return what autograd calls; names make the order of the calls unimportant."""

        def start(parameter: torch.Tensor) -> None:
            handle = hvd.allreduce_async_(parameter.grad, name=f"gradient.{name}", op=hvd.Sum)
            self.handles.append(handle)

        return start

    def wait(self) -> None:
        """Return when every gradient is the sum of all ranks'."""
        for handle in self.handles:
            hvd.synchronize(handle)
        self.handles.clear()


def train(steps: int, rate: float, decay: float) -> tuple[torch.nn.Module, float]:
    """Train on the whole data in every step, of which each rank has every size-th image."""
    images, classes = (part[:TRAINED] for part in load_data())
    own_images, own_classes = (part[hvd.rank() :: hvd.size()] for part in (images, classes))
    torch.manual_seed(hvd.rank())  # ranks begin apart, and the broadcast brings them together
    model = torch.nn.Linear(64, 10)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    reducing = Reducing(list(model.named_parameters()))
    loss = torch.tensor(0.0)
    for step in range(steps):
        model.zero_grad()
        # Divided by the number of all images, so that the sum over ranks is the average.
        loss = functional.cross_entropy(model(own_images), own_classes, reduction="sum") / TRAINED
        loss.backward()
        reducing.wait()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 - rate * decay)
                parameter.sub_(parameter.grad, alpha=rate)
        if (step + 1) % 50 == 0:
            total = hvd.allreduce(loss.detach(), name="loss", op=hvd.Sum)
            if hvd.rank() == 0:
                print(f"step {step + 1:3}: loss {total.item():.4f}")
    return model, hvd.allreduce(loss.detach(), name="loss", op=hvd.Sum).item()


def accuracy(model: torch.nn.Module) -> float:
    """Return the share of right answers on the test images, of which each rank tests a part."""
    images, classes = (part[TRAINED + hvd.rank() :: hvd.size()] for part in load_data())
    right = (model(images).argmax(dim=1) == classes).sum()
    tested = torch.tensor(len(classes))
    right, tested = hvd.grouped_allreduce([right, tested], name="accuracy", op=hvd.Sum)
    return right.item() / tested.item()


def main() -> int:
    """Train, test and say whether all ranks agree; the result is for sys.exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--decay", type=float, default=1e-4, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are too small to be shared out among threads as well
    hvd.init()
    model, loss = train(options.steps, options.lr, options.decay)
    right = accuracy(model)
    checksums = hvd.allgather_object([p.double().sum().item() for p in model.parameters()])
    same = all(one == checksums[0] for one in checksums)
    if hvd.rank() == 0:
        print(f"final loss: {loss:.5f}")
        print(f"test accuracy: {right:.4f}")
        print(f"weights identical on all {hvd.size()} ranks: {'yes' if same else 'NO'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
