"""``ruedarun --check-build``: what this build of rueda has, beside what this machine has."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.metadata
import platform
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rueda.launch.this_host import core_count, gpu_count

_MISSING = "not in this build"
_NCCL_WHEELS = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")
_DRIVER = Path("/proc/driver/nvidia/version")
_PART, _BUILD = 10, 20


@dataclass(frozen=True)
class Row:
    """One part: its name, what the build says of it, and what the machine has."""

    part: str
    build: str
    machine: str


def build_text(environ: Mapping[str, str], columns: int) -> str:
    """Return the table, for a terminal of ``columns`` columns."""
    width = max(min(columns - 1, 96), 40)
    lines = textwrap.wrap(_title(), width, subsequent_indent="  ", break_on_hyphens=False)
    lines.append("")
    title = Row("part", "this build", "this machine")
    for row in (title, _torch(), *_engine(), *_parts(environ)):
        lines += _laid_out(row, width)
    return "\n".join(lines)


def _laid_out(row: Row, width: int) -> list[str]:
    beside = f"{row.part:<{_PART}}{row.build:<{_BUILD}}"
    indent = " " * (_PART + _BUILD)
    if len(row.build) >= _BUILD:
        head = textwrap.wrap(
            f"{row.part:<{_PART}}{row.build}", width, subsequent_indent=" " * _PART
        )
        return [*head, *textwrap.wrap(row.machine, width, initial_indent=indent)]
    return textwrap.wrap(
        beside + row.machine, width, subsequent_indent=indent, break_on_hyphens=False
    ) or [beside]


def _title() -> str:
    where = Path(__file__).parents[1]
    version = _version_of("rueda") or "from a source tree that is not installed"
    return (
        f"rueda {version} in {where}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {core_count()} cores"
    )


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _build_info() -> ModuleType | None:
    try:
        return importlib.import_module("rueda._build_info")
    except ImportError:
        return None


def _torch() -> Row:
    found = _version_of("torch")
    built = getattr(_build_info(), "torch_version", "")
    machine = found or "not installed"
    # The wheel's metadata leaves out what the build adds to the version, such as +cpu.
    if built and found and built.partition("+")[0] != found.partition("+")[0]:
        machine += ": rueda has to be built again for it"
    return Row("PyTorch", f"for {built}" if built else _MISSING, machine)


def _engine() -> list[Row]:
    try:
        from rueda import _core  # noqa: PLC0415 - may be missing, which is then said
    except ImportError as error:
        return [Row("engine", "cannot be loaded", str(error))]
    roads = next((row for row in _core.list_options() if row.name == "RUEDA_BACKEND"), None)
    return [
        Row("engine", _core.version, "can be loaded"),
        Row("roads", roads.range if roads is not None else "", "chosen by RUEDA_BACKEND"),
    ]


def _parts(environ: Mapping[str, str]) -> list[Row]:
    return [
        Row("Gloo", _built("gloo"), "needs nothing more" if _built("gloo") == "yes" else "-"),
        Row("MPI", _built("mpi"), _program("mpirun", environ)),
        Row("NCCL", _built("nccl"), _nccl()),
        Row("CUDA", _built("cuda"), _gpus(environ)),
        Row("YAML", "", _python_package("PyYAML", "for --config-file")),
    ]


def _built(part: str) -> str:
    return "yes" if getattr(_build_info(), f"{part}_built", False) else _MISSING


def _program(name: str, environ: Mapping[str, str]) -> str:
    return shutil.which(name, path=environ.get("PATH")) or f"no {name} on PATH"


def _nccl() -> str:
    for wheel in _NCCL_WHEELS:
        version = _version_of(wheel)
        if version is not None:
            return f"{version}, from the wheel {wheel}"
    return ctypes.util.find_library("nccl") or "no libnccl found"


def _gpus(environ: Mapping[str, str]) -> str:
    number = gpu_count(environ)
    if number == 0:
        return "no NVIDIA GPU is visible"
    try:
        driver = _DRIVER.read_text(encoding="ascii", errors="replace").partition("\n")[0]
    except OSError:
        driver = "driver unknown"
    return f"{number} GPU{'s' if number > 1 else ''} visible; {' '.join(driver.split())}"


def _python_package(name: str, purpose: str) -> str:
    return f"{_version_of(name) or 'not installed'} ({purpose})"
