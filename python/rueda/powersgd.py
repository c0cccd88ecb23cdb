"""PowerSGD: gradients of matrices travel as two thin factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PowerSGD:
    """Low-rank compression with error feedback, for ``DistributedOptimizer(compression=...)``.

    Vogels, Karimireddy, Jaggi: PowerSGD: Practical Low-Rank Gradient Compression for Distributed
    Optimization (NeurIPS 2019). Each step makes one round of power iteration (algorithm 1: rank-r
    PowerSGD compression) that starts from the last step's result. What a rank could not send is
    added to its next gradient (algorithm 2: distributed error feedback), so nothing is lost, only
    late. A gradient of several dimensions counts as the matrix ``(shape[0], rest)``.

    A step sends ``rank * (n + m)`` numbers in place of ``n * m``, in two all-reduces one after the
    other. Each rank keeps a residual as large as the compressed gradients. Vectors, and matrices
    that would not shrink enough, are reduced as they are. After a step in which the reduced
    gradient is not finite (a GradScaler skips it) the residual is what it was before.

    Attributes:
        rank: Of the approximation, from 1. 2 or 4 are usual.
        min_compression_rate: A matrix is compressed only if it shrinks by more than this factor.
        seed: Of the first factors, which are random.

    Raises:
        ValueError: ``rank`` is no whole number from 1, or ``min_compression_rate`` is below 1.
    """

    rank: int = 4
    min_compression_rate: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"PowerSGD(rank={self.rank!r}): the rank is a whole number from 1")
        if not self.min_compression_rate >= 1:
            raise ValueError(
                f"PowerSGD(min_compression_rate={self.min_compression_rate!r}): the rate is a "
                "factor from 1"
            )

    def compresses(self, parameter: torch.Tensor) -> bool:
        """Return whether this parameter's gradient would be sent as factors."""
        if parameter.dim() < 2 or not parameter.is_floating_point() or parameter.numel() == 0:
            return False
        n, m = parameter.shape[0], parameter.numel() // parameter.shape[0]
        return self.rank * (n + m) * self.min_compression_rate < n * m
