"""The compiled module between PyTorch and rueda's engine.

Engines are the capsules of ``rueda._core.Engine.capsule()``. Reduce ops are Horovod's numbers:
Average 0, Sum 1, Min 3, Max 4, Product 5. The caller's mistakes raise ValueError before anything is
started; everything else that goes wrong raises ``rueda.exceptions.HorovodInternalError``. The texts
begin with the code of docs/errors.md in brackets.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

torch_version: Final[str]
"""The PyTorch it was compiled for, such as "2.13.0"."""

ALLREDUCE: Final[int]
ALLGATHER: Final[int]
BROADCAST: Final[int]
BARRIER: Final[int]
REDUCESCATTER: Final[int]
ALLTOALL: Final[int]
REDUCE: Final[int]
GATHER: Final[int]
SCATTER: Final[int]
JOIN: Final[int]
ADD_PROCESS_SET: Final[int]
REMOVE_PROCESS_SET: Final[int]

def pair_of(a: int, b: int) -> int:
    """Return the number of the process set that two ranks make without asking anybody."""

class Operations:
    """Collectives on tensors, and the handles of those not yet synchronised.

    It owns the tensors of its handles until they are waited for. Drop it after its engine stopped.
    """

    def __init__(self, engine: Any, first_handle: int = 0) -> None: ...
    def allreduce(
        self,
        tensor: torch.Tensor,
        output: torch.Tensor | None,
        name: str | None,
        op: int,
        prescale: float = 1.0,
        postscale: float = 1.0,
        process_set: int = 0,
        priority: int = 0,
        /,
    ) -> int:
        """Start the all-reduce of one tensor and return its handle.

        Args:
            tensor: Any strides; a copy is made where it is not row-major.
            output: Where the result goes, perhaps ``tensor`` itself; a new tensor without it.
            name: What ranks match it by; ``allreduce.noname.<count>`` without it.
            op: The reduce op's number.
            prescale: Multiplies every input.
            postscale: Multiplies the result.
            process_set: The number of the ranks that take part.
            priority: 32 bits; of what is agreed at once, higher ones run sooner.
        """

    def allreduce_now(
        self,
        tensor: torch.Tensor,
        output: torch.Tensor | None,
        name: str | None,
        op: int,
        prescale: float = 1.0,
        postscale: float = 1.0,
        process_set: int = 0,
        /,
    ) -> torch.Tensor:
        """Start the all-reduce of one tensor, wait for it and return the result.

        As ``wait(allreduce(...))``, but nothing lingers for company. The GIL is released while
        waiting, and Ctrl-C interrupts it; the operation then goes on.
        """

    def submit(
        self,
        kind: int,
        tensors: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor] | None,
        name: str | None,
        *,
        op: int = 1,
        root: int = -1,
        prescale: float = 1.0,
        postscale: float = 1.0,
        process_set: int = 0,
        parts: Sequence[int] = (),
        with_splits: bool = False,
        grouped: bool = False,
        urgent: bool = False,
        priority: int = 0,
    ) -> int:
        """Start any operation and return its handle.

        A group's tensors are called ``<name>_<i>of<n>`` and run as a whole.

        Args:
            kind: One of the constants above.
            tensors: As for ``allreduce``; one for ALLTOALL and SCATTER, none for BARRIER, JOIN,
                ADD_PROCESS_SET and REMOVE_PROCESS_SET.
            outputs: One for each, or None; always None where ranks get different parts.
            name: As for ``allreduce``.
            op: The reduce op's number.
            root: A rank of the job, for BROADCAST, REDUCE, GATHER and SCATTER.
            prescale: Multiplies every input of a reduction.
            postscale: Multiplies the result of a reduction.
            process_set: The number of the ranks that take part.
            parts: Rows for each member (ALLTOALL, SCATTER on its root), the ranks of a new process
                set, or the number of one to remove.
            with_splits: ``wait`` also tells how many rows came from which member.
            grouped: ``wait`` returns a list.
            urgent: The caller is about to wait.
            priority: 32 bits; of what is agreed at once, higher ones run sooner.
        """

    def poll(self, handle: int) -> bool:
        """Say whether ``wait`` would return at once; ValueError for an unknown handle."""

    def wait(self, handle: int, /) -> Any:
        """Return the result and forget the handle.

        The result is a list for a group, a pair ``with_splits``, the last rank for JOIN, the set's
        number for ADD_PROCESS_SET, None for BARRIER, REMOVE_PROCESS_SET and an unknown handle.
        Releases the GIL; a signal handler that raises (Ctrl-C) interrupts it, and the handle stays.
        """

    def next_call(self, operation: str, process_set: int) -> str:
        """Name an unnamed call that is made of several operations, and count it.

        Equal on all ranks of the process set that make such calls in one order.
        """

    def joins(self, process_set: int) -> int:
        """Return how many joins the ranks of a process set have seen the end of."""

    def drop_finished(self) -> None:
        """Forget the handles of finished work, as after a shutdown."""

    @property
    def next_handle(self) -> int: ...
    def __len__(self) -> int:
        """Return the number of handles."""

def direct_calls(
    operations: Operations,
    *,
    op_type: type[int],
    global_process_set: object,
    unfinished: dict[int, Any],
) -> dict[str, Callable[..., Any]]:
    """Return what answers the usual calls of rueda's functions, by their names.

    Each takes what its function takes, and returns NotImplemented, having done nothing, where it
    is given anything but what small calls are made with.

    Args:
        operations: What they are carried out with.
        op_type: The type of reduce ops.
        global_process_set: The only process set that is usual.
        unfinished: The handles that ``synchronize`` has to do more for.
    """

class GradientReducer:
    """Reduces gradients while backward runs; see csrc/torch/gradient_reducer.h.

    From construction on it listens to the parameters. A parameter that is given twice (tied
    weights) counts once; one that requires no gradient takes part from when it does.
    """

    def __init__(
        self,
        engine: Any,
        parameters: Sequence[torch.Tensor],
        names: Sequence[str],
        *,
        name: str = "gradients",
        op: int = 0,
        prescale: float = 1.0,
        postscale: float = 1.0,
        compression: str = "none",
        backward_passes_per_step: int = 1,
        bucket_bytes: int = 26214400,
        first_bucket_bytes: int = 1048576,
        process_set: int = 0,
        groups: Sequence[Sequence[int]] = (),
        sparse_as_dense: bool = False,
        apart: Sequence[int] = (),
        first_needed_first: bool = False,
        learns_as: tuple[int, int] = (0, 0),
        keeps_sizes: bool = False,
    ) -> None:
        """Lay out and listen.

        Args:
            engine: The capsule of an engine.
            parameters: Leaf tensors, in the order of the forward pass.
            names: One for each, the same on all ranks.
            name: Buckets are called ``<name>.<k>``; another for each reducer of a rank.
            op: Average or Sum.
            prescale: Multiplies every gradient before the sum.
            postscale: Multiplies the result.
            compression: "none", "fp16" or "bf16".
            backward_passes_per_step: Passes whose gradients are summed locally first.
            bucket_bytes: Limit of a bucket, unless one gradient is larger.
            first_bucket_bytes: The same for the first bucket that backward fills.
            process_set: The ranks that take part.
            groups: Numbers of parameters, not counting repetitions: a bucket for each list.
            sparse_as_dense: Make sparse gradients dense as they come, not in ``synchronize``.
            apart: Parameters that are set apart from the beginning.
            first_needed_first: Give buckets priorities, those of the first parameters the highest.
            learns_as: This rank's place in the process set and its size, on all ranks or none:
                the layout is learned from the first steps.
            keeps_sizes: The limits of buckets stay; only the order is learned.
        """

    def set_apart(self, indices: Sequence[int]) -> None:
        """Count the passes of these parameters as before, but leave reducing them to the caller.

        Raises:
            ValueError: There is no such parameter, or its gradient is being reduced already.
        """

    def synchronize(self) -> None:
        """Submit what is missing, wait, and leave the reduced gradients in ``.grad``.

        Parameters without a gradient count as zeros, and get the reduced one like all others.
        Releases the GIL; when a signal handler raises, the work lives on and the next call
        continues. Gradients are undefined after an error.

        Raises:
            ValueError: A gradient cannot be reduced; nothing was submitted.
            HorovodInternalError: The ranks disagree, one was lost, or rueda was shut down.
            AssertionError: More backward passes ran than announced, so a gradient is wrong.
                (Usually ``backward()`` itself raises it and nothing is spoiled.)
        """

    def submit(self) -> None:
        """Do the first part of ``synchronize``: submit what is missing."""

    def members(self) -> list[list[int]]:
        """Return the parameters of each bucket; valid until ``finish``."""

    def deliver(self, bucket: int) -> None:
        """Wait for one bucket after ``submit``, and leave its reduced gradients in ``.grad``.

        Hooks refuse gradients for it until ``finish``.

        Raises:
            HorovodInternalError: As for ``synchronize``.
        """

    def finish(self) -> None:
        """Do the rest of ``synchronize``, which leaves alone what was delivered."""

    def pending(self) -> bool:
        """Say whether a gradient was counted in or submitted since the last ``synchronize``."""

    def remove(self) -> None:
        """Stop listening; gradients stay what they are."""

    def set_backward_passes_per_step(self, passes: int) -> None:
        """Change the number of passes; ValueError while ``pending``."""

    @property
    def bucket_count(self) -> int: ...
    @property
    def placed_bucket_count(self) -> int:
        """Buckets in memory that peers map, which are reduced in place."""

    @property
    def gradient_bytes(self) -> int:
        """What is reduced in a step, without padding."""

    @property
    def copies_in(self) -> int:
        """How many gradients had to be copied into their bucket so far."""

    @property
    def learned(self) -> str:
        """What came of learning the layout, in a few words; empty before."""
