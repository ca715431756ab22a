"""Durations and sizes as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``20 s``, ``3 min``, ``2.5 h``, ``3.0 days``."""
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def size(n_bytes: float) -> str:
    """``300 kB``, ``1.2 GB``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.2g} {unit}" if n_bytes < 100 * factor else f"{n_bytes / factor:.0f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"
