"""Confidence in pictures and in the page: its colours, where it comes from, what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.model.segmentation import Segmentation
from medseg.report.outcome import Outcome
from medseg.report.thumbnails import mosaic_of, shows_confidence
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample

Pixels = npt.NDArray[np.uint8]
COLORS = ((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
          (173, 220, 48), (253, 231, 37))  # fmt: skip
"""From 0 to 1 in equal steps: viridis, in which equal steps look equally large (Smith and van der Walt, CC0)."""
LEGEND = "confidence 0 to 1: how probable it is that the voxel's label is the right one"
HOW = "medseg segment SCANS --model MODEL --out OUT --write nifti,seg.nrrd,confidence"


def painted(confidence: Pixels) -> Pixels:
    """(..., 3) colours of confidences 1..255; what has none (0) is black."""
    places = np.linspace(0, 255, len(COLORS))
    table = np.stack([np.interp(np.arange(256), places, part) for part in np.transpose(COLORS)], axis=-1)
    table[0] = 0
    return np.asarray(np.rint(table), dtype=np.uint8)[confidence]


def known_confidence(result: Segmentation) -> MetaTensor | None:
    """(2, i, j, k) confidence 0..255, and 1 where there is one; None when it is not known."""
    sure, affine = None, torch.tensor(result.geometry.affine)
    if result.coarse_confidence is not None:
        sure, affine = result.coarse_confidence.as_tensor(), result.coarse_confidence.affine
    elif result.confidence is not None:
        sure = torch.from_numpy(result.confidence[None])
    return None if sure is None else MetaTensor(torch.cat([sure, (sure > 0).to(sure.dtype)]), affine=affine)


def confidence_at(grid: Geometry, known: MetaTensor, inside: npt.NDArray[np.bool_]) -> Pixels:
    """What is `known_confidence` at the voxel centres of `grid` that are `inside`, 1..255; 0 elsewhere."""
    total, weight = resample(known, grid).as_tensor().cpu().numpy()
    # Voxels without a label have no confidence: they must not make their neighbours look unsure.
    found = np.rint(total / np.maximum(weight, 1e-6)).clip(1, 255)
    return np.where(inside & (weight > 0), found, 0).astype(np.uint8)


def confidence_bar() -> str:
    """The colours from 0 to 1 as a small drawing."""
    last = len(COLORS) - 1
    stops = "".join(f'<stop offset="{place / last:.3g}" stop-color="{_hex(c)}"/>' for place, c in enumerate(COLORS))
    return (
        '<svg class="ramp" width="132" height="14" role="img" aria-label="colours from 0, dark violet, to 1, yellow">'
        f'<defs><linearGradient id="ramp">{stops}</linearGradient></defs>'
        '<rect x="0.5" y="0.5" width="131" height="13" rx="3" fill="url(#ramp)"/></svg>'
    )


def confidence_note(out: Path, outcome: Outcome) -> str:
    """What the colours of the confidence mean, or how to get it; nothing without pictures."""
    mosaics = [found for scan in outcome.scans if scan.is_done and (found := mosaic_of(out, scan.name)) is not None]
    shown = [shows_confidence(path) for path in mosaics]
    notes = []
    if any(shown):
        order = " Of clusters of a cohort take it as an order of voxels." if _is_of_cohort(outcome) else ""
        ramp = f'<span class="nowrap">0 {confidence_bar()} 1.</span>'
        notes.append(f"The viewer and the full pictures also show {LEGEND}: {ramp}{order}")
    if not all(shown):
        who = "No picture shows" if not any(shown) else f"{shown.count(False)} of {len(shown)} pictures do not show"
        notes.append(f"{who} confidence; this adds it: <code>{HOW}</code>")
    return "".join(f'<p class="muted">{note}</p>\n' for note in notes)


def _is_of_cohort(outcome: Outcome) -> bool:
    config = outcome.facts.get("config")
    clustering = config.get("clustering") if isinstance(config, dict) else None
    return isinstance(clustering, dict) and clustering.get("method") != "per_scan"


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
