"""Small drawings as inline SVG: colours, volumes per label, the training curve."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

Color = tuple[int, int, int]
_WIDTH, _LEFT = 260.0, 10.0


def ml(value: float) -> str:
    """Millilitres with as many decimals as say something."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def swatch(color: Color) -> str:
    """A square of a label's colour."""
    return (
        '<svg class="swatch" width="18" height="18" aria-hidden="true"><rect x="1" y="1" width="16" height="16" rx="3" '
        f'fill="{_rgb(color)}"/></svg>'
    )


def volume_strip(names: Sequence[str], volumes_ml: Sequence[float], odd: Sequence[bool], color: Color) -> str:
    """One dot per scan from 0 to the largest volume, the middle half of the scans as a box, the median as a line.

    Args:
        names: of the scans, shown by the dots.
        volumes_ml: one per scan.
        odd: whether the scan is marked.
        color: of the label, RGB 0-255.
    """
    if not len(volumes_ml):
        return ""
    top = max(*volumes_ml, 1e-9)
    low, middle, high = np.percentile(volumes_ml, (25, 50, 75))
    scale = (_WIDTH - 2 * _LEFT) / top
    said = f"{len(volumes_ml)} scans, median {ml(middle)} ml, from {ml(min(volumes_ml))} to {ml(max(volumes_ml))} ml"
    dots = "".join(
        _dot(_LEFT + volume * scale, 20 + (place * 7 % 11 - 5) * 2.2, f"{name}: {ml(volume)} ml", is_odd)
        for place, (name, volume, is_odd) in enumerate(zip(names, volumes_ml, odd, strict=True))
    )
    box = ""
    if len(volumes_ml) > 2:
        box = (
            f'<rect class="box" x="{_LEFT + low * scale:.1f}" y="5" width="{max((high - low) * scale, 1):.1f}" '
            f'height="30" rx="2"/><path class="median" d="M{_LEFT + middle * scale:.1f} 3v34"/>'
        )
    return (
        f'<svg class="strip" viewBox="0 0 {_WIDTH:.0f} 54" width="{_WIDTH:.0f}" height="54" role="img" '
        f'aria-label="{said}"><path class="axis" d="M{_LEFT:.0f} 38H{_WIDTH - _LEFT:.0f}"/>'
        f'<g fill="{_rgb(color)}">{dots}</g>{box}'
        f'<text x="{_LEFT:.0f}" y="50">0</text>'
        f'<text x="{_WIDTH - _LEFT:.0f}" y="50" text-anchor="end">{ml(top)} ml</text></svg>'
    )


def _dot(x: float, y: float, text: str, is_odd: bool) -> str:
    title = f"<title>{escape(text)}</title>"
    if is_odd:
        return f'<path class="odd-dot" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z">{title}</path>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6">{title}</circle>'


def training_curve(losses: Sequence[float], n_steps: int) -> str:
    """The mean loss between checks over the steps."""
    if len(losses) < 2:
        return ""
    width, height, left, bottom = 560.0, 200.0, 56.0, 30.0
    low, high = min(losses), max(losses)
    span = max(high - low, 1e-9)
    steps = [n_steps * (place + 1) / len(losses) for place in range(len(losses))]
    first, last = steps[0], max(steps[-1], steps[0] + 1e-9)
    points = " ".join(
        f"{left + (width - left - 12) * (step - first) / (last - first):.1f},"
        f"{12 + (height - bottom - 20) * (high - loss) / span:.1f}"
        for step, loss in zip(steps, losses, strict=True)
    )
    return (
        f'<svg class="curve" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="Training loss from '
        f'{losses[0]:.4g} to {losses[-1]:.4g} in {n_steps} steps">'
        f'<path class="axis" d="M{left:.0f} 8V{height - bottom:.0f}H{width - 8:.0f}"/><polyline points="{points}"/>'
        f'<text x="{left - 6:.0f}" y="16" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left - 6:.0f}" y="{height - bottom - 4:.0f}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{left:.0f}" y="{height - 10:.0f}">step {first:.0f}</text>'
        f'<text x="{width - 12:.0f}" y="{height - 10:.0f}" text-anchor="end">step {last:.0f}</text></svg>'
    )


def _rgb(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
