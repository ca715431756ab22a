"""Where the parts of the page's small drawings lie: volumes per label, the training curve; templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WIDTH, _MARGIN = 260.0, 10.0
_CURVE_WIDTH, _CURVE_HEIGHT, _LEFT, _BOTTOM = 560.0, 200.0, 56.0, 30.0


@dataclass(frozen=True)
class Dot:
    """One scan: its place in pixels, and whether it is marked."""

    x: float
    y: float
    name: str
    volume_ml: float
    is_odd: bool


@dataclass(frozen=True)
class Strip:
    """One dot per scan from 0 to the largest volume, the middle half of the scans, their median.

    Attributes:
        box: left end and width of the middle half in pixels; None for fewer than three scans.
        median_x: of the median, in pixels.
    """

    dots: tuple[Dot, ...]
    box: tuple[float, float] | None
    median_x: float
    median_ml: float
    least_ml: float
    most_ml: float
    top_ml: float
    width: float = _WIDTH
    margin: float = _MARGIN


@dataclass(frozen=True)
class Curve:
    """The mean loss between checks over the steps.

    Attributes:
        points: (x, y) in pixels.
    """

    points: tuple[tuple[float, float], ...]
    losses: tuple[float, ...]
    n_steps: int
    first_step: float
    last_step: float
    width: float = _CURVE_WIDTH
    height: float = _CURVE_HEIGHT
    left: float = _LEFT
    bottom: float = _BOTTOM


def volume_strip(names: Sequence[str], volumes_ml: Sequence[float], odd: Sequence[bool]) -> Strip | None:
    """The volumes of one label; None without scans.

    Args:
        names: of the scans.
        volumes_ml: one per scan.
        odd: whether the scan is marked.
    """
    if not len(volumes_ml):
        return None
    top = max(*volumes_ml, 1e-9)
    low, middle, high = (float(value) for value in np.percentile(volumes_ml, (25, 50, 75)))
    scale = (_WIDTH - 2 * _MARGIN) / top
    dots = tuple(
        Dot(_MARGIN + volume * scale, 20 + (place * 7 % 11 - 5) * 2.2, name, volume, is_odd)
        for place, (name, volume, is_odd) in enumerate(zip(names, volumes_ml, odd, strict=True))
    )
    box = (_MARGIN + low * scale, max((high - low) * scale, 1.0)) if len(volumes_ml) > 2 else None
    return Strip(dots, box, _MARGIN + middle * scale, middle, min(volumes_ml), max(volumes_ml), top)


def training_curve(losses: Sequence[float], n_steps: int) -> Curve | None:
    """The curve of `losses`, one a check, over `n_steps` steps; None for fewer than two."""
    if len(losses) < 2:
        return None
    high = max(losses)
    span = max(high - min(losses), 1e-9)
    steps = [n_steps * (place + 1) / len(losses) for place in range(len(losses))]
    first, last = steps[0], max(steps[-1], steps[0] + 1e-9)
    points = tuple(
        (
            _LEFT + (_CURVE_WIDTH - _LEFT - 12) * (step - first) / (last - first),
            12 + (_CURVE_HEIGHT - _BOTTOM - 20) * (high - loss) / span,
        )
        for step, loss in zip(steps, losses, strict=True)
    )
    return Curve(points, tuple(losses), n_steps, first, last)
