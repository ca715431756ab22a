"""Shape of a region by the definitions of the Image Biomarker Standardisation Initiative (IBSI).

Zwanenburg et al., arXiv:1612.07003, section 3.1, and Radiology 295:328, 2020. Names are the symbols of that document.
Left out are the features on whose values the initiative found no consensus: those of the oriented minimum bounding box
and of the minimum volume enclosing ellipsoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

NAMES = (
    "morph_vol", "morph_approx_vol", "morph_area", "morph_av", "morph_comp_1", "morph_comp_2", "morph_sph_dispr",
    "morph_sphericity", "morph_asphericity", "morph_diam", "morph_pca_major", "morph_pca_minor", "morph_pca_least",
    "morph_pca_elongation", "morph_pca_flatness", "morph_v_dens_aabb", "morph_a_dens_aabb", "morph_v_dens_aee",
    "morph_a_dens_aee", "morph_v_dens_conv_hull", "morph_a_dens_conv_hull",
)  # fmt: skip
Points = npt.NDArray[np.float64]
_PIECE = 500_000
_MOST_PAIRS = 4_000_000
_DEGREES = 20
"""Of the series for the area of an ellipsoid, as the IBSI has it."""


class Solid(NamedTuple):
    """Volume in mm3 and surface area in mm2."""

    volume: float
    area: float


def morphology(inside: npt.NDArray[np.bool_], spacing_mm: Sequence[float]) -> dict[str, float]:
    """`NAMES` of an (I, J, K) region with at least one voxel, in mm; axis-aligned means along the voxel axes.

    The surface is that of marching cubes at half height (Lewiner et al., J Graph Tools 8:1, 2003). What is a ratio to
    the axes of a region that has no extent along one is left out.
    """
    from skimage.measure import marching_cubes

    spacing = np.asarray(spacing_mm, dtype=np.float64)
    points, faces, _, _ = marching_cubes(np.pad(inside, 1).astype(np.float32), 0.5, spacing=tuple(spacing))
    corners = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    mesh, hull = mesh_of(corners, faces), ConvexHull(corners)
    volume, area = mesh
    compactness = 36 * pi * volume**2 / area**3
    box = corners.max(axis=0) - corners.min(axis=0)
    found = {
        "morph_vol": volume, "morph_approx_vol": float(inside.sum() * spacing.prod()),
        "morph_area": area, "morph_av": area / volume,
        "morph_comp_1": volume / (pi**0.5 * area**1.5), "morph_comp_2": compactness,
        "morph_sph_dispr": compactness ** (-1 / 3), "morph_sphericity": compactness ** (1 / 3),
        "morph_asphericity": compactness ** (-1 / 3) - 1,
        "morph_diam": largest_distance(corners[hull.vertices]),
        "morph_v_dens_aabb": volume / float(box.prod()),
        "morph_a_dens_aabb": area / float(2 * (box[0] * box[1] + box[1] * box[2] + box[0] * box[2])),
        "morph_v_dens_conv_hull": volume / float(hull.volume), "morph_a_dens_conv_hull": area / float(hull.area),
    }  # fmt: skip
    return {**found, **_axes(inside, spacing, mesh)}


def mesh_of(points: Points, faces: npt.NDArray[np.integer]) -> Solid:
    """The closed surface of (F, 3) triangles between (P, 3) points; piece by piece."""
    volume = area = 0.0
    for start in range(0, len(faces), _PIECE):
        a, b, c = (points[faces[start : start + _PIECE, n]] for n in range(3))
        volume += float((a * np.cross(b, c)).sum()) / 6
        area += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2
    return Solid(abs(volume), area)


def largest_distance(points: Points) -> float:
    """Between two of (P, 3) points; in memory that does not grow with their square."""
    rows = max(1, _MOST_PAIRS // len(points))
    squares = (points**2).sum(axis=1)
    most = 0.0
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        apart = squares[part, None] + squares[None] - 2 * points[part] @ points.T
        most = max(most, float(apart.max()))
    return float(np.sqrt(most))


def _axes(inside: npt.NDArray[np.bool_], spacing: Points, mesh: Solid) -> dict[str, float]:
    """Lengths of the principal axes, and what is made of them."""
    variances = np.sort(np.linalg.eigvalsh(_covariance(inside, spacing)))[::-1].clip(0)
    major, minor, least = (4 * np.sqrt(variances)).tolist()
    found = {"morph_pca_major": major, "morph_pca_minor": minor, "morph_pca_least": least}
    if major > 0:
        found |= {"morph_pca_elongation": minor / major, "morph_pca_flatness": least / major}
    if least > 1e-9 * max(major, 1e-9):
        ellipsoid = ellipsoid_of(major / 2, minor / 2, least / 2)
        found |= {
            "morph_v_dens_aee": mesh.volume / ellipsoid.volume,
            "morph_a_dens_aee": mesh.area / ellipsoid.area,
        }
    return found


def _covariance(inside: npt.NDArray[np.bool_], spacing: Points) -> Points:
    """(3, 3) of the centres of the voxels, in mm2, divided by their number less one; summed plane by plane.

    The definition leaves the divisor open; only with this one the published axes of the digital phantom come out.
    """
    total, first, second = 0, np.zeros(3), np.zeros((3, 3))
    middle = (np.asarray(inside.shape) - 1) / 2
    for number, plane in enumerate(inside):
        at = np.argwhere(plane)
        centres = (np.column_stack([np.full(len(at), number), at]) - middle) * spacing
        total += len(at)
        first += centres.sum(axis=0)
        second += centres.T @ centres
    return np.asarray((second - np.outer(first, first) / total) / max(total - 1, 1))


def ellipsoid_of(a: float, b: float, c: float) -> Solid:
    """An ellipsoid of the semi-axes a >= b >= c > 0, its area by the series of Legendre polynomials of the IBSI.

    The IBSI takes both eccentricities relative to a. The series gives the true area with eccentricities relative to c;
    as defined it is exact for a sphere only, and the published values are those of the definition.
    """
    alpha, beta = 1 - (b / a) ** 2, 1 - (c / a) ** 2
    half, product = (alpha + beta) / 2, alpha * beta
    # (alpha beta)^(n/2) times the n-th polynomial, by their recurrence: no division by an eccentricity of 0.
    before, term, total = 0.0, 1.0, 1.0
    for degree in range(_DEGREES):
        before, term = term, ((2 * degree + 1) * half * term - degree * product * before) / (degree + 1)
        total += term / (1 - 4 * (degree + 1) ** 2)
    return Solid(4 / 3 * pi * a * b * c, 4 * pi * a * b * total)
