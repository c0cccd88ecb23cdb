"""Counts the kernel's out-of-memory kills in this process's memory cgroup."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")


def oom_kills(root: Path = _ROOT, membership: Path = _SELF) -> int | None:
    """Return how many processes the out-of-memory killer ended in our cgroup so far.

    Version 2 of the interface counts in ``memory.events``, version 1 in ``memory.oom_control``
    (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel).

    Args:
        root: Where cgroups are mounted.
        membership: Lists the cgroups of this process.

    Returns:
        The count, or None where the kernel does not tell.
    """
    for path in _counters(root, membership):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _counters(root: Path, membership: Path) -> list[Path]:
    try:
        entries = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return []
    paths: list[Path] = []
    # Inside a container the mount may already be the process's own group, so that comes second.
    for place in ("path", "mount"):
        for _, controllers, group in (entry for entry in entries if len(entry) == 3):
            inside = group.strip("/") if place == "path" else ""
            if "memory" in controllers.split(","):
                paths.append(root / "memory" / inside / "memory.oom_control")
            elif not controllers:
                paths.append(root / inside / "memory.events")
    return paths
