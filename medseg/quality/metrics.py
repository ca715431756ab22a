"""Measures of one scan that tell whether something is wrong with it: size, contrast, noise, labels, surprise.

Of several channels, intensity, contrast and noise are those of the first; the surprise is that of all of them.

All but the size are measured on a sample of a bounded number of voxels, so that they cost a few hundredths of what
labels cost.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from torch.nn import functional

from medseg.clustering.posteriors import Posteriors
from medseg.network.autoencoder import Autoencoder
from medseg.network.loss import loss
from medseg.network.tiled_inference import white_noise
from medseg.preprocessing.prepare import Prepared, channels_of
from medseg.quality.measures import Measures
from medseg.spatial.geometry import Geometry

COARSE_VOXELS = 120_000
"""Sampled voxels, with those outside the foreground."""
UNSURE = 0.7
"""A voxel is unsure when its label is right with a probability of less than this."""
_PATCH = 24
"""Voxels along an axis of the patches on which the reconstruction error is measured; whole cells."""
_PATCH_SHARE = 0.03
"""Share of the working image that these patches hold together."""
_MAX_PATCHES = 32
_OUTER_SHARE = 0.005
"""Share of the foreground beyond either end of its extent: specks do not count."""
_EVERY_PLANE = 4
"""Edges are measured in every such plane."""
_AXES = ("lr", "ap", "si")
_BELOW_MM = (4.0, 8.0)
"""How far below the surface brightness is measured: within reach of a patient's motion."""
_LEAST_WIDTH_MM = 40.0
"""Lines through the foreground that are shorter than this have no inside."""
_LINES_MM = 3.0
"""Distance of the lines along which it is measured."""


