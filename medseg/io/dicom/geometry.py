"""Do the slices of a series form one regular volume, and where does it lie: positions only, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.spatial.geometry import SHEAR_TOLERANCE, FloatArray, Geometry

MIN_SLICES = 3
"""Two slices cannot show whether one is missing between them, and no organ."""
COSINE_TOLERANCE = 1e-2
"""Direction cosines may be rounded to two decimals; anything worse is not a pair of orthogonal unit vectors."""
SAME_PLACE_MM = 0.01
"""Slices closer than this lie at the same position: no scanner steps by less."""
GAP_TOLERANCE = 0.01
"""A gap between two slices may differ by this share of the usual one, as in highdicom and dcm2niix."""
GAP_TOLERANCE_MM = 0.02
"""... or by this much, the most that oblique positions written with two decimals differ from the truth."""
PLACE_TOLERANCE_MM = 0.05
"""How far a slice may lie from its place on the regular grid, so that small steps cannot add up."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""DICOM's x and y point to the left and to the back, medseg's to the right and to the front."""


def slice_axes(orientation: Sequence[float]) -> FloatArray:
    """(3, 3) rows in LPS+: unit direction of increasing columns, of increasing rows, and the slice normal.

    Raises:
        InputError: ``no_geometry``.
    """
    along_row, along_column = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    products = np.array([along_row @ along_row - 1, along_column @ along_column - 1, along_row @ along_column])
    if np.abs(products).max() > COSINE_TOLERANCE:
        values = ", ".join(f"{cosine:g}" for cosine in orientation)
        message = f"the image orientation is ({values}), expected two orthogonal unit vectors; export the series again"
        raise InputError(message, code="no_geometry")
    along_row = along_row / np.linalg.norm(along_row)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    return np.stack([along_row, np.cross(normal, along_row), normal])


def place_slices(
    positions_mm: FloatArray,
    axes: FloatArray,
    pixel_spacing_mm: Sequence[float],
    matrix: tuple[int, int],
    phases: Sequence[Hashable],
) -> Geometry:
    """Fit the grid of slices in ascending order along the normal.

    Args:
        positions_mm: (N, 3) centres of the first voxels, LPS+.
        axes: of `slice_axes`.
        pixel_spacing_mm: distance between rows, between columns (DICOM's order).
        matrix: number of columns (i), of rows (j).
        phases: of each slice, what tells the volumes of one series apart.

    Raises:
        InputError: the slices are not one regular volume; `code` says why.
    """
    check_sizes(len(positions_mm), pixel_spacing_mm, matrix)
    along, beside = positions_mm @ axes[2], positions_mm @ axes[:2].T
    check_repeats(along, beside, phases)
    step_mm = (positions_mm[-1] - positions_mm[0]) / (len(positions_mm) - 1)
    check_line(along, beside)
    _check_tilt(along, beside)
    check_gaps(along)
    _check_places(along)
    if np.linalg.norm(step_mm @ axes[:2].T) > SHEAR_TOLERANCE * (step_mm @ axes[2]):
        # A sideways drift that only rounding explains, else it were refused.
        step_mm = (step_mm @ axes[2]) * axes[2]
    return stack_geometry(positions_mm[0], axes, pixel_spacing_mm, step_mm, (*matrix, len(positions_mm)))


def stack_geometry(
    first_mm: FloatArray,
    axes: FloatArray,
    pixel_spacing_mm: Sequence[float],
    step_mm: FloatArray,
    shape: tuple[int, int, int],
) -> Geometry:
    """The grid of `shape` whose first voxel lies at `first_mm` and whose slices are `step_mm` apart, both LPS+."""
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ axes[0] * pixel_spacing_mm[1]
    affine[:3, 1] = LPS_TO_RAS @ axes[1] * pixel_spacing_mm[0]
    affine[:3, 2] = LPS_TO_RAS @ step_mm
    affine[:3, 3] = LPS_TO_RAS @ first_mm
    return Geometry(shape, affine)


def check_sizes(n_slices: int, pixel_spacing_mm: Sequence[float], matrix: tuple[int, int]) -> None:
    """Refuse fewer slices or pixels than a volume needs."""
    if n_slices < MIN_SLICES:
        found = "one slice" if n_slices == 1 else f"{n_slices} slices"
        message = f"found {found}, expected at least {MIN_SLICES}; export the whole series"
        raise InputError(message, code="not_a_volume")
    if min(pixel_spacing_mm) <= 0 or min(matrix) < 2:
        message = (
            f"found {matrix[0]} x {matrix[1]} pixels of {pixel_spacing_mm[1]:g} x {pixel_spacing_mm[0]:g} mm, "
            "expected at least 2 x 2 of positive size; export the series again"
        )
        raise InputError(message, code="no_geometry")


