"""How far a confidence can be trusted: expected calibration error, and the curve as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from medseg.io.atomic import whole_file

N_BINS = 15
_SIDE, _EDGE = 420, 56
_COLORS = ((68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68))


@dataclass(frozen=True)
class Curve:
    """(B,) mean confidence, share of right labels and share of all voxels, by bin of confidence; empty bins left out.

    Guo et al., "On calibration of modern neural networks", ICML 2017: 15 bins of equal width.
    """

    said: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, confidence: npt.NDArray[np.floating], is_right: npt.NDArray[np.bool_]) -> Curve:
        """From (V,) confidences from 0 to 1, and whether each label is right."""
        bins = np.clip((confidence * N_BINS).astype(int), 0, N_BINS - 1)
        counts = np.bincount(bins, minlength=N_BINS)
        used = counts > 0
        said = np.bincount(bins, confidence, N_BINS)[used] / counts[used]
        right = np.bincount(bins, is_right, N_BINS)[used] / counts[used]
        return cls(said, right, counts[used] / counts.sum())

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of what is said and what is right."""
        return float((self.shares * np.abs(self.said - self.right)).sum())


def draw(curves: dict[str, Curve], path: Path) -> None:
    """One picture of all curves against the diagonal; the area of a dot is the share of voxels in its bin."""
    page = Image.new("RGB", (_SIDE + 2 * _EDGE, _SIDE + 2 * _EDGE + 18 * len(curves)), (255, 255, 255))
    pen = ImageDraw.Draw(page)

    def at(x: float, y: float) -> tuple[float, float]:
        return _EDGE + x * _SIDE, _EDGE + (1 - y) * _SIDE

    pen.rectangle((*at(0, 1), *at(1, 0)), outline=(0, 0, 0))
    pen.line((*at(0, 0), *at(1, 1)), fill=(150, 150, 150))
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        pen.text((at(tick, 0)[0] - 8, at(0, 0)[1] + 6), f"{tick:.1f}", fill=(0, 0, 0))
        pen.text((at(0, 0)[0] - 26, at(0, tick)[1] - 6), f"{tick:.1f}", fill=(0, 0, 0))
    pen.text((_EDGE + 150, at(0, 0)[1] + 24), "confidence of the label", fill=(0, 0, 0))
    pen.text((8, _EDGE - 30), "share of voxels whose label is right", fill=(0, 0, 0))
    for number, (name, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        points = [at(x, y) for x, y in zip(curve.said, curve.right, strict=True)]
        pen.line(points, fill=color, width=2)
        for (x, y), share in zip(points, curve.shares, strict=True):
            radius = 2 + 14 * float(np.sqrt(share))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=2)
        top = at(0, 0)[1] + 46 + 18 * number
        pen.rectangle((_EDGE, top, _EDGE + 10, top + 10), fill=color)
        pen.text((_EDGE + 16, top - 1), f"{name}: expected calibration error {curve.error:.4f}", fill=(0, 0, 0))
    with whole_file(path) as temporary:
        page.save(temporary, format="PNG", optimize=True)
