"""From tilted or unevenly spaced slices to a regular grid at right angles, on request only.

The new grid keeps the pixels of the first slice and stacks them along the slice normal, so that a tilt moves
voxels along one in-plane axis and nothing is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.io.dicom.geometry import (
    PLACE_TOLERANCE_MM,
    check_gaps,
    check_line,
    check_repeats,
    check_sizes,
    stack_geometry,
)
from medseg.spatial.geometry import FloatArray, Geometry

MAX_TILT_DEGREES = 45.0
"""No gantry leans further than 30 degrees."""
MAX_GAP_RATIO = 3.0
"""A gap wider than this many usual ones is a hole that interpolation would only paint over."""


@dataclass(frozen=True, eq=False)
class Regrid:
    """How slices as stored become a regular volume.

    Attributes:
        source: the grid on which the slices would lie with equal gaps; its k axis leans with the tilt.
        slices: (K,) where on that k axis each stored slice lies, ascending from 0.
        target: the regular grid.
        report: what is done, in one sentence.
        worst_mm: how far a reader that takes the slices for a regular stack would misplace the worst of them.
    """

    source: Geometry
    slices: FloatArray
    target: Geometry
    report: str
    worst_mm: float

    def apply(self, voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(I, J, K) stored slices -> voxels on `target`; where no slice reaches, the smallest value."""
        import torch  # here: judging headers needs none of this
        from monai.data.meta_tensor import MetaTensor

        from medseg.spatial.resample import resample

        image = MetaTensor(torch.from_numpy(voxels[None]), affine=torch.from_numpy(self.source.affine.copy()))
        out: npt.NDArray[np.float32] = resample(image, self.target, slices=self.slices).as_tensor()[0].numpy()
        out[_outside(self.source, self.target)] = voxels.min()
        return out


def _outside(source: Geometry, target: Geometry) -> npt.NDArray[np.bool_]:
    """Which voxels of the target lie beside the slices; both grids have the same in-plane axes."""
    step = np.linalg.inv(source.affine) @ target.affine
    i, j, k = (np.arange(n) for n in target.shape)
    along_i = i[:, None] * step[0, 0] + k * step[0, 2] + step[0, 3]
    along_j = j[:, None] * step[1, 1] + k * step[1, 2] + step[1, 3]
    outside_i = (along_i < -0.5) | (along_i > source.shape[0] - 0.5)
    outside_j = (along_j < -0.5) | (along_j > source.shape[1] - 0.5)
    return np.asarray(outside_i[:, None] | outside_j[None])


def plan_regrid(
    positions_mm: FloatArray, axes: FloatArray, pixel_spacing_mm: Sequence[float], matrix: tuple[int, int]
) -> Regrid:
    """Choose the regular grid of slices in ascending order along the normal; arguments of `series.place_slices`.

    Raises:
        InputError: the slices repeat, lie beside one line, miss some of theirs, or leave a hole.
    """
    check_sizes(len(positions_mm), pixel_spacing_mm, matrix)
    along, beside = positions_mm @ axes[2], positions_mm @ axes[:2].T
    check_repeats(along, beside, [""] * len(along))
    check_line(along, beside)
    gaps_mm = np.diff(along)
    spacing_mm = _spacing(gaps_mm)
    degrees = _check_angle(along, beside)
    direction = (positions_mm[-1] - positions_mm[0]) / (along[-1] - along[0])
    source = stack_geometry(
        positions_mm[0], axes, pixel_spacing_mm, direction * spacing_mm, (*matrix, len(positions_mm))
    )
    target = _target(positions_mm, axes, pixel_spacing_mm, matrix, spacing_mm)
    regular = positions_mm[0] + np.outer(np.arange(len(along)) * gaps_mm.mean(), axes[2])
    worst_mm = float(np.linalg.norm(positions_mm - regular, axis=1).max())
    report = (
        f"regridded: {len(along)} slices that lean by {degrees:.3g} degrees, {gaps_mm.min():.4g} to "
        f"{gaps_mm.max():.4g} mm apart, became {target.shape[2]} of {target.spacing_mm[2]:.4g} mm at right angles; "
        f"taken for a regular stack the worst slice would lie {worst_mm:.3g} mm off"
    )
    return Regrid(source, (along - along[0]) / spacing_mm, target, report, worst_mm)


def _spacing(gaps_mm: FloatArray) -> float:
    """The usual gap.

    Raises:
        InputError: ``missing_slices``, or ``nonuniform_spacing`` when there is a hole.
    """
    usual_mm, widest = float(np.median(gaps_mm)), int(gaps_mm.argmax())
    try:
        check_gaps(np.concatenate([[0.0], np.cumsum(gaps_mm)]))
    except InputError as error:
        if error.code == "missing_slices":
            raise
    if gaps_mm[widest] > MAX_GAP_RATIO * usual_mm:
        message = (
            f"gap of {gaps_mm[widest]:.4g} mm between slices {widest + 1} and {widest + 2}, usually {usual_mm:.4g} mm: "
            f"too wide to regrid, expected at most {MAX_GAP_RATIO:g} times the usual; export the series again"
        )
        raise InputError(message, code="nonuniform_spacing")
    return usual_mm


def _check_angle(along: FloatArray, beside: FloatArray) -> float:
    """The angle in degrees between the stack and its slice normal."""
    drift_mm = float(np.linalg.norm(beside[-1] - beside[0]))
    degrees = float(np.degrees(np.arctan2(drift_mm, along[-1] - along[0])))
    if degrees > MAX_TILT_DEGREES:
        message = (
            f"the slices lean by {degrees:.3g} degrees, expected at most {MAX_TILT_DEGREES:g} for a gantry; "
            "export the series again"
        )
        raise InputError(message, code="gantry_tilt")
    return degrees


def _target(
    positions_mm: FloatArray,
    axes: FloatArray,
    pixel_spacing_mm: Sequence[float],
    matrix: tuple[int, int],
    spacing_mm: float,
) -> Geometry:
    """The grid of the first slice's pixels, widened by whole pixels to hold all slices, with the first and the last."""
    travel_mm = positions_mm[-1] - positions_mm[0]
    pixel_mm = np.array([pixel_spacing_mm[1], pixel_spacing_mm[0]])
    drift_mm = axes[:2] @ travel_mm
    drift_mm[np.abs(drift_mm) <= PLACE_TOLERANCE_MM] = 0.0
    more = np.ceil(np.abs(drift_mm) / pixel_mm)
    first_mm = positions_mm[0] + (np.where(drift_mm < 0, -more, 0.0) * pixel_mm) @ axes[:2]
    height_mm = float(axes[2] @ travel_mm)
    n_gaps = max(1, round(height_mm / spacing_mm))
    shape = (int(matrix[0] + more[0]), int(matrix[1] + more[1]), n_gaps + 1)
    return stack_geometry(first_mm, axes, pixel_spacing_mm, axes[2] * height_mm / n_gaps, shape)
