"""SyncBatchNorm: batch normalisation over the batches of all ranks."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from rueda import _context
from rueda._allgather import allgather
from rueda._allreduce import allreduce
from rueda._reduce_op import Sum
from rueda.process_sets import ProcessSet, global_process_set

# By layer: the job it was first used in and its name there. Beside the layers, so that copies and
# pickles of a layer get names of their own.
_names: weakref.WeakKeyDictionary[torch.nn.Module, tuple[weakref.ref[_context.Job], str]] = (
    weakref.WeakKeyDictionary()
)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation whose mean and variance are those of all ranks' batches together.

    In training it is what ``torch.nn.BatchNorm*`` computes in one process on the whole batch; in
    evaluation, in a process set of one rank, and outside of the process set it is that layer.
    Batches may differ in size, and be empty on some ranks. Each forward pass makes one all-gather
    of ``2 * num_features + 1`` float64 numbers, each backward pass one all-reduce of
    ``2 * num_features``; so all ranks have to make both. Layers are matched by the order in which
    they are first used.

    Input and output have shape ``(N, num_features, ...)``, any floating-point dtype, on any device;
    what travels goes by way of CPU memory. 16-bit inputs are worked on in float32. The gradients of
    ``weight`` and ``bias`` are the rank's own, for ``DistributedOptimizer`` to reduce. Second
    derivatives are refused with a RuntimeError.

    Args:
        num_features: The size of dimension 1.
        eps: Added to the variance.
        momentum: How much of a new value goes into the running ones; None for a plain average.
        affine: Whether there are a ``weight`` and a ``bias`` to be learned.
        track_running_stats: Whether running mean and variance are kept, for evaluation.
        process_set: The ranks that take part.

    Raises:
        ValueError: In training: the input has fewer than two dimensions, or all ranks together have
            fewer than two values a feature; or rueda is not initialised.
        HorovodInternalError: The job failed, or ranks disagree on ``num_features``.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-05,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_set: ProcessSet = global_process_set,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_set = process_set

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2 or input.shape[1] != self.num_features:
            raise ValueError(
                f"expected an input of shape (N, {self.num_features}, ...), found "
                f"{list(input.shape)}"
            )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise; in training over all ranks, which all have to make this call."""
        self._check_input_dim(input)
        factor = self._count_batch()
        if not self.training or not self.process_set.included() or self.process_set._size() == 1:
            uses_batch = self.training or self.running_mean is None
            keeps = not self.training or self.track_running_stats
            return functional.batch_norm(
                input,
                self.running_mean if keeps else None,
                self.running_var if keeps else None,
                self.weight,
                self.bias,
                uses_batch,
                factor,
                self.eps,
            )
        running = (self.running_mean, self.running_var) if self.track_running_stats else None
        output: torch.Tensor = _Synchronized.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, running, factor, self.eps, _name(self), self.process_set
        )
        return output

    def _count_batch(self) -> float:
        """Count a training batch in; return the share of its values in the running ones."""
        if not (self.training and self.track_running_stats):
            return self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1.0 / float(self.num_batches_tracked or 1)
        return self.momentum

    @classmethod
    def convert_sync_batchnorm(
        cls, module: torch.nn.Module, process_set: ProcessSet = global_process_set
    ) -> torch.nn.Module:
        """Return the module with every ``torch.nn.BatchNorm*`` layer in it replaced.

        Parameters and buffers are kept, so an optimizer may hold them already. A module that is
        itself such a layer is not changed; the new layer is returned.
        """
        converted = module
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            converted = cls(
                module.num_features,
                module.eps,
                module.momentum,
                affine=False,
                track_running_stats=False,
                process_set=process_set,
            )
            converted.affine = module.affine
            converted.track_running_stats = module.track_running_stats
            converted.weight, converted.bias = module.weight, module.bias
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(converted, name, getattr(module, name))
            converted.training = module.training
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_sync_batchnorm(child, process_set))
        return converted


def _name(layer: SyncBatchNorm) -> str:
    job = _context.job()
    known = _names.get(layer)
    if known is None or known[0]() is not job:
        family = f"sync_batch_norm.set{layer.process_set.process_set_id}."
        known = _names[layer] = (weakref.ref(job), _context.next_name(family))
    return known[1]


