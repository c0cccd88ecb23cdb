"""ForwardOverlap: an optimizer's update is made during the next forward pass, as it needs it.

The idea is the crossed barrier of ByteScheduler (Peng et al., SOSP 2019, section 3): a step does
not wait for all gradients, but each module of the next forward pass for those of its parameters.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from rueda import _context
from rueda._deferred_update import DeferredUpdate
from rueda._forward_record import ForwardRecord
from rueda._gradient_reduction import GradientReduction
from rueda._reduce_op import Adasum
from rueda._reduction_settings import Settings
from rueda.exceptions import HorovodInternalError

# A model whose modules come in ever other orders is left alone.
_MOST_CHANGES = 5


class ForwardOverlap:
    """Knows the model, and when its parameters are needed.

    The first forward pass (in training and in evaluation mode each) is recorded: the order of the
    modules, and which parameters are used without their module. In the passes after that these are
    updated at the model's start and all others when their module is called, as long as the order is
    the same; once it is not, all are, and the next pass is recorded anew. Outside of a call of
    the model, and where no gradients are wanted, the first module that is called updates all.

    Not thread-safe, as optimizers are not.

    Args:
        model: Has the parameters, or some of them; those of others are updated in the step.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = weakref.ref(model)
        self._update: DeferredUpdate | None = None
        self._begun: DeferredUpdate | None = None  # whose step() was interrupted
        # By the model's training mode: what a forward pass calls, and what it uses by itself.
        self._records: dict[bool, tuple[list[int], set[int]]] = {}
        self._recording: ForwardRecord | None = None
        self._route: Iterator[int] | None = None
        self._called: set[int] = set()
        self._depth = 0
        self._changes = 0
        self._hooked: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
        self._handles: list[Any] = []

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Listen to the model until the optimizer is gone; again to learn of new modules."""
        model = self._model()
        if model is None:
            return
        self._records.clear()
        first = not self._handles
        for module in model.modules():
            if module not in self._hooked:
                self._hook(module)
        if first:
            weakref.finalize(optimizer, _remove, self._handles)
            enter, leave = _Hook(self, self._enter), _Hook(self, self._leave)
            self._handles.append(model.register_forward_pre_hook(enter, prepend=True))
            self._handles.append(model.register_forward_hook(leave, always_call=True))

    def _hook(self, module: torch.nn.Module) -> None:
        self._hooked.add(module)
        finish, settle = _Hook(self, lambda _: self.finish()), _Hook(self, lambda _: self.settle())
        self._handles.append(module.register_state_dict_pre_hook(finish))  # type: ignore[no-untyped-call]
        self._handles.append(module.register_load_state_dict_pre_hook(settle))  # type: ignore[no-untyped-call]
        if module._parameters:
            need = _Hook(self, self._need)
            self._handles.append(module.register_forward_pre_hook(need, prepend=True))
            # Whoever copies or pickles a module does it in this order, and hooks finish the update.
            module.__dict__["_parameters"] = module.__dict__.pop("_parameters")

    def begin(
        self,
        optimizer: torch.optim.Optimizer,
        reduction: GradientReduction,
        step: Callable[[], object],
    ) -> bool:
        """Begin the update of a step; False if the step is to be made as usual.

        Raises:
            HorovodInternalError: The reduction failed.
        """
        self._abort_forward()
        update, self._begun = self._begun, None
        if update is None or update.closed:
            self.finish()
            if not (_can_be_deferred(optimizer) and reduction.submit()):
                return False
            _context.job().updates.finish_orphans()
            update = DeferredUpdate(optimizer, reduction, step, self._model)
            self._update = update
        self._begun = update
        update.make_rest()
        update.make_for(_ids(optimizer) - self._owned())
        self._begun = None
        return True

    def has_gradients(self) -> bool:
        """Whether a step has taken the gradients and not used all of them yet."""
        return self._update is not None and not self._update.closed

    def finish(self) -> None:
        """Make the whole update.

        Raises:
            HorovodInternalError: The reduction failed, and what was not made by now never is.
        """
        update, self._update = self._update, None
        if update is None or update.closed:
            return
        try:
            update.finish()
        except BaseException:
            self._update = update  # interrupted: the next call goes on
            raise

    def settle(self) -> None:
        """Make the update, or what can be made of it: what it spoils is about to be replaced."""
        with contextlib.suppress(HorovodInternalError):
            self.finish()

    def abandon(self) -> None:
        """Forget an update of a job that has ended."""
        if self._update is not None and not self._update.closed:
            self._update.abandon()

    def _owned(self) -> set[int]:
        model = self._model()
        return set() if model is None else {id(p) for p in model.parameters()}

    def _enter(self, model: torch.nn.Module) -> None:
        """The model is called."""
        self._depth += 1
        self._route = None
        record = self._records.get(model.training)
        update = self._update
        trains = torch.is_grad_enabled() and self._depth == 1
        if update is not None and not update.closed:
            if trains and record is not None:
                order, early = record
                self._route = iter(order)
                self._called.clear()
                update.make_for(early)
                return
            self.finish()
        if trains and record is None and self._changes < _MOST_CHANGES:
            self._recording = ForwardRecord(model.parameters())
            self._recording.begin()

    def _need(self, module: torch.nn.Module) -> None:
        """A module with parameters is called."""
        if self._recording is not None:
            self._recording.called(module)
        update = self._update
        if update is None or update.closed:
            return
        if self._route is None:
            self.finish()
        elif id(module) in self._called:
            return
        elif next(self._route, None) != id(module):
            self._reroute()
        else:
            self._called.add(id(module))
            update.make_for([id(p) for p in module._parameters.values()])

    def _leave(self, model: torch.nn.Module) -> None:
        """The model has returned, or raised."""
        self._depth -= 1
        if self._depth > 0:
            return
        if self._recording is not None:
            self._recording.end()
            self._records[model.training] = (self._recording.order, self._recording.early)
            self._recording = None
        elif self._route is not None and self._update is not None and not self._update.closed:
            self._reroute()
        self._route = None

    def _reroute(self) -> None:
        """The order is another one than was recorded."""
        self._records.clear()
        self._route = None
        self._changes += 1
        if self._changes == _MOST_CHANGES:
            warnings.warn(
                "overlap_forward: the model has called its modules in another order "
                f"{_MOST_CHANGES} times, so from now on its call waits for the whole update",
                stacklevel=2,
            )
        self.finish()

    def _abort_forward(self) -> None:
        """Ctrl-C may have ended a forward pass without a word."""
        if self._recording is not None:
            self._recording.end()
            self._recording = None
        self._depth, self._route = 0, None


class _Hook:
    """A hook that copies of its module do not have."""

    def __init__(self, overlap: ForwardOverlap, act: Callable[[torch.nn.Module], None]) -> None:
        self._overlap = overlap
        self._act = act

    def __call__(self, module: torch.nn.Module, *_: object) -> None:
        """Act."""
        self._act(module)

    def __deepcopy__(self, memo: dict[int, Any]) -> _NoHook:
        """Have the copy made of updated parameters."""
        self._overlap.finish()
        return _NoHook()

    def __reduce__(self) -> tuple[type[_NoHook], tuple[()]]:
        """As for a copy."""
        self._overlap.finish()
        return _NoHook, ()


class _NoHook:
    """What a copy has in a hook's place."""

    def __call__(self, *_: object) -> None:
        """Do nothing."""


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


def _ids(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _can_be_deferred(optimizer: torch.optim.Optimizer) -> bool:
    """Whether nobody looks at this step as a whole: hooks, or a GradScaler inside of it."""
    watched = (
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
    )
    scaled = any(getattr(optimizer, name, None) is not None for name in ("grad_scale", "found_inf"))
    return not any(watched) and not scaled


def check_overlap(model: object, optimizer: torch.optim.Optimizer, settings: Settings) -> None:
    """Raise ValueError unless the optimizer's update can be made during the model's forward."""
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"overlap_forward={model!r} must be the model, a torch.nn.Module, or None")
    problem = ""
    if any(
        isinstance(m, torch.jit.ScriptModule) or "_orig_mod" in m._modules for m in model.modules()
    ):
        problem = "compiled or scripted modules, which do not call their parts one by one"
    elif isinstance(optimizer, torch.optim.LBFGS):
        problem = "LBFGS, whose update of one parameter depends on all others"
    elif settings.op == Adasum:
        problem = "op=rueda.Adasum, which combines whole steps"
    elif settings.native_compression is None:
        problem = f"compression={settings.compression!r}; take Compression.none, fp16 or bf16"
    if problem:
        raise ValueError(f"[R104] overlap_forward does not work with {problem}")
