"""A job key for launchers that name no job: the process that started all ranks of this host."""

from __future__ import annotations

from pathlib import Path

# Hydra's proxy and MVAPICH2's: one a host and job, parent (or further ancestor) of every rank.
_PROXIES = ("hydra_pmi_proxy", "pmi_proxy", "mpispawn")
_MAX_ANCESTORS = 64


def proxy_key(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return a key that all ranks under one launcher proxy of this host share.

    The ranks may sit below shells and wrappers, so the ancestors are walked up. The proxy's start
    time goes into the key, because pids are used again.

    Args:
        pid: The process whose ancestors are looked at.
        proc: Where procfs is mounted.

    Returns:
        The key, or None where no known proxy is an ancestor.
    """
    for _ in range(_MAX_ANCESTORS):
        try:
            line = (proc / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return None
        # proc(5): "pid (comm) state ppid ...", comm may hold blanks and parentheses; the start
        # time is field 22, the 20th after comm.
        name, _, rest = line[line.index("(") + 1 :].rpartition(")")
        fields = rest.split()
        if any(name == proxy[:15] for proxy in _PROXIES):  # the kernel keeps 15 characters
            return f"proxy:{pid}:{fields[19]}"
        pid = int(fields[1])
        if pid <= 0:
            return None
    return None
