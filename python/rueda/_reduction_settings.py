"""Settings and Recipe: how one optimizer's gradients are reduced; equal on all ranks."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rueda._reduce_op import Adasum, Average, Sum
from rueda.compression import (
    BF16Compressor,
    Compressor,
    FP16Compressor,
    NoneCompressor,
)
from rueda.powersgd import PowerSGD
from rueda.process_sets import ProcessSet

# The compressions that the C++ reducer knows; a class derived from one is a user's own.
_NATIVE = {NoneCompressor: "none", FP16Compressor: "fp16", BF16Compressor: "bf16"}

# In a state_dict, beside what PyTorch puts there; the user's optimizer overlooks it.
STATE_KEY = "rueda"

# The attributes of Horovod's optimizer that scripts read, and what we call them.
SCRIPTS_READ = {
    "backward_passes_per_step": "backward_passes_per_step",
    "gradient_predivide_factor": "predivide_factor",
    "op": "op",
    "process_set": "process_set",
    "sparse_as_dense": "sparse_as_dense",
    "_parameter_names": "",
}

Groups = int | tuple[tuple[int, ...], ...] | None
Compressing = type[Compressor] | Compressor | PowerSGD


@dataclass(frozen=True)
class Settings:
    """How an optimizer's gradients are reduced; equal on all ranks.

    Attributes:
        op: Average, Sum or Adasum.
        compression: Compression.none, fp16 or bf16, a user's own, or a PowerSGD.
        backward_passes_per_step: Passes that are added up locally before a reduction.
        predivide_factor: Splits the averaging.
        groups: How many groups the parameters are cut into, or the numbers of each group's.
        sparse_as_dense: Whether sparse gradients are made dense.
        process_set: The ranks that take part.
        first_needed_first: Whether buckets have priorities, the first parameters' the highest.
    """

    op: int
    compression: Compressing
    backward_passes_per_step: int
    predivide_factor: float
    groups: Groups
    sparse_as_dense: bool
    process_set: ProcessSet
    first_needed_first: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without parameters.

        Raises:
            ValueError: One of them is wrong, or two contradict each other.
        """
        if self.op not in (Average, Sum, Adasum):
            raise ValueError(
                f"[R104] op={self.op!r}: gradients can be reduced with rueda.Average or rueda.Sum, "
                "and steps with rueda.Adasum"
            )
        _check_compression(self.compression)
        check_passes(self.backward_passes_per_step)
        if not self.predivide_factor > 0:
            raise ValueError(f"gradient_predivide_factor={self.predivide_factor!r} must be above 0")
        if self.predivide_factor != 1.0 and self.op != Average:
            raise ValueError("gradient_predivide_factor needs op=rueda.Average")
        if self.op == Adasum and self.native_compression is None:
            raise ValueError(
                "[R104] op=rueda.Adasum takes rueda.Compression.none, fp16 or bf16, but not "
                f"{self.compression!r}"
            )

    @property
    def native_compression(self) -> str | None:
        """What the C++ reducer calls the compression, or None when it does not know it."""
        return _native_name(self.compression)

    def scaled(self) -> tuple[int, float, float]:
        """Return op, prescale and postscale of one tensor's all-reduce."""
        if self.predivide_factor == 1.0:
            return int(self.op), 1.0, 1.0
        size = self.process_set._size()
        return int(Sum), 1.0 / self.predivide_factor, self.predivide_factor / size

    def numbered_groups(self, parameters: Sequence[torch.Tensor]) -> list[list[int]]:
        """Return the numbers of the parameters that are reduced as a whole, group by group."""
        if self.groups is None:
            return []
        if isinstance(self.groups, int):
            trained = [i for i, p in enumerate(parameters) if p.requires_grad]
            return _cut(trained, self.groups)
        return [list(group) for group in self.groups]


def _native_name(compression: object) -> str | None:
    return next((name for known, name in _NATIVE.items() if known is compression), None)


def _check_compression(compression: object) -> None:
    if isinstance(compression, PowerSGD) or _native_name(compression) is not None:
        return
    if not all(callable(getattr(compression, name, None)) for name in ("compress", "decompress")):
        raise ValueError(
            f"[R104] compression={compression!r}: the optimizer takes rueda.Compression.none, fp16 "
            "or bf16, a rueda.PowerSGD, or a class of your own with compress(tensor) -> (tensor, "
            "ctx) and decompress(tensor, ctx) -> tensor"
        )


def check_passes(passes: int) -> None:
    """Raise ValueError unless it is a whole number from 1."""
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise ValueError(f"backward_passes_per_step={passes!r} must be a whole number from 1")


def _cut(numbers: list[int], count: int) -> list[list[int]]:
    """Cut a list into ``count`` pieces in order, the first ones longer by one; none is empty."""
    each, more = divmod(len(numbers), count)
    starts = [i * each + min(i, more) for i in range(count + 1)]
    pieces = [numbers[a:b] for a, b in itertools.pairwise(starts)]
    return [piece for piece in pieces if piece]


def checked_groups(
    groups: int | Sequence[Sequence[torch.Tensor]] | None,
    num_groups: int,
    parameters: Sequence[torch.Tensor],
) -> Groups:
    """Return the groups with numbers in place of tensors; ``num_groups`` is the deprecated form.

    Raises:
        ValueError: They are no groups of the optimizer's parameters.
    """
    if num_groups:
        warnings.warn("num_groups is deprecated: use groups", DeprecationWarning, stacklevel=3)
        groups = num_groups if groups is None else groups
    if groups is None:
        return None
    if isinstance(groups, int) and not isinstance(groups, bool) and groups > 0:
        return groups
    if not isinstance(groups, list | tuple):
        raise ValueError(
            f"groups={groups!r} must be a whole number from 1, or a list of lists of parameters"
        )
    number_of = {id(p): i for i, p in enumerate(parameters)}
    numbered = tuple(tuple(_number(p, number_of) for p in group) for group in groups)
    flat = [number for group in numbered for number in group]
    if len(set(flat)) < len(flat):
        twice = next(number for number in flat if flat.count(number) > 1)
        raise ValueError(f"groups has the optimizer's parameter {twice} twice")
    return numbered


def _number(parameter: object, number_of: dict[int, int]) -> int:
    if not isinstance(parameter, torch.Tensor):
        raise ValueError(f"groups must consist of lists of parameters, but one holds {parameter!r}")
    number = number_of.get(id(parameter))
    if number is None:
        raise ValueError(
            f"groups has a tensor of shape {list(parameter.shape)} that is no parameter of the "
            "optimizer"
        )
    return number


@dataclass(frozen=True)
class Recipe:
    """What it takes to reduce an optimizer's gradients, but for the parameters; can be pickled.

    Attributes:
        family: What ranks match the optimizer by, with its number within the family. Copies make a
            family of their own, so that copying on one rank alone does no harm to the others.
        settings: How gradients are reduced.
        names: What messages call the first parameters; others go by their number.
    """

    family: str
    settings: Settings
    names: tuple[str, ...]

    def named(self, parameters: Sequence[torch.Tensor]) -> list[str]:
        """Return a name for each parameter."""
        numbered = [f"parameter.{i}" for i in range(len(self.names), len(parameters))]
        return [*self.names, *numbered]

    def as_horovods(self, attribute: str, parameters: Sequence[torch.Tensor]) -> object:
        """Return one of ``SCRIPTS_READ`` for an optimizer of these parameters."""
        if attribute == "_parameter_names":
            return dict(zip(parameters, self.named(parameters), strict=True))
        return getattr(self.settings, SCRIPTS_READ[attribute])
