"""DistributedOptimizer: a user's optimizer whose gradients are reduced over all ranks first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from rueda import _context
from rueda._delta_reduction import DeltaReduction
from rueda._forward_overlap import ForwardOverlap, check_overlap
from rueda._gradient_reduction import GradientReduction
from rueda._reduce_op import Adasum, Average, ReduceOp
from rueda._reduction_settings import (
    SCRIPTS_READ,
    STATE_KEY,
    Compressing,
    Recipe,
    Settings,
    checked_groups,
)
from rueda.compression import Compression
from rueda.process_sets import ProcessSet, global_process_set, registered_id

if TYPE_CHECKING:
    _Base = torch.optim.Optimizer
else:
    _Base = object

_O = TypeVar("_O", bound=torch.optim.Optimizer)


class _DistributedOptimizer(_Base):
    """What is mixed into the user's optimizer class; its state stays the user's optimizer's."""

    _rueda: GradientReduction
    _original: torch.optim.Optimizer  # what the user wrapped; a scheduler may hold it
    _overlap: ForwardOverlap | None = None

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Wait for the reduced gradients and make the user's optimizer's step.

        With a closure the gradients are reduced each time that it returns, so all ranks must call
        it equally often; the loss it returns is the rank's own.

        With ``overlap_forward`` it does not wait but takes the gradients, which are None
        afterwards, and the update follows in the next forward pass: see ``finish_step``. It waits
        all the same with a closure, inside ``skip_synchronize``, with hooks of the step, and where
        gradients are sparse.

        Raises:
            HorovodInternalError: The reduction failed; no parameter was changed. With
                ``overlap_forward`` that of an earlier step is raised, too, some of whose parameters
                may have changed.
        """
        # A scheduler that was made before wrapping looks for this mark on what it was given.
        self._original._opt_called = True  # type: ignore[attr-defined]
        reduction = self._follow_job()
        if self._overlap is not None:
            if closure is None and self._overlap.begin(self, reduction, super().step):
                return None
            self._overlap.finish()
        if closure is None:
            reduction.before_step()
        else:
            closure = reduction.reducing(closure)
        result = super().step(closure)
        reduction.after_step()
        return result

    # PyTorch wraps each class's step once, to run step hooks; the user's class's is wrapped.
    step.hooked = True  # type: ignore[attr-defined]

    def finish_step(self) -> None:
        """Make what the last ``step`` has left to the next forward pass, if there is anything.

        Only with ``overlap_forward``, and only before parameters are used or looked at without
        calling the model, as ``state_dict`` and ``broadcast_parameters`` do of themselves.

        Raises:
            HorovodInternalError: The reduction failed; parameters that were not changed by now
                stay as they are, and others have changed.
        """
        if self._overlap is not None:
            self._overlap.finish()

    def synchronize(self) -> None:
        """Wait until all gradients are reduced, for clipping or looking at them before ``step``.

        Follow it by ``step`` inside ``skip_synchronize``. Parameters without a gradient take part
        with zeros.

        Raises:
            HorovodInternalError: The reduction failed; gradients are undefined.
            AssertionError: More backward passes than ``backward_passes_per_step``; names the
                parameter.
        """
        self.finish_step()
        self._follow_job().synchronize()

    @contextmanager
    def skip_synchronize(self) -> Iterator[None]:
        """Let ``step`` inside take the gradients as they are, after ``synchronize``."""
        with self._follow_job().skipping():
            yield

    def set_backward_passes_per_step(self, passes: int) -> None:
        """Reduce gradients on each ``passes``-th backward pass from the next step on.

        Raises:
            ValueError: ``passes`` is below 1, or a reduction is under way.
        """
        self.finish_step()
        self._follow_job().set_backward_passes_per_step(passes)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients.

        ``set_to_none=False`` is the faster one here: gradients stay in the shared buckets.

        Raises:
            AssertionError: Gradients are being reduced: call ``step`` or ``synchronize`` first.
        """
        reduction = self._follow_job()
        if self._overlap is None or not self._overlap.has_gradients():
            reduction.before_zero_grad()
        super().zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, whose gradients are reduced from now on; all ranks add the same.

        Raises:
            ValueError: One of them cannot be reduced, or a reduction is under way; nothing was
                changed.
        """
        self.finish_step()
        self._follow_job().check_idle("add_param_group")
        super().add_param_group(param_group)
        try:
            new = _reduction(self._rueda.made_by, _parameters(self))
        except ValueError:
            self.param_groups.pop()
            raise
        self._rueda.hand_over(new)
        self._rueda = new
        if self._overlap is not None:
            self._overlap.attach(self)

    def _follow_job(self) -> GradientReduction:
        """Return the reduction; a new one where it was made in an earlier job than runs now.

        At the first use and not in ``init``: an optimizer that nobody uses any more must not get
        in the way of one that was made in its place.
        """
        if self._rueda.is_of_an_earlier_job():
            if self._overlap is not None:
                self._overlap.abandon()
            new = self._rueda.successor(_parameters(self))
            self._rueda.hand_over(new)
            self._rueda = new
        return self._rueda

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, which the user's own optimizer can load, and reverse.

        What a compression has to remember is added under the key "rueda".
        """
        self.finish_step()
        state: dict[str, Any] = super().state_dict()
        remembered = self._rueda.state_dict()
        return {**state, STATE_KEY: remembered} if remembered else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of this optimizer or of one that was never wrapped."""
        if self._overlap is not None:
            self._overlap.settle()
        own = {key: value for key, value in state_dict.items() if key != STATE_KEY}
        super().load_state_dict(own)
        self._rueda.load_state_dict(state_dict.get(STATE_KEY, {}))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # load_state_dict replaced the groups; a scheduler that holds the original sets their rates.
        _unwrap(self)

    def __getattr__(self, name: str) -> Any:
        """Answer for the attributes of Horovod's optimizer that scripts read."""
        if name in SCRIPTS_READ and "_rueda" in self.__dict__:
            return self._rueda.made_by.as_horovods(name, _parameters(self))
        below = getattr(super(), "__getattr__", None)  # of the user's class
        if below is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return below(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        self.finish_step()
        copied = copy.deepcopy(_unwrap(self), memo)
        own = self._follow_job()
        reduction = _reduction(own.recipe, _parameters(copied))
        reduction.load_state_dict(own.state_dict())
        twin = _wrap(copied, reduction)
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        self.finish_step()
        return _restore, (_unwrap(self), self._rueda.recipe)


def _unwrap(optimizer: _DistributedOptimizer) -> torch.optim.Optimizer:
    """Return the user's optimizer, with all that has become of it since it was wrapped."""
    original = optimizer._original
    own = ("_rueda", "_original", "_overlap", "step")  # a scheduler's step would call ours
    changed = {name: value for name, value in optimizer.__dict__.items() if name not in own}
    original.__dict__.update(changed)
    return original


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    every = [p for group in optimizer.param_groups for p in group["params"]]
    return list({id(p): p for p in every}.values())


def _reduction(recipe: Recipe, parameters: Sequence[torch.Tensor]) -> GradientReduction:
    """Return a new reduction of these parameters."""
    kind = DeltaReduction if recipe.settings.op == Adasum else GradientReduction
    return kind(recipe, _context.next_name(recipe.family), parameters)


def _restore(plain: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.Optimizer:
    """Undo pickling: distributed again where a job runs, the user's own optimizer elsewhere."""
    if not _context.is_initialized():
        return plain
    return _wrap(plain, _reduction(recipe, _parameters(plain)))


def _wrap(optimizer: _O, reduction: GradientReduction) -> _O:
    """Make an instance of a class on the spot that shares the user's optimizer's attributes."""
    user_class = type(optimizer)
    distributed: Any = type(user_class.__name__, (_DistributedOptimizer, user_class), {})
    wrapped = distributed.__new__(distributed)
    wrapped.__dict__ = optimizer.__dict__.copy()
    # Schedulers put a counting step on the instance; the class's is the one to wrap again.
    wrapped.__dict__.pop("step", None)
    wrapped._rueda = reduction
    wrapped._original = optimizer
    return cast("_O", wrapped)


def DistributedOptimizer(  # noqa: N802 - Horovod's name
    optimizer: _O,
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]] | None = None,
    compression: Compressing = Compression.none,
    backward_passes_per_step: int = 1,
    op: int = Average,
    gradient_predivide_factor: float = 1.0,
    num_groups: int = 0,
    groups: int | list[list[torch.Tensor]] | None = None,
    sparse_as_dense: bool = False,
    process_set: ProcessSet = global_process_set,
    *,
    overlap_forward: torch.nn.Module | None = None,
) -> _O:
    """Wrap an optimizer so that its gradients are reduced over all ranks before each step.

    Gradients are reduced by a background thread while ``backward`` still runs. The result is an
    instance of a subclass of the optimizer's class that shares its parameter groups and state.

    Args:
        optimizer: The user's; not to be used itself afterwards.
        named_parameters: ``model.named_parameters()``, for messages; all parameters of the
            optimizer must be among them.
        compression: ``rueda.Compression.none``, ``fp16`` or ``bf16``, a ``rueda.PowerSGD``, or a
            class of your own: see ``rueda.compression.Compressor``.
        backward_passes_per_step: Passes that are added up locally before one reduction.
        op: ``rueda.Average``, ``rueda.Sum``, or ``rueda.Adasum``: each rank steps by its own
            gradients, and the steps are combined; ``synchronize`` then does nothing.
        gradient_predivide_factor: Splits the averaging: divides by it before the sum, and by
            ``size / factor`` after it. Only with ``Average``.
        num_groups: Deprecated: use ``groups``.
        groups: Gradients that are reduced as a whole, none before all are there: lists of the
            optimizer's parameters, or the number of lists into which to cut them. Without it, and
            for parameters in no list, buckets are filled as gradients come.
        sparse_as_dense: Make sparse gradients dense. Otherwise the ranks agree at the first
            reduction on which parameters have sparse gradients, and gather their rows.
        process_set: The ranks that take part; elsewhere the optimizer does nothing extra.
        overlap_forward: The model whose next forward pass is to go on while gradients are still
            reduced: ``step`` does not wait, and each module's parameters are updated when it is
            called. For optimizers whose update of a parameter depends on that parameter alone,
            which is all of PyTorch's but LBFGS. See the user guide.

    Raises:
        ValueError: An argument is wrong or not supported; nothing was changed.
        HorovodInternalError: rueda is not initialised.
    """
    registered_id(_context.job(), process_set)  # this rank may be outside of it
    if isinstance(optimizer, _DistributedOptimizer):
        raise ValueError("this optimizer is distributed already; wrap the user's own, once")
    parameters = _parameters(optimizer)
    settings = Settings(
        op=op,
        compression=compression,
        backward_passes_per_step=backward_passes_per_step,
        predivide_factor=gradient_predivide_factor,
        groups=checked_groups(groups, num_groups, parameters),
        sparse_as_dense=sparse_as_dense,
        process_set=process_set,
        first_needed_first=overlap_forward is not None,
    )
    if overlap_forward is not None:
        check_overlap(overlap_forward, optimizer, settings)
    recipe = Recipe("optimizer", settings, _names(parameters, named_parameters))
    wrapped = _wrap(optimizer, _reduction(recipe, parameters))
    if overlap_forward is not None:
        overlap = ForwardOverlap(overlap_forward)
        overlap.attach(wrapped)
        cast("_DistributedOptimizer", wrapped)._overlap = overlap
    return wrapped


def _names(
    parameters: Sequence[torch.Tensor],
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]] | None,
) -> tuple[str, ...]:
    """Return a name for each of the optimizer's parameters, in its order.

    Raises:
        ValueError: Names are no pairs, come twice, or do not cover all parameters.
    """
    if named_parameters is None:
        return ()
    name_of: dict[torch.Tensor, str] = {}
    seen: set[str] = set()
    for pair in named_parameters:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(
                "named_parameters must be a sequence of pairs (name, parameter), such as "
                f"model.named_parameters(); got {pair!r}"
            )
        name, parameter = pair
        if name in seen:
            raise ValueError(f"named_parameters has the name {name!r} twice")
        seen.add(name)
        name_of.setdefault(parameter, name)
    missing = [index for index, p in enumerate(parameters) if p not in name_of]
    if missing:
        raise ValueError(
            f"named_parameters lacks {len(missing)} of the optimizer's {len(parameters)} "
            f"parameters (the first is number {missing[0]}, of shape "
            f"{list(parameters[missing[0]].shape)}); pass those of the whole model"
        )
    return tuple(name_of[p] for p in parameters)


__all__ = ["DistributedOptimizer", "ReduceOp"]