def measure(network: Autoencoder, prepared: Prepared, posteriors: Posteriors) -> Measures:
    """Every measure that this scan has."""
    scores = posteriors.scores
    inside = prepared.foreground.as_tensor()[0].cpu().numpy() > 0
    step = max(1, ceil((inside.size / COARSE_VOXELS) ** (1 / 3)))
    every = (slice(None), *[slice(step // 2 if n > step else 0, None, step) for n in inside.shape])
    values = prepared.image.as_tensor()[every][0].cpu().numpy()
    labels = scores.as_tensor()[every].argmax(dim=0).cpu().numpy() + 1
    sampled = inside[every[1:]]
    found, of_labels = _sizes(inside, Geometry.of(prepared.image)), {}
    if sampled.any():
        spacing = [s * step for s in Geometry.of(prepared.image).spacing_mm]
        depth = _relative_depth(sampled, spacing)[sampled]
        found |= _contrast(values[sampled], depth)
        of_labels = _of_labels(labels[sampled], values[sampled], depth, scores.shape[0])
        found |= _below_surfaces(prepared.image.as_tensor()[0].cpu().numpy(), inside, Geometry.of(prepared.image))
        found["unsure_share"] = _unsure_share(posteriors, sampled, step)
    seen = channels_of(prepared.network_image)[0]
    span, noise = max(_span(seen, prepared.foreground), 1e-6), white_noise(seen, prepared.foreground)
    found["noise_to_contrast"] = noise / span
    found["edges_to_contrast"] = edge_strength(seen, prepared.foreground, noise) / span
    found["reconstruction_error_nats"] = reconstruction_error(network, prepared)
    return Measures(found, of_labels)


def _sizes(inside: npt.NDArray[np.bool_], geometry: Geometry) -> dict[str, float]:
    """Volume in ml and extents in mm of the foreground, along the axes closest to R, A, S (the working axes)."""
    found = {"foreground_ml": float(inside.sum()) * geometry.voxel_volume_mm3 / 1000}
    for axis, name in enumerate(_AXES):
        below = np.cumsum(inside.sum(axis=tuple({0, 1, 2} - {axis})))
        first, last = np.searchsorted(below, (_OUTER_SHARE * below[-1], (1 - _OUTER_SHARE) * below[-1]))
        found[f"extent_{name}_mm"] = float(last - first + 1) * geometry.spacing_mm[axis]
    return found


def _relative_depth(inside: npt.NDArray[np.bool_], spacing_mm: list[float]) -> npt.NDArray[np.float64]:
    """(I, J, K) distance from the outside as a share of the largest one; the outside of the volume counts."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray(depth / max(float(depth.max()), 1e-6))


def _contrast(values: npt.NDArray[np.float32], depth: npt.NDArray[np.float64]) -> dict[str, float]:
    dark, middle, bright = np.percentile(values, (5, 50, 95))
    found = {"median_position": float((middle - dark) / max(bright - dark, 1e-6))}
    if values.std() > 0 and depth.std() > 0:
        found["depth_correlation"] = float(np.corrcoef(values, depth)[0, 1])
    return found


def _below_surfaces(
    values: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], geometry: Geometry
) -> dict[str, float]:
    """Brightness below the surfaces that face along each axis, less that of the other two, over the mean of the three.

    Motion between the lines of k-space smears a scan along the phase encoding axis: what lies below the surfaces that
    face along it mixes with the outside, the same tissue below the others does not.
    """
    means = []
    for axis, spacing in enumerate(geometry.spacing_mm):
        apart = [1 if a == axis else max(1, round(_LINES_MM / s)) for a, s in enumerate(geometry.spacing_mm)]
        lines = tuple(slice(None, None, n) for n in apart)
        filled, bright = np.moveaxis(inside[lines], axis, 0), np.moveaxis(values[lines], axis, 0)
        place = np.arange(len(filled))[:, None, None]
        first, last = filled.argmax(axis=0), len(filled) - 1 - filled[::-1].argmax(axis=0)
        below_mm = np.minimum(place - first, last - place) * spacing
        chosen = filled & (below_mm >= _BELOW_MM[0]) & (below_mm <= _BELOW_MM[1])
        chosen &= (last - first) * spacing >= _LEAST_WIDTH_MM
        if not chosen.any():
            return {}
        means.append(float(bright[chosen].mean()))
    whole = max(sum(means), 1e-6)
    return {f"surface_brightness_{name}": 4.5 * mean / whole - 1.5 for name, mean in zip(_AXES, means, strict=True)}


def _of_labels(
    labels: npt.NDArray[np.int64], values: npt.NDArray[np.float32], depth: npt.NDArray[np.float64], n_labels: int
) -> dict[int, dict[str, float]]:
    """Share, mean intensity and mean depth of every label; the last two where it occurs."""
    counts, totals, depths = (
        np.bincount(labels, weights=weights, minlength=n_labels + 1) for weights in (None, values, depth)
    )
    found = {n: {"share": float(counts[n]) / labels.size} for n in range(1, n_labels + 1)}
    for n, measures in found.items():
        if counts[n] > 0:
            measures |= {"intensity": float(totals[n] / counts[n]), "depth": float(depths[n] / counts[n])}
    return found


def _unsure_share(posteriors: Posteriors, sampled: npt.NDArray[np.bool_], step: int) -> float:
    """Share of the sampled voxels whose label is right with a probability of less than `UNSURE`."""
    working = Geometry.of(posteriors.scores)
    start = [step // 2 if n > step else 0 for n in working.shape]
    affine = working.affine @ np.diag([step, step, step, 1.0])
    affine[:3, 3] = working.affine[:3] @ [*start, 1.0]
    i, j, k = sampled.shape
    best = posteriors.probabilities(Geometry((i, j, k), affine)).amax(dim=0).cpu().numpy()
    return float((best[sampled] < UNSURE).mean())


def _span(image: MetaTensor, foreground: MetaTensor) -> float:
    """Difference of the percentiles 5 and 95 inside the foreground, from a sample."""
    values = image.as_tensor().cpu().numpy()[foreground.as_tensor().cpu().numpy() > 0]
    low, high = np.percentile(values[:: max(1, values.size // COARSE_VOXELS)], (5, 95))
    return float(high - low)


def edge_strength(image: MetaTensor, foreground: MetaTensor, noise: float) -> float:
    """Root mean square difference of a (1, I, J, K) image's neighbours inside that white `noise` does not explain."""
    voxels, inside = image.as_tensor()[0], foreground.as_tensor()[0] > 0
    squares, count = 0.0, 0
    for axis in range(3):
        planes = (slice(None),) * ((axis + 1) % 3) + (slice(_EVERY_PLANE // 2, None, _EVERY_PLANE),)
        values, kept = voxels[planes], inside[planes]
        n = values.shape[axis]
        both = kept.narrow(axis, 0, n - 1) & kept.narrow(axis, 1, n - 1)
        squares += float((values.diff(dim=axis)[both] ** 2).sum())
        count += int(both.sum())
    return float(max(squares / max(count, 1) - 2 * noise**2, 0.0) ** 0.5)


@torch.no_grad()
def reconstruction_error(network: Autoencoder, prepared: Prepared, *, seed: int = 0) -> float:
    """Mean negative log likelihood of voxels given their surroundings, in nats, on patches spread over the scan."""
    device = next(network.parameters()).device
    both = torch.cat([prepared.network_image.as_tensor(), prepared.foreground.as_tensor()])
    both = functional.pad(both, [p for n in reversed(both.shape[1:]) for p in (0, max(0, _PATCH - n))])
    where = np.flatnonzero(prepared.foreground.as_tensor()[0].cpu().numpy())
    n_patches = int(np.clip(_PATCH_SHARE * both[0].numel() / _PATCH**3, 2, _MAX_PATCHES))
    chosen = np.random.default_rng(seed).choice(where, n_patches)
    centres = np.stack(np.unravel_index(chosen, prepared.network_image.shape[1:]), axis=1)
    starts = np.clip(centres - _PATCH // 2, 0, np.asarray(both.shape[1:]) - _PATCH).tolist()
    places = [(slice(None), *(slice(s, s + _PATCH) for s in start)) for start in starts]
    patches = torch.stack([both[place] for place in places]).to(device)
    return float(loss(network, patches[:, :-1], patches[:, -1:], torch.Generator()))
