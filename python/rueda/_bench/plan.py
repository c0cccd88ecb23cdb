"""The plan of a run: which cases are measured, and which variants take turns in each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rueda._bench.models import MODELS
from rueda._bench.resnet50 import RESNET50_ELEMENTS, resnet50_shapes
from rueda._bench.settings import DTYPES, Settings

LIMIT = "limit"
MANY_TENSORS = 300
MANY_ELEMENTS = 256  # of float32: 1 KiB


@dataclass(frozen=True)
class Variant:
    """One contender of a case.

    Attributes:
        level: ``limit``, ``peer``, or what drives rueda: ``transport``, ``engine``, ``python``; of
            training steps ``STEP``, or ``BARE`` for one that computes nothing.
        road: The road, the peer, or a key of ``TRAINING_ROADS``.
    """

    level: str
    road: str

    @property
    def has_one_thread(self) -> bool:
        """Whether nothing but each rank's calling thread works for it."""
        return self.level in (LIMIT, "transport") or (self.level, self.road) == ("peer", "sockets")

    @property
    def label(self) -> str:
        """The name in tables."""
        if self.level == LIMIT:
            return LIMIT
        if self.level in (STEP, BARE):
            return TRAINING_ROADS[self.road].label
        return PEER_LABELS[self.road] if self.level == "peer" else f"{self.level} {self.road}"


PEER_LABELS = {
    "gloo": "torch Gloo",
    "openmpi": "Open MPI",
    "horovod": "Horovod",
    "sockets": "raw sockets",
}


@dataclass(frozen=True)
class TrainingRoad:
    """Who reduces gradients in training steps.

    Attributes:
        label: The name in tables.
        keeps: Whether ``zero_grad`` keeps gradients and sets them to zero.
        peer: The peer that it needs, or nothing.
    """

    label: str
    keeps: bool = False
    peer: str = ""


TRAINING_ROADS = {
    "alone": TrainingRoad("alone"),
    "rueda": TrainingRoad("rueda"),
    "ddp": TrainingRoad("DDP(gloo)", peer="gloo"),
    "horovod": TrainingRoad("Horovod", peer="horovod"),
    "alone-kept": TrainingRoad("alone, kept", keeps=True),
    "rueda-kept": TrainingRoad("rueda, kept", keeps=True),
    "ddp-kept": TrainingRoad("DDP(gloo), kept", keeps=True, peer="gloo"),
}
STEP, BARE = "step", "bare step"


@dataclass(frozen=True)
class Case:
    """What all variants of a table's block do.

    Attributes:
        kind: ``size`` (one tensor), ``async`` (many small ones, each on its own), ``grouped`` (the
            same in one call), ``gradients`` (those of ResNet-50 in one call), ``beside`` (small
            calls beside a computing thread) or ``train`` (training steps).
        collective: Its name.
        dtype: Name of the element type.
        op: Name of the reduce op.
        shapes: Of the tensors.
        variants: In the order in which they take turns; the limit is the first, where there is one.
        model: Of training steps: a key of ``models.MODELS``.
        compute_ms: Of training steps: how long one computes.
    """

    kind: str
    collective: str
    dtype: str
    op: str
    shapes: tuple[tuple[int, ...], ...]
    variants: tuple[Variant, ...]
    model: str = ""
    compute_ms: int = 0

    @property
    def count(self) -> int:
        """Elements of all tensors together."""
        return sum(_elements(shape) for shape in self.shapes)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors together."""
        return self.count * DTYPES[self.dtype][1]


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def plan_cases(settings: Settings) -> list[Case]:
    """Return the cases of a run in the order in which they are measured."""
    cases: list[Case] = []
    if "sizes" in settings.workloads:
        cases += [
            _size_case(settings, dtype, size)
            for dtype in settings.dtypes
            for size in settings.sizes
        ]
    many = ((MANY_ELEMENTS,),) * MANY_TENSORS
    if "many" in settings.workloads:
        cases += [_many_case(settings, kind, many) for kind in ("async", "grouped")]
    if "gradients" in settings.workloads:
        cases.append(_many_case(settings, "gradients", tuple(resnet50_shapes())))
    if "beside" in settings.workloads:
        variants = (Variant("engine", "staged"),)
        cases.append(Case("beside", "allreduce", "float32", "sum", ((2,),), variants))
    if "train" in settings.workloads:
        cases.append(_training_case(settings))
    return cases


def elements_of(settings: Settings, dtype: str, size: int) -> int:
    """Return how many elements a message of about ``size`` bytes has, at least one.

    Where each rank gives or gets a part, it is a multiple of the ranks.
    """
    step = settings.ranks if settings.collective in ("allgather", "reducescatter") else 1
    return max(1, size // DTYPES[dtype][1] // step) * step


def _size_case(settings: Settings, dtype: str, size: int) -> Case:
    count = elements_of(settings, dtype, size)
    shape = ((count,),)
    return Case("size", settings.collective, dtype, settings.op, shape, _size_variants(settings))


def _size_variants(settings: Settings) -> tuple[Variant, ...]:
    whole = settings.collective == "allreduce"
    variants = [Variant(LIMIT, "")]
    for level in settings.levels:
        for road in settings.roads:
            # The backend alone is driven on shared memory only, and Python hands over tensors of
            # its own; a collective whose parts differ has no place to lie in.
            if level == "transport" and (road == "gloo" or not whole):
                continue
            if road == "in-place" and (level == "python" or not whole):
                continue
            variants.append(Variant(level, road))
    variants += [Variant("peer", peer) for peer in settings.peers if _peer_can(peer, settings)]
    return tuple(variants)


def _peer_can(peer: str, settings: Settings) -> bool:
    """Tell whether a peer has the collective with this op at all."""
    if settings.op == "average" and settings.collective != "broadcast":
        return peer == "horovod" and settings.collective == "allreduce"
    return peer == "gloo" or settings.collective == "allreduce"


def _many_case(settings: Settings, kind: str, shapes: tuple[tuple[int, ...], ...]) -> Case:
    variants = [Variant(LIMIT, "")]
    if "python" in settings.levels or kind == "gradients":
        variants += [Variant("python", road) for road in settings.roads if road != "in-place"]
    # torch.distributed has no call for several tensors of a CPU.
    able = ("horovod",) if kind == "grouped" else ("gloo", "horovod")
    variants += [Variant("peer", peer) for peer in settings.peers if peer in able]
    return Case(kind, "allreduce", "float32", "sum", shapes, tuple(variants))


def _training_case(settings: Settings) -> Case:
    roads = [name for name, road in TRAINING_ROADS.items() if road.peer in ("", *settings.peers)]
    return Case(
        "train",
        "allreduce",
        "float32",
        "average",
        MODELS[settings.model].shapes,
        # A road's two steps one after the other, so that little changes between them.
        tuple(Variant(level, road) for road in roads for level in (STEP, BARE)),
        settings.model,
        settings.compute_ms,
    )


def describe_case(case: Case) -> str:
    """Say in a few words what a case is that is not one tensor of a size."""
    words = {
        "async": f"{MANY_TENSORS} tensors of 1 KiB, each submitted, then all waited for",
        "grouped": f"{MANY_TENSORS} tensors of 1 KiB in one grouped call",
        "gradients": f"the 161 gradients of ResNet-50, {RESNET50_ELEMENTS:,} elements",
        "beside": "8 B a millisecond beside a computing thread in each rank",
        "train": f"steps of {case.model} that compute {case.compute_ms} ms: {len(case.shapes)} "
        f"gradients, {case.bytes / 1e6:.1f} MB",
    }
    return words.get(case.kind, "")
