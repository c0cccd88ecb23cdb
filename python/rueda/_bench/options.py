"""The command line of ``rueda bench``: options, their values, and what is wrong with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from rueda._bench.control_options import OF_CONTROL, add_control, control_settings
from rueda._bench.control_settings import ControlSettings
from rueda._bench.models import MODELS
from rueda._bench.option_values import one_of, several_of, size_of, whole
from rueda._bench.settings import (
    COLLECTIVES,
    DTYPES,
    LEVELS,
    OPS,
    PEERS,
    QUICK_SIZES,
    ROADS,
    WORKLOADS,
    Settings,
)
from rueda.launch.usage import UsageError, nearest

_MOST_SIZES = 64
_MOST_RANKS = 64
_MOST_ROUNDS = 10_000
_MOST_COMPUTE_MS = 60_000
_OF_MESSAGES = (
    *("sizes", "min", "max", "factor", "collective", "dtype", "op", "level", "roads"),
    *("workload", "chart"),
)
_OF_TRAINING = ("model", "compute_ms")
_QUICK_ROUNDS, _QUICK_SAMPLE_S = 5, 0.003
_EPILOG = """\
Sizes are binary: 4K is 4096 bytes; rates are decimal. Levels: transport is the shared-memory
backend driven by the caller alone, engine submits and waits in C++, python calls the functions of a
training script. Roads: in-place are buckets in shared memory, as gradients are, staged are private
tensors. docs/performance.md describes the method and every column.

--train measures steps of forward, backward and optimizer without communication, with rueda's
DistributedOptimizer, and with those of --peers gloo (DistributedDataParallel) and horovod: what
communication takes by itself, what of it the step is longer for, and what computing hides.

