"""Numbers of things in sentences for people."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """``1 scan``, ``2 scans``: a noun that takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
