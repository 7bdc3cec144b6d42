"""How many CPU threads this process may use: what the container gives, not what the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cpu_threads() -> int:
    """Return the number of threads that can run at once, at least 1.

    The smaller of the CPUs that the process may run on and the CPU time quota of its control
    group (versions 1 and 2), rounded up.
    """
    quota = cpu_quota(_CGROUP, _own_groups())
    allowed = _affinity()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(mount: Path, groups: list[str]) -> float | None:
    """Return the smallest CPU quota, in CPUs, of the control groups mounted at `mount`.

    Args:
        mount: Where the control group file system is mounted.
        groups: Paths of the process's groups, as `/proc/self/cgroup` tells; parents count too.
    """
    folders = [folder for group in ["/", *groups] for folder in _with_parents(group)]
    quotas = [
        quota
        for folder in folders
        for quota in (
            _quota_v2(mount / folder / "cpu.max"),
            _quota_v1(mount / "cpu" / folder),
            _quota_v1(mount / "cpu,cpuacct" / folder),
        )
        if quota is not None
    ]
    return min(quotas, default=None)


def _with_parents(group: str) -> list[str]:
    parts = [part for part in group.split("/") if part not in ("", "..")]
    return ["/".join(parts[:length]) for length in range(len(parts) + 1)]


def _quota_v2(file: Path) -> float | None:
    fields = _read(file).split()
    if len(fields) != 2 or not fields[0].isdigit():
        return None
    return int(fields[0]) / int(fields[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit():
        return None
    return int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _own_groups() -> list[str]:
    return [line.split(":", 2)[2] for line in _read(Path("/proc/self/cgroup")).splitlines()]


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