--control starts no ranks: one process simulates the coordination of up to 4096, in virtual time.
"""


@dataclass(frozen=True)
class Command:
    """A checked command line.

    Attributes:
        settings: What to measure.
        control: What to simulate instead, if that was asked for.
        goals: Whether to measure and print the project's goals instead of a table of sizes.
        quick: Whether a rough answer is wanted.
        json: Where to write the results as JSON, if anywhere.
        markdown: The same as Markdown.
        chart: The same as a picture.
    """

    settings: Settings
    control: ControlSettings | None
    goals: bool
    quick: bool
    json: Path | None
    markdown: Path | None
    chart: Path | None


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process, and names the nearest option."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    @property
    def names(self) -> list[str]:
        """Every spelling of every option."""
        return list(self._option_string_actions)


def parser() -> argparse.ArgumentParser:
    """Return the parser, for its help text."""
    return _parser()


def _parser() -> _Parser:
    made = _Parser(
        prog="rueda bench",
        description="Measure collectives and training steps of rueda beside the machine's limit\n"
        "and other libraries, or simulate its control plane.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = made.add_argument_group("what is measured")
    what.add_argument("-np", "-n", metavar="N", default="2", help="number of ranks (default: 2)")
    what.add_argument("--sizes", metavar="LIST", help="message sizes, such as 8,4K,64M")
    what.add_argument("-b", "--min", metavar="SIZE", help="smallest size (default: 8)")
    what.add_argument("-e", "--max", metavar="SIZE", help="largest size (default: 64M)")
    what.add_argument("-f", "--factor", metavar="F", help="between sizes (default: 4)")
    _choices(what, "--collective", COLLECTIVES, "allreduce", several=False)
    _choices(what, "--dtype", DTYPES, "float32", several=True)
    _choices(what, "--op", OPS, "sum", several=False)
    _choices(what, "--level", (*LEVELS, "cpp"), "all; cpp is the first two", several=True)
    _choices(what, "--roads", ROADS, "all", several=True)
    _choices(what, "--peers", (*PEERS, "none"), "all that are installed", several=True)
    _choices(what, "--workload", WORKLOADS, "sizes,many", several=True)
    train = made.add_argument_group("training steps")
    train.add_argument("--train", action="store_true", help="measure these instead of messages")
    _choices(train, "--model", MODELS, Settings.model, several=False)
    text = f"how long a step computes (default: {Settings.compute_ms})"
    train.add_argument("--compute-ms", metavar="N", help=text)
    add_control(made)
    how = made.add_argument_group("how")
    how.add_argument("--rounds", metavar="N", help="samples of each variant (default: 15)")
    how.add_argument("--quick", action="store_true", help="fewer and shorter samples, fewer sizes")
    how.add_argument("--goals", action="store_true", help="measure and print the project's goals")
    out = made.add_argument_group("where to, besides the terminal")
    for name, text in (("json", "everything, samples included"), ("markdown", "the tables")):
        out.add_argument(f"--{name}", metavar="FILE", type=Path, help=text)
    out.add_argument("--chart", metavar="FILE", type=Path, help="a picture; needs matplotlib")
    return made


def _choices(
    group: argparse._ArgumentGroup,
    name: str,
    known: Iterable[str],
    default: str,
    *,
    several: bool,
) -> None:
    words = ", ".join(known)
    text = f"{'any of' if several else 'one of'} {words} (default: {default})"
    group.add_argument(name, metavar="LIST" if several else "NAME", help=text)


def parse(words: Sequence[str]) -> Command:
    """Read the words after ``rueda bench``.

    Raises:
        UsageError: Something is unknown, out of range or contradictory; it says what is expected.
    """
    made = _parser()
    given, unknown = made.parse_known_args(list(words))
    if unknown:
        guess = nearest(unknown[0], made.names)
        hint = f"did you mean {guess}?" if guess else "rueda bench --help lists the options"
        raise UsageError(f"unknown option {unknown[0]}; {hint}")
    _check_mode(given)
    settings = _settings(given)
    command = Command(
        settings=settings,
        control=control_settings(given, settings.rounds) if given.control else None,
        goals=given.goals,
        quick=given.quick,
        json=given.json,
        markdown=given.markdown,
        chart=given.chart,
    )
    _check(command, given)
    return command


def _settings(given: argparse.Namespace) -> Settings:
    settings = Settings(ranks=whole("-np", given.np, _MOST_RANKS))
    if given.quick:
        settings = replace(
            settings, sizes=QUICK_SIZES, rounds=_QUICK_ROUNDS, sample_seconds=_QUICK_SAMPLE_S
        )
    if given.rounds is not None:
        settings = replace(settings, rounds=whole("--rounds", given.rounds, _MOST_ROUNDS))
    levels = several_of("--level", given.level, (*LEVELS, "cpp"), LEVELS)
    if "cpp" in levels:
        levels = tuple(level for level in LEVELS if level in levels or level != "python")
    peers = several_of("--peers", given.peers, (*PEERS, "none"), PEERS)
    return replace(
        settings,
        sizes=_sizes(given, settings),
        collective=one_of("--collective", given.collective, COLLECTIVES, "allreduce"),
        dtypes=several_of("--dtype", given.dtype, DTYPES, ("float32",)),
        op=one_of("--op", given.op, OPS, "sum"),
        levels=levels,
        roads=several_of("--roads", given.roads, ROADS, ROADS),
        peers=() if "none" in peers else peers,
        workloads=("train",)
        if given.train
        else several_of("--workload", given.workload, WORKLOADS, settings.workloads),
        model=one_of("--model", given.model, MODELS, settings.model),
        compute_ms=whole(
            "--compute-ms", given.compute_ms or str(settings.compute_ms), _MOST_COMPUTE_MS
        ),
    )


def _check(command: Command, given: argparse.Namespace) -> None:
    settings = command.settings
    if given.peers is not None and "none" in given.peers.split(",") and "," in given.peers:
        raise UsageError(f"--peers {given.peers}: none stands alone")
    if settings.collective in ("broadcast", "allgather") and given.op is not None:
        raise UsageError(f"--op {given.op}: {settings.collective} adds nothing")
    if command.goals:
        for name in ("np", "sizes", "min", "max", "factor", "collective", "dtype", "op", "level"):
            value = getattr(given, name)
            if value is not None and not (name == "np" and value == "2"):
                raise UsageError(f"--goals measures what the goals name; leave out --{name}")
    for name in ("json", "markdown", "chart"):
        path = getattr(command, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"--{name} {path}: there is no folder {path.absolute().parent}")


def _check_mode(given: argparse.Namespace) -> None:
    """Refuse what does not go with messages, training steps or the simulation, whichever it is."""
    if given.train and given.control:
        raise UsageError("--train and --control are two benchmarks; give one")
    mode = "train" if given.train else "control" if given.control else ""
    if given.goals and mode:
        what = "training steps" if mode == "train" else "the control plane"
        raise UsageError(f"--goals measures {what}, too; leave out --{mode}")
    for names, of, what in (
        (_OF_MESSAGES, "", "for messages"),
        (_OF_TRAINING, "train", "for training steps"),
        (OF_CONTROL, "control", "for the simulated control plane"),
    ):
        for name in names:
            if of != mode and getattr(given, name) is not None:
                option = f"--{name.replace('_', '-')}"
                advice = f"leave it out, or leave out --{mode}" if mode else f"add --{of}"
                raise UsageError(f"{option} is {what}; {advice}")
    if given.control and given.np != "2":
        raise UsageError("-np starts ranks, and --control simulates them; give --ranks")
    if given.control and given.peers is not None:
        raise UsageError("--peers are not simulated; leave it out, or leave out --control")


def _sizes(given: argparse.Namespace, settings: Settings) -> tuple[int, ...]:
    from_range = [name for name in ("min", "max", "factor") if getattr(given, name) is not None]
    if given.sizes is not None:
        if from_range:
            raise UsageError(f"--sizes and --{from_range[0]} contradict each other; give one")
        return tuple(sorted({size_of("--sizes", word) for word in given.sizes.split(",")}))
    if not from_range:
        return settings.sizes
    smallest = size_of("--min", given.min or "8")
    largest = size_of("--max", given.max or "64M")
    factor = whole("--factor", given.factor or "4", 1 << 20)
    if factor < 2:
        raise UsageError(f"--factor must be at least 2, not {factor}")
    if smallest > largest:
        raise UsageError(f"--min {given.min or '8'} is larger than --max {given.max or '64M'}")
    steps = math.floor(math.log(largest / smallest, factor) + 1e-9)
    if steps >= _MOST_SIZES:
        raise UsageError(f"--factor {factor} makes {steps + 1} sizes; {_MOST_SIZES} are enough")
    return tuple(smallest * factor**step for step in range(steps + 1))
