"""The functions that `benchmarks.speed_stages` measures are where it looks for them."""

from __future__ import annotations

from benchmarks.speed_stages import STAGES


def test_every_stage_exists():
    assert [name for owner, name, _ in STAGES if not callable(getattr(owner, name, None))] == []
