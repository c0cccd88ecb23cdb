"""The command line of ``rueda bench``: options, their values, and what is wrong with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

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

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LARGEST = 16 << 30
_MOST_SIZES = 64
_MOST_RANKS = 64
_MOST_ROUNDS = 10_000
_QUICK_ROUNDS, _QUICK_SAMPLE_S = 5, 0.003
_EPILOG = """\
Sizes are binary: 4K is 4096 bytes; rates are decimal. Levels: transport is the shared-memory
backend driven by the caller alone, engine submits and waits in C++, python calls the functions of a
training script. Roads: in-place are buckets in shared memory, as gradients are, staged are private
tensors. docs/performance.md describes the method and every column.
"""


@dataclass(frozen=True)
class Command:
    """A checked command line.

    Attributes:
        settings: What to measure.
        goals: Whether to measure and print the project's goals instead of a table of sizes.
        quick: Whether a rough answer is wanted.
        json: Where to write the results as JSON, if anywhere.
        markdown: The same as Markdown.
        chart: The same as a picture.
    """

    settings: Settings
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
        description="Measure collectives of rueda beside the machine's limit and other libraries.",
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
    command = Command(
        settings=_settings(given),
        goals=given.goals,
        quick=given.quick,
        json=given.json,
        markdown=given.markdown,
        chart=given.chart,
    )
    _check(command, given)
    return command


def _settings(given: argparse.Namespace) -> Settings:
    settings = Settings(ranks=_whole("-np", given.np, _MOST_RANKS))
    if given.quick:
        settings = replace(
            settings, sizes=QUICK_SIZES, rounds=_QUICK_ROUNDS, sample_seconds=_QUICK_SAMPLE_S
        )
    if given.rounds is not None:
        settings = replace(settings, rounds=_whole("--rounds", given.rounds, _MOST_ROUNDS))
    levels = _several("--level", given.level, (*LEVELS, "cpp"), LEVELS)
    if "cpp" in levels:
        levels = tuple(level for level in LEVELS if level in levels or level != "python")
    peers = _several("--peers", given.peers, (*PEERS, "none"), PEERS)
    return replace(
        settings,
        sizes=_sizes(given, settings),
        collective=_one("--collective", given.collective, COLLECTIVES, "allreduce"),
        dtypes=_several("--dtype", given.dtype, DTYPES, ("float32",)),
        op=_one("--op", given.op, OPS, "sum"),
        levels=levels,
        roads=_several("--roads", given.roads, ROADS, ROADS),
        peers=() if "none" in peers else peers,
        workloads=_several("--workload", given.workload, WORKLOADS, settings.workloads),
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
    factor = _whole("--factor", given.factor or "4", 1 << 20)
    if factor < 2:
        raise UsageError(f"--factor must be at least 2, not {factor}")
    if smallest > largest:
        raise UsageError(f"--min {given.min or '8'} is larger than --max {given.max or '64M'}")
    steps = math.floor(math.log(largest / smallest, factor) + 1e-9)
    if steps >= _MOST_SIZES:
        raise UsageError(f"--factor {factor} makes {steps + 1} sizes; {_MOST_SIZES} are enough")
    return tuple(smallest * factor**step for step in range(steps + 1))


def size_of(name: str, text: str) -> int:
    """Read a size such as ``8``, ``4K``, ``64MiB``; units are binary, as in nccl-tests.

    Raises:
        UsageError: It is none, or out of range.
    """
    word = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = word[-1:] if word[-1:] in ("k", "m", "g") else ""
    digits = word.removesuffix(unit) if unit else word
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise UsageError(f"{name} needs sizes such as 8, 4K or 64M, found {text!r}")
    size = int(digits) * _UNITS[unit]
    if not 1 <= size <= _LARGEST:
        raise UsageError(f"{name} {text}: a size is from 1 byte to 16G")
    return size


def _whole(name: str, text: str, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= most:
        raise UsageError(f"{name} needs a whole number from 1 to {most}, found {text!r}")
    return number


def _one(name: str, text: str | None, known: Iterable[str], default: str) -> str:
    return _known(name, text, list(known)) if text is not None else default


def _several(
    name: str, text: str | None, known: Iterable[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    """Read a list of names, in the order in which they are known."""
    if text is None:
        return default
    all_known = list(known)
    chosen = {_known(name, word, all_known) for word in text.split(",")}
    return tuple(word for word in all_known if word in chosen)


def _known(name: str, word: str, known: Sequence[str]) -> str:
    if word in known:
        return word
    guess = nearest(word, known)
    hint = f"; did you mean {guess}?" if guess else ""
    raise UsageError(f"{name} takes {', '.join(known)}; found {word!r}{hint}")