def _statistics(
    input: torch.Tensor, name: str, process_set: ProcessSet
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return mean and variance by feature, and the count, of all ranks' inputs, in float64."""
    features = input.shape[1]
    count = input.numel() // features if features else 0
    own = torch.zeros(2 * features + 1, dtype=torch.float64)
    if count:
        var, mean = torch.var_mean(input, dim=_others(input), correction=0)
        own[:features], own[features:-1], own[-1] = mean.cpu(), var.cpu(), count
    everyones = allgather(own.unsqueeze(0), f"{name}.forward", process_set)
    means, variances = everyones[:, :features], everyones[:, features:-1]
    shares = everyones[:, -1:]
    total = float(shares.sum())
    if total < 2:
        raise ValueError(
            "SyncBatchNorm needs more than one value a feature in training, and all ranks together "
            f"have {total:.0f}"
        )
    # Chan et al. (1979), for any number of parts.
    mean = (means * shares).sum(0) / total
    var = ((variances + (means - mean).square()) * shares).sum(0) / total
    return mean, var, total


def _others(input: torch.Tensor) -> list[int]:
    """Return all dimensions but that of the features."""
    return [d for d in range(input.dim()) if d != 1]


def _update(running: tuple[Any, Any], mean: torch.Tensor, var: torch.Tensor, factor: float) -> None:
    for kept, new in zip(running, (mean, var), strict=True):
        kept.copy_(kept.double() * (1 - factor) + new.to(kept.device) * factor)


class _Synchronized(torch.autograd.Function):
    """The formulas are those of Ioffe and Szegedy (2015), with sums over all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running: tuple[Any, Any] | None,
        factor: float,
        eps: float,
        name: str,
        process_set: ProcessSet,
    ) -> torch.Tensor:
        wide = input.float() if input.itemsize == 2 else input
        mean, var, total = _statistics(wide, name, process_set)
        if running is not None:
            _update(running, mean, var * (total / (total - 1)), factor)
        mean, var = (one.to(wide.device, wide.dtype) for one in (mean, var))
        ctx.save_for_backward(input, weight, mean, torch.rsqrt(var + eps))
        ctx.total, ctx.name, ctx.process_set = total, f"{name}.backward", process_set
        scale, shift = (None if p is None else p.to(wide.dtype) for p in (weight, bias))
        output = functional.batch_norm(wide, mean, var, scale, shift, False, 0.0, eps)
        return output.to(input.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients of input, weight and bias."""
        with torch.no_grad():
            found = _gradients(ctx, gradients[0])
        if torch.is_grad_enabled():
            present = [one for one in found if one is not None]
            guarded = iter(_NoSecondDerivative.apply(len(present), gradients[0], *present))  # type: ignore[no-untyped-call]
            found = tuple(None if one is None else next(guarded) for one in found)
        return *found, None, None, None, None, None


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    input, weight, mean, inverse = ctx.saved_tensors
    by_feature = [1, -1] + [1] * (input.dim() - 2)
    wide = gradient.to(mean.dtype)
    normalised = (input.to(mean.dtype) - mean.view(by_feature)) * inverse.view(by_feature)
    own_bias = wide.sum(_others(input))
    own_weight = (wide * normalised).sum(_others(input))
    input_gradient = None
    if ctx.needs_input_grad[0]:
        own = torch.cat([own_bias, own_weight]).double().cpu()
        sums = allreduce(own, name=ctx.name, op=Sum, process_set=ctx.process_set)
        of_mean, of_scale = (sums / ctx.total).to(mean.device, mean.dtype).view(2, *by_feature)
        scale = inverse if weight is None else inverse * weight.to(mean.dtype)
        centred = wide - of_mean - normalised * of_scale
        input_gradient = (centred * scale.view(by_feature)).to(input.dtype)
    if weight is None:
        return input_gradient, None, None
    return input_gradient, own_weight.to(weight.dtype), own_bias.to(weight.dtype)


class _NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(one.view_as(one) for one in tensors[-count:])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Refuse.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "rueda.SyncBatchNorm has no second derivative: compute the gradient penalty with the "
            "layer in eval mode, or with torch.nn.BatchNorm"
        )
