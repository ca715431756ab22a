"""What this machine, or the part of it that a job was given, has: cores and memory.

A container or a Slurm job sees the whole machine in the usual places; its own share is in the control group
(Linux kernel documentation, "Control Group v2": ``cpu.max``, ``memory.max``, ``memory.current``, ``memory.stat``).
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_LOG = logging.getLogger(__name__)
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60


class _Own:
    """What a person lets this process have; None for as much as there is."""

    cpus: int | None = None
    memory: int | None = None


def limit_resources(*, cpus: int | None = None, memory: int | None = None) -> None:
    """Let this process and its workers have no more than so many cores, and bytes of memory; None: what there is."""
    _Own.cpus, _Own.memory = cpus, memory


def n_cpus() -> int:
    """Cores that this process may use, at least 1."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    for group in own_groups():
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            count = min(count, max(1, math.ceil(int(quota) / int(period))))
    return max(1, count if _Own.cpus is None else min(count, _Own.cpus))


def total_memory() -> int:
    """Bytes that this process and its children may use; 0 when the platform does not say."""
    limits = [_number(group / name) for group in own_groups() for name in ("memory.max", "memory.limit_in_bytes")]
    found = [limit for limit in [_meminfo("MemTotal"), _Own.memory or 0, *limits] if 0 < limit < _UNLIMITED]
    return min(found, default=0)


def available_memory() -> int | None:
    """Bytes that can still be taken before something is killed; None when the platform does not say."""
    found = [_meminfo("MemAvailable"), _Own.memory or 0]
    for group in own_groups():
        for limit_name, used_name in (("memory.max", "memory.current"),
                                      ("memory.limit_in_bytes", "memory.usage_in_bytes")):  # fmt: skip
            limit, used = _number(group / limit_name), _number(group / used_name)
            if 0 < limit < _UNLIMITED:
                cache = [int(line.split()[1]) for line in _text(group / "memory.stat").splitlines()
                         if line.startswith(("inactive_file ", "active_file "))]  # fmt: skip
                found.append(limit - used + sum(cache))
    return min((value for value in found if value > 0), default=None)


def resident_memory(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 when it is gone or the platform does not say."""
    parts = _text(Path(f"/proc/{pid}/statm")).split()
    return int(parts[1]) * os.sysconf("SC_PAGE_SIZE") if len(parts) > 1 else 0


def forget_peak_memory() -> None:
    """Make the kernel count this process's peak from now on; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        _LOG.debug("the peak memory is that of the whole process")


def peak_memory_mb() -> float:
    """Largest resident memory of this process for the scan at hand (Linux), or so far (macOS); 0 where nobody knows."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return _peak_so_far_mb()


def _peak_so_far_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def own_groups() -> Iterator[Path]:
    """Folders of this process's control group and of those around it, innermost first.

    Version 2, or the memory group of version 1; none where the system has no control groups.
    """
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, name = line.split(":", 2)
        root = _CGROUPS / "memory" if controllers == "memory" else _CGROUPS
        if controllers in ("", "memory"):
            group = root / name.strip("/")
            yield from (g for g in (group, *group.parents) if g.is_relative_to(root))


def _meminfo(key: str) -> int:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
