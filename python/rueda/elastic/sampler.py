"""ElasticSampler: shares a dataset's indices out among the ranks, and what is left of them anew."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sized
from typing import Any

import torch

from rueda._context import rank, size


class ElasticSampler(torch.utils.data.Sampler[int]):
    """Each rank's share of a dataset, for a ``DataLoader``; keeps count of what was processed.

    All ranks shuffle alike, by ``random.Random(seed + epoch)`` as Horovod does, and take every
    n-th index. As they take batches of one size in step, what all of them have processed is the
    beginning of that order; ``reset`` shares out the rest. Shares are equally long: where the
    number of indices does not divide, the first ones come again, at most ranks - 1 of them.

    To keep it over failures, give it to a ``TorchState``, call ``record_batch`` after each batch
    and ``set_epoch`` after each epoch.

    Attributes:
        epoch: The epoch that counts for the order.
        processed_num: How many indices of it all ranks together have processed.
        num_replicas: The number of ranks at the last reset.
        rank: This rank.
        remaining_indices: What is left of the epoch for all ranks, in order.
        num_samples: How many indices this rank gets of it.
        total_size: How many all ranks get.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0) -> None:
        """Share the dataset out.

        Args:
            dataset: Anything with a length, which stays the same.
            shuffle: Whether indices come in another order in each epoch, or in their own.
            seed: What makes the order, with the epoch; the same on all ranks.

        Raises:
            ValueError: Before ``init``.
        """
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.processed_num = 0
        self.reset()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch with nothing processed.

        Call it at the end of an epoch with the number of the next: at the beginning it would
        forget what was processed before a failure.
        """
        self.epoch = epoch
        self.processed_num = 0
        self.reset()

    def record_batch(self, batch_idx: int, batch_size: int) -> None:
        """Count a batch that every rank has processed.

        Args:
            batch_idx: Its number, which Horovod's takes, too; it does not count.
            batch_size: How many indices each rank had in it.
        """
        self.processed_num += batch_size * self.num_replicas

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how much of it is processed."""
        return {"epoch": self.epoch, "processed_num": self.processed_num}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another sampler of this dataset was, among the ranks there are now."""
        self.epoch = state_dict["epoch"]
        self.processed_num = state_dict["processed_num"]
        self.reset()

    def reset(self) -> None:
        """Share out what is left of the epoch among the ranks there are now."""
        self.num_replicas = size()
        self.rank = rank()
        order = list(range(len(self.dataset)))
        if self.shuffle:
            random.Random(self.seed + self.epoch).shuffle(order)
        self.remaining_indices = order[self.processed_num :]
        self.num_samples = -(-len(self.remaining_indices) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        # More than once around, where fewer are left than there are ranks.
        filled = itertools.islice(itertools.cycle(self.remaining_indices), self.total_size)
        return itertools.islice(filled, self.rank, None, self.num_replicas)

    def __len__(self) -> int:
        return self.num_samples
