"""Send and receive: one rank's tensor to one other. Horovod has neither.

The two ranks need no process set: each pair of ranks is one by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from rueda import _context
from rueda._context import job
from rueda._finishing import finish_later
from rueda._gradient_names import gradient_name
from rueda._handles import result
from rueda._torch_module import native
from rueda.process_sets import check_root, global_process_set

if TYPE_CHECKING:
    from rueda._torch import Operations


def _start_send(
    tensor: torch.Tensor, dest_rank: int, name: str | None, *, urgent: bool = False
) -> int:
    # What is sent stays where it is, unless it has to be copied anyway.
    lies_well = tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()
    output = tensor.data if lies_well else None
    operations = job().operations
    _check_other(dest_rank, "dest_rank")
    own = _context.rank()
    handle = _submit(operations, tensor, output, own, dest_rank, name, urgent=urgent)
    return finish_later(handle, lambda sent: sent.new_empty(0))


def _start_receive(
    tensor: torch.Tensor, source_rank: int, name: str | None, *, urgent: bool = False
) -> int:
    operations = job().operations
    _check_other(source_rank, "source_rank")
    own = _context.rank()
    return _submit(operations, tensor, None, source_rank, own, name, urgent=urgent)


def _check_other(rank: int, argument: str) -> None:
    check_root(rank, global_process_set, argument)
    if rank == _context.rank():
        raise ValueError(f"{argument}={rank} is this rank; a rank cannot send to itself")


def _submit(
    operations: Operations,
    tensor: torch.Tensor,
    output: torch.Tensor | None,
    source: int,
    dest: int,
    name: str | None,
    *,
    urgent: bool,
) -> int:
    return operations.submit(
        native.BROADCAST,
        [tensor],
        None if output is None else [output],
        name,
        root=source,
        process_set=native.pair_of(source, dest),
        urgent=urgent,
    )


def send_async(tensor: torch.Tensor, dest_rank: int, name: str | None = None) -> int:
    """Start sending a tensor to one rank, which has to receive it.

    Args:
        tensor: Any shape, strides and dtype that is not quantized; not to be changed before it is
            synchronized.
        dest_rank: The rank that receives it.
        name: What the two ranks match it by; without one, the count of unnamed tensors that went
            this way.

    Returns:
        A handle; ``synchronize`` returns a tensor without elements when the other rank has it.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return _start_send(tensor, dest_rank, name)


def recv_async(tensor: torch.Tensor, source_rank: int, name: str | None = None) -> int:
    """Start receiving the tensor that one rank sends.

    Args:
        tensor: Of the shape and dtype of the one that is sent; its values do not count, and it is
            left alone.
        source_rank: The rank that sends it.
        name: As for ``send_async``.

    Returns:
        A handle; ``synchronize`` returns what was received.

    Raises:
        ValueError: The arguments are wrong; nothing was started.
        HorovodInternalError: rueda is not initialised, or the job has failed already.
    """
    return _start_receive(tensor, source_rank, name)


def send(tensor: torch.Tensor, dest_rank: int, name: str | None = None) -> torch.Tensor:
    """Send a tensor to one rank and return when it has it.

    Differentiable, if the tensor requires a gradient here and the one given to ``recv`` there: what
    this returns has no elements, and a backward pass that goes through it (by adding its ``sum()``
    to the loss, or by ``sent.sum().backward()``) waits for the other rank's gradient. Arguments and
    errors are those of ``send_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        sent: torch.Tensor = _Send.apply(tensor, dest_rank, name)  # type: ignore[no-untyped-call]
        return sent
    return result(_start_send(tensor, dest_rank, name, urgent=True))


def recv(tensor: torch.Tensor, source_rank: int, name: str | None = None) -> torch.Tensor:
    """Return the tensor that one rank sends; the one given tells its shape and dtype alone.

    Differentiable, if that one requires a gradient: a backward pass sends the gradient back to the
    rank that sent the values, and the tensor's own is zero. Arguments and errors are those of
    ``recv_async``.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        received: torch.Tensor = _Receive.apply(tensor, source_rank, name)  # type: ignore[no-untyped-call]
        return received
    return result(_start_receive(tensor, source_rank, name, urgent=True))


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dest_rank: int, name: str | None) -> torch.Tensor:
        ctx.arguments = (dest_rank, gradient_name(name))
        ctx.shape = tensor.shape
        return result(_start_send(tensor, dest_rank, name, urgent=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the other rank's gradient."""
        shaped = gradients[0].new_empty(ctx.shape)
        return result(_start_receive(shaped, *ctx.arguments, urgent=True)), None, None


class _Receive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, source_rank: int, name: str | None) -> torch.Tensor:
        ctx.arguments = (source_rank, gradient_name(name))
        return result(_start_receive(tensor, source_rank, name, urgent=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Send the gradient to where the values came from."""
        result(_start_send(gradients[0], *ctx.arguments, urgent=True))
        return torch.zeros_like(gradients[0]), None, None
