"""Report: everything of one run, and what it says about the machine. The writers read it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rueda._bench.control_rows import ControlRow, control_values
from rueda._bench.control_settings import ControlSettings
from rueda._bench.rows import Row
from rueda._bench.training import training_rows, training_values
from rueda._bench.verdict import Verdict
from rueda.launch.this_host import core_count

# From so much stolen time on a run says so.
_STOLEN_PERCENT = 0.5


@dataclass(frozen=True)
class Machine:
    """What figures depend on.

    Attributes:
        processor: As the kernel names it.
        cores: Those that this process may use.
        memory_bytes: Of the machine.
        kernel: Its release.
        python: Version.
        versions: Of rueda, PyTorch and so on, as far as they are there.
    """

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    versions: Mapping[str, str]


@dataclass
class Report:
    """One run; rows and remarks are added as they come.

    Attributes:
        machine: Where it ran.
        command: How it was called.
        rounds: Samples of each contender.
        began: When, by the wall.
        load: The machine's load average of the minute before it.
        stolen_percent: Of the processors' time during it, what the host gave to others.
        rows: What was measured.
        control: What was simulated.
        control_settings: With which numbers, if anything was.
        remarks: What was not, and why.
        verdicts: On goals, if they were asked for.
    """

    machine: Machine
    command: str
    rounds: int
    began: str
    load: float
    rows: list[Row] = field(default_factory=list)
    control: list[ControlRow] = field(default_factory=list)
    control_settings: ControlSettings | None = None
    stolen_percent: float = 0.0
    remarks: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def busy(self) -> str:
        """Words of warning where something else runs on this machine, else nothing."""
        if self.load < self.machine.cores / 2:
            return ""
        return (
            f"load average {self.load:.1f} on {self.machine.cores} cores before the run: other "
            "programs disturb these figures"
        )

    @property
    def stolen(self) -> str:
        """Words of warning where the host ran others on these processors, else nothing."""
        if self.stolen_percent < _STOLEN_PERCENT:
            return ""
        return (
            f"the host ran others on these {self.machine.cores} processors for "
            f"{self.stolen_percent:.1f} % of the run (steal in /proc/stat): longest calls, and "
            "what takes long, tell of that, too"
        )

    def remark(self, text: str) -> None:
        """Keep a remark, once."""
        if text not in self.remarks:
            self.remarks.append(text)


def new_report(command: str, rounds: int) -> Report:
    """Return an empty report of this machine, now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Report(this_machine(), command, rounds, now, os.getloadavg()[0])


def this_machine() -> Machine:
    """Look at this machine; nothing is measured."""
    return Machine(
        processor=_first_value(Path("/proc/cpuinfo"), ("model name", "CPU part")),
        cores=core_count(),
        memory_bytes=1024 * int(_first_value(Path("/proc/meminfo"), ("MemTotal",)).split()[0]),
        kernel=platform.release(),
        python=platform.python_version(),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    from importlib import metadata  # noqa: PLC0415 - slow to import, and only wanted here

    found = {}
    for name in ("rueda", "torch", "horovod"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _first_value(path: Path, keys: tuple[str, ...]) -> str:
    """Return the value of the first line ``key : value`` of a file of /proc."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return "0 unknown"


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON's values: seconds and bytes, nothing rounded."""
    return {
        "schema": "rueda-bench-1",
        "began": report.began,
        "command": report.command,
        "machine": asdict(report.machine),
        "rounds": report.rounds,
        "load_before": report.load,
        "stolen_percent": report.stolen_percent,
        "rows": [row_values(row) for row in report.rows if row.case.kind != "train"],
        "training": [
            values
            for ranks in sorted({row.ranks for row in report.rows})
            for values in training_values(
                training_rows([row for row in report.rows if row.ranks == ranks])
            )
        ],
        "control": control_values(report.control),
        "control_settings": asdict(report.control_settings) if report.control_settings else None,
        "remarks": report.remarks,
        "goals": [asdict(verdict) for verdict in report.verdicts],
    }


def row_values(row: Row) -> dict[str, Any]:
    """Return one row's figures by name."""
    case, measured = row.case, row.measured
    return {
        "kind": case.kind,
        "collective": case.collective,
        "bytes": case.bytes,
        "count": case.count,
        "tensors": len(case.shapes),
        "dtype": case.dtype,
        "op": case.op,
        "ranks": row.ranks,
        "level": row.variant.level,
        "road": row.variant.road,
        "label": row.variant.label,
        "time_s": row.time,
        "p10_s": row.p10,
        "p90_s": row.p90,
        "algbw_bytes_per_s": row.algbw,
        "busbw_bytes_per_s": row.busbw,
        "wrong": measured.wrong,
        "limit_s": row.limit_time,
        "percent_of_limit": row.percent_of_limit,
        "percent_of_limit_by_placement": row.percent_by_placement(),
        "placement": row.placement,
        "round_trip_ns": row.round_trip_ns,
        "call_p50_s": measured.p50_s,
        "call_p99_s": measured.p99_s,
        "calls_in_sample": measured.calls,
        "samples": [
            {"seconds": sample.seconds, "placement": place}
            for sample, place in zip(measured.samples, row.sample_placements, strict=True)
        ],
        "extra": dict(measured.extra),
    }
