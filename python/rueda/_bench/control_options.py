"""The options of ``rueda bench --control``, and what is wrong with their values."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

from rueda._bench.control_settings import (
    CASES,
    MOST_RANKS,
    QUICK_RANKS,
    TOPOLOGIES,
    ControlSettings,
    Link,
)
from rueda._bench.option_values import several_of, size_of, whole
from rueda.launch.usage import UsageError

_MOST_TENSORS = 8192  # slots of the coordinator's cache
_MOST_SEED = 999_999_999
_MOST_US, _MOST_GB_PER_S = 1e6, 1e6
# Options that only a simulation has.
OF_CONTROL = (
    *("ranks", "cases", "topology", "tensors", "tensor_bytes", "ranks_per_host"),
    *("fan_out", "patience_us", "latency_us", "bandwidth", "message_us", "skew_us", "seed"),
)


def add_control(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    plain = ControlSettings()
    group = parser.add_argument_group("control plane, simulated")
    group.add_argument("--control", action="store_true", help="measure this instead of messages")
    pairs = (plain.within_host, plain.between_hosts)
    for name, metavar, text in (
        ("ranks", "LIST", f"from 2 to {MOST_RANKS} (default: 2,4,8 and so on to 1024)"),
        ("cases", "LIST", f"any of {', '.join(CASES)} (default: all)"),
        ("topology", "LIST", f"any of {', '.join(TOPOLOGIES)} (default: all)"),
        ("tensors", "N", f"that each rank submits in a step (default: {plain.tensors})"),
        ("tensor-bytes", "SIZE", f"of each tensor (default: {plain.tensor_bytes})"),
        ("ranks-per-host", "N", f"(default: {plain.ranks_per_host})"),
        ("fan-out", "N", f"of a tree: hosts below a host (default: {plain.fan_out})"),
        ("patience-us", "T", f"of a tree, with late ranks (default: {plain.patience_us:g})"),
        ("latency-us", "A,B", "within a host, between hosts" + _default(pairs, "latency_us")),
        ("bandwidth", "A,B", "the same in GB/s" + _default(pairs, "gb_per_s")),
        ("message-us", "A,B", "what either end computes" + _default(pairs, "message_us")),
        ("skew-us", "T", "ranks submit at random times up to this (default: 0)"),
        ("seed", "N", f"of all that is random (default: {plain.seed})"),
    ):
        group.add_argument(f"--{name}", metavar=metavar, help=text)


def _default(links: tuple[Link, Link], name: str) -> str:
    return f" (default: {','.join(f'{getattr(link, name):g}' for link in links)})"


def control_settings(given: argparse.Namespace, rounds: int) -> ControlSettings:
    """Return what the options ask for.

    Raises:
        UsageError: A value is none, or out of range; it says what is expected.
    """
    plain = ControlSettings(rounds=rounds)
    if given.quick:
        plain = replace(plain, ranks=QUICK_RANKS)
    within, between = _links(given, plain)
    return replace(
        plain,
        ranks=_ranks(given.ranks) if given.ranks is not None else plain.ranks,
        cases=several_of("--cases", given.cases, CASES, plain.cases),
        topologies=several_of("--topology", given.topology, TOPOLOGIES, plain.topologies),
        tensors=_whole(given, "tensors", plain.tensors, _MOST_TENSORS),
        tensor_bytes=_tensor_bytes(given.tensor_bytes, plain.tensor_bytes),
        ranks_per_host=_whole(given, "ranks_per_host", plain.ranks_per_host, MOST_RANKS),
        fan_out=_whole(given, "fan_out", plain.fan_out, MOST_RANKS),
        patience_us=_number(
            "--patience-us", given.patience_us or f"{plain.patience_us:g}", _MOST_US
        ),
        within_host=within,
        between_hosts=between,
        skew_us=_number("--skew-us", given.skew_us or f"{plain.skew_us:g}", _MOST_US),
        seed=_whole(given, "seed", plain.seed, _MOST_SEED),
    )


def _whole(given: argparse.Namespace, name: str, default: int, most: int) -> int:
    text = getattr(given, name)
    return default if text is None else whole(f"--{name.replace('_', '-')}", text, most)


def _ranks(text: str) -> tuple[int, ...]:
    numbers = {whole("--ranks", word, MOST_RANKS) for word in text.split(",")}
    if 1 in numbers:
        raise UsageError("--ranks 1: a rank alone agrees with nobody; give 2 or more")
    return tuple(sorted(numbers))


def _tensor_bytes(text: str | None, default: int) -> int:
    size = default if text is None else size_of("--tensor-bytes", text)
    if size % 4:
        raise UsageError(f"--tensor-bytes {text}: a tensor is of float32, so of multiples of 4")
    return size


def _links(given: argparse.Namespace, plain: ControlSettings) -> tuple[Link, Link]:
    links = [plain.within_host, plain.between_hosts]
    for option, name, most in (
        ("latency_us", "latency_us", _MOST_US),
        ("bandwidth", "gb_per_s", _MOST_GB_PER_S),
        ("message_us", "message_us", _MOST_US),
    ):
        text = getattr(given, option)
        if text is None:
            continue
        shown = f"--{option.replace('_', '-')}"
        words = text.split(",")
        if len(words) != len(links):
            raise UsageError(f"{shown} needs two numbers, within a host and between; found {text}")
        for i, word in enumerate(words):
            links[i] = replace(links[i], **{name: _number(shown, word, most)})
    return links[0], links[1]


def _number(name: str, text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise UsageError(f"{name} needs numbers from 0 to {most:g}, found {text!r}")
    return number