def check_repeats(along: FloatArray, beside: FloatArray, phases: Sequence[Hashable]) -> None:
    """Refuse several slices at one position."""
    is_repeat = (np.diff(along) < SAME_PLACE_MM) & (np.abs(np.diff(beside, axis=0)).max(axis=1) < SAME_PLACE_MM)
    if not is_repeat.any():
        return
    place = np.concatenate([[0], np.cumsum(~is_repeat)])
    counts = np.bincount(place)
    if len(counts) == 1:
        message = f"all {len(along)} slices lie at one position, expected a stack of slices; leave the series out"
        raise InputError(message, code="not_a_volume")
    is_each_phase_once = len(set(zip(place, phases, strict=True))) == len(along) and len(set(phases)) > 1
    if counts.min() == counts.max() or (is_each_phase_once and min(Counter(phases).values()) >= MIN_SLICES):
        message = (
            f"{counts.max()} volumes of {len(counts)} slices lie at the same positions (echoes, time points or "
            "b-values), expected one volume; export each as a series of its own"
        )
        raise InputError(message, code="several_volumes")
    first = int(is_repeat.argmax())
    message = (
        f"slices {first + 1} and {first + 2} lie at the same position, expected one slice at each of the "
        f"{len(counts)} positions; remove the copies or export the series again"
    )
    raise InputError(message, code="duplicate_positions")


def check_line(along: FloatArray, beside: FloatArray) -> None:
    """Refuse slices beside the line from the first to the last."""
    if along[-1] - along[0] < SAME_PLACE_MM:
        message = f"all {len(along)} slices lie in one plane, expected a stack of slices; leave the series out"
        raise InputError(message, code="not_a_volume")
    share = (along - along[0]) / (along[-1] - along[0])
    drift_mm = beside[-1] - beside[0]
    off_line_mm = np.linalg.norm(beside - beside[0] - np.outer(share, drift_mm), axis=1)
    worst = int(off_line_mm.argmax())
    if off_line_mm[worst] > PLACE_TOLERANCE_MM:
        message = (
            f"slice {worst + 1} lies {off_line_mm[worst]:.3g} mm beside the line from the first to the last slice, "
            f"expected at most {PLACE_TOLERANCE_MM} mm; export the series again"
        )
        raise InputError(message, code="nonuniform_spacing")


def _check_tilt(along: FloatArray, beside: FloatArray) -> None:
    """Refuse a stack that does not follow the slice normal."""
    drift_mm = beside[-1] - beside[0]
    slope = float(np.linalg.norm(drift_mm) / (along[-1] - along[0]))
    if slope > SHEAR_TOLERANCE and np.linalg.norm(drift_mm) > PLACE_TOLERANCE_MM:
        message = (
            f"the slices lean by {np.degrees(np.arctan(slope)):.3g} degrees against their stacking direction "
            "(gantry tilt), expected right angles; reconstruct the series without tilt"
        )
        raise InputError(message, code="gantry_tilt")


def check_gaps(along: FloatArray) -> None:
    """Refuse missing slices and unequal gaps."""
    gaps_mm = np.diff(along)
    usual_mm = float(np.median(gaps_mm))
    if _is_near(gaps_mm, usual_mm).all():
        return
    smallest_mm = float(gaps_mm.min())
    if smallest_mm < SAME_PLACE_MM:
        _refuse_uneven(gaps_mm, usual_mm)
    # The median of the single gaps, not the smallest, so that rounding does not multiply.
    single_mm = float(np.median(gaps_mm[np.round(gaps_mm / smallest_mm) == 1]))
    multiples = np.round(gaps_mm / single_mm)
    if not (_is_near(gaps_mm / multiples, single_mm)).all() or multiples.max() < 2:
        _refuse_uneven(gaps_mm, usual_mm)
    widest = int(multiples.argmax())
    n_missing = int((multiples - 1).sum())
    message = (
        f"gap of {gaps_mm[widest]:.6g} mm between slices {widest + 1} and {widest + 2}, elsewhere "
        f"{single_mm:.6g} mm ({n_missing} missing); the series is incomplete, export it again"
    )
    raise InputError(message, code="missing_slices")


def _is_near(gaps_mm: FloatArray, expected_mm: float) -> npt.NDArray[np.bool_]:
    is_near: npt.NDArray[np.bool_] = np.abs(gaps_mm - expected_mm) <= max(GAP_TOLERANCE * expected_mm, GAP_TOLERANCE_MM)
    return is_near


def _refuse_uneven(gaps_mm: FloatArray, usual_mm: float) -> NoReturn:
    worst = int(np.abs(gaps_mm - usual_mm).argmax())
    message = (
        f"slice distances from {gaps_mm.min():.6g} to {gaps_mm.max():.6g} mm, {gaps_mm[worst]:.6g} mm between "
        f"slices {worst + 1} and {worst + 2}, expected equal ones; reconstruct the series with one distance"
    )
    raise InputError(message, code="nonuniform_spacing")


def _check_places(along: FloatArray) -> None:
    """Refuse slices that small steps have carried off the regular grid from the first to the last."""
    spacing_mm = float(along[-1] - along[0]) / (len(along) - 1)
    off_grid_mm = np.abs(along - along[0] - spacing_mm * np.arange(len(along)))
    worst = int(off_grid_mm.argmax())
    allowed_mm = max(PLACE_TOLERANCE_MM, GAP_TOLERANCE * spacing_mm)
    if off_grid_mm[worst] > allowed_mm:
        message = (
            f"slice {worst + 1} lies {off_grid_mm[worst]:.3g} mm off a regular spacing of {spacing_mm:.6g} mm, "
            f"expected at most {allowed_mm:.3g} mm; reconstruct the series with one distance"
        )
        raise InputError(message, code="nonuniform_spacing")
