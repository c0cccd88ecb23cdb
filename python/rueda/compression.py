"""Compression of gradients on their way: none, or 16 bits."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch


class Compressor(Protocol):
    """What a compression algorithm offers; classes, not instances, are passed around."""

    @staticmethod
    def compress(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype | None]:
        """Return the tensor to send, and what ``decompress`` needs."""

    @staticmethod
    def decompress(tensor: torch.Tensor, ctx: torch.dtype | None) -> torch.Tensor:
        """Return the tensor in its original type."""


class NoneCompressor:
    """Sends tensors as they are."""

    kind: ClassVar[str] = "none"

    @staticmethod
    def compress(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype | None]:
        """Return the tensor itself."""
        return tensor, None

    @staticmethod
    def decompress(tensor: torch.Tensor, ctx: torch.dtype | None) -> torch.Tensor:
        """Return the tensor itself."""
        return tensor


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.dtype | None]:
    if not tensor.dtype.is_floating_point or tensor.dtype == dtype:
        return tensor, None
    return tensor.to(dtype), tensor.dtype


class FP16Compressor:
    """Sends floating-point tensors as float16; sums are still made in float32 and rounded once."""

    kind: ClassVar[str] = "fp16"

    @staticmethod
    def compress(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype | None]:
        """Return the tensor as float16, and its type."""
        return _cast(tensor, torch.float16)

    @staticmethod
    def decompress(tensor: torch.Tensor, ctx: torch.dtype | None) -> torch.Tensor:
        """Return the tensor in its original type."""
        return tensor if ctx is None else tensor.to(ctx)


class BF16Compressor:
    """Sends floating-point tensors as bfloat16; sums are still made in float32 and rounded once."""

    kind: ClassVar[str] = "bf16"

    @staticmethod
    def compress(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype | None]:
        """Return the tensor as bfloat16, and its type."""
        return _cast(tensor, torch.bfloat16)

    @staticmethod
    def decompress(tensor: torch.Tensor, ctx: torch.dtype | None) -> torch.Tensor:
        """Return the tensor in its original type."""
        return tensor if ctx is None else tensor.to(ctx)


class Compression:
    """The algorithms by name, as in Horovod; ``bf16`` is rueda's own."""

    none = NoneCompressor
    fp16 = FP16Compressor
    bf16 = BF16Compressor
