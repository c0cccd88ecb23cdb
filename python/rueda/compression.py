"""Compression of tensors on their way: none, 16 bits, or a user's own."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch


class Compressor(Protocol):
    """What a compression algorithm offers, as a class with static methods or as an instance."""

    @staticmethod
    def compress(tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Return the tensor to send, of one shape and dtype on all ranks, and what undoes it."""

    @staticmethod
    def decompress(tensor: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Return the reduced tensor in its original type and shape."""


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
