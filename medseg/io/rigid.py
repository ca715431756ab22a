"""Rigid registration of two images of one patient by mutual information, the same on every run.

Mattes mutual information (Mattes et al., IEEE TMI 22:120, 2003) as ITK computes it, from coarse to fine, each image
smoothed and thinned out along its own axes so that thick slices stay what they are. Samples are drawn with a fixed
seed and one thread, so that a second run, on many cores or few, gives the same transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage

from medseg.errors import InputError
from medseg.spatial.geometry import FloatArray, Geometry

LEVELS_MM = (6.0, 3.0, 1.5)
"""Spacing that both images are thinned out to, where their own is finer."""
BINS = 40
SAMPLES = 40_000
"""Voxels of the fixed image that one step looks at."""
STEPS = 300
FIRST_STEP, LAST_STEP, RELAXATION = 2.0, 0.001, 0.8
"""Length of the optimiser's step in mm: of the first one, at which it has converged, and how it shortens at a turn.
With a relaxation of .6 it stopped short of the optimum of a phantom of ellipsoids, 2 to 7 mm away."""
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's convention; medseg's is RAS+."""


class Moved(NamedTuple):
    """Where a registration ended.

    Attributes:
        matrix: (4, 4), RAS+ mm of the fixed image -> RAS+ mm of the moving one.
        n_steps: of the last level.
    """

    matrix: FloatArray
    n_steps: int

    @property
    def is_converged(self) -> bool:
        """Whether the steps became as short as `LAST_STEP` before they were `STEPS`."""
        return self.n_steps < STEPS


class Pair:
    """Two images, and the pyramids made of them once."""

    def __init__(self, fixed: MetaTensor, moving: MetaTensor) -> None:
        """Take (1, I, J, K) images; what is fixed gives the frame.

        Raises:
            InputError: ``not_aligned``: there is nothing but one intensity in one of them.
        """
        self.inside = [foreground_points(image) for image in (fixed, moving)]
        self.levels = [(_level(fixed, mm), _level(moving, mm), _region(fixed, self.inside[0], mm)) for mm in LEVELS_MM]

    @property
    def centres(self) -> tuple[FloatArray, FloatArray]:
        """Mean of the foreground of both images in RAS+ mm."""
        return self.inside[0].mean(axis=0), self.inside[1].mean(axis=0)

    def register(self, start: FloatArray, *, seed: int, levels: Sequence[int] = range(len(LEVELS_MM))) -> Moved:
        """Register from a start, level by level.

        Args:
            start: (4, 4), RAS+ mm of the fixed image -> RAS+ mm of the moving one.
            levels: places in `LEVELS_MM`.

        Raises:
            InputError: ``not_aligned``: the images do not overlap there.
        """
        matrix, n_steps = start, 0
        with one_thread():
            for number in levels:
                matrix, n_steps = _one_level(self.levels[number], matrix, self.centres[0], seed + number)
        return Moved(matrix, n_steps)

    def information(self, matrix: FloatArray, *, level: int = -1) -> float:
        """Mutual information in nats under a transform, at one of the levels."""
        fixed, moving, region = self.levels[level]
        method = _method(region, seed=1)
        method.SetInitialTransform(_transform(matrix, self.centres[0]), inPlace=False)
        with one_thread():
            try:
                return -float(method.MetricEvaluate(fixed, moving))
            except RuntimeError:  # the images do not overlap
                return 0.0


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK compute in one thread: several add up in another order each time, and its metric heeds only this."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def foreground_points(image: MetaTensor, n_points: int = 4000) -> FloatArray:
    """(N, 3) RAS+ mm of voxels that are brighter than a tenth of the scan's range, evenly thinned out.

    Raises:
        InputError: ``not_aligned``: there are none.
    """
    voxels = image.as_tensor()[0].numpy()
    low, high = np.percentile(voxels[::2, ::2, ::2], (0.5, 99.5))
    places = np.argwhere(voxels > low + 0.1 * (high - low))
    if not high > low or not len(places):
        raise InputError("found a channel with one intensity nearly everywhere, expected an image to register; leave "
                         "it out", code="not_aligned")  # fmt: skip
    return Geometry.of(image).to_world(places[:: max(1, len(places) // n_points)])


def _level(image: MetaTensor, spacing_mm: float) -> sitk.Image:
    """The image smoothed and thinned out to about a spacing, its brightest and darkest voxels cut off."""
    voxels, geometry = image.as_tensor()[0].numpy().astype(np.float32), Geometry.of(image)
    low, high = np.percentile(voxels, (0.5, 99.8))
    factors = _factors(geometry, spacing_mm)
    sigma = [0.5 * (factor**2 - 1) ** 0.5 for factor in factors]
    smooth = ndimage.gaussian_filter(np.clip(voxels, low, max(high, low + 1e-6)), sigma, mode="nearest")
    return _image(smooth[_thinned(factors)], geometry, factors)


def _region(image: MetaTensor, inside_mm: FloatArray, spacing_mm: float) -> sitk.Image:
    """Where the fixed image is looked at: the box of its foreground, some voxels wider."""
    geometry = Geometry.of(image)
    factors = _factors(geometry, spacing_mm)
    places = geometry.to_index(inside_mm)
    margin = 2 * np.maximum(factors, 5.0 / np.asarray(geometry.spacing_mm))
    low = np.maximum(places.min(axis=0) - margin, 0).astype(int)
    high = np.ceil(places.max(axis=0) + margin).astype(int) + 1
    region = np.zeros(geometry.shape, dtype=np.uint8)
    region[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return _image(region[_thinned(factors)], geometry, factors)


def _factors(geometry: Geometry, spacing_mm: float) -> npt.NDArray[np.int_]:
    """How many voxels become one along each axis."""
    wanted = np.maximum(1, np.floor(spacing_mm / np.asarray(geometry.spacing_mm) + 1e-6)).astype(int)
    most = np.maximum(1, np.asarray(geometry.shape) // 4)
    return np.asarray(np.minimum(wanted, most), dtype=np.int_)


def _thinned(factors: npt.NDArray[np.int_]) -> tuple[slice, ...]:
    return tuple(slice(None, None, int(factor)) for factor in factors)


def _image(voxels: npt.NDArray[np.generic], geometry: Geometry, factors: npt.NDArray[np.int_]) -> sitk.Image:
    """(I, J, K) voxels that are every so many of a grid, as ITK has them."""
    affine = _LPS @ geometry.affine @ np.diag([*factors, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def _method(region: sitk.Image, *, seed: int) -> sitk.ImageRegistrationMethod:
    """Mutual information over samples of the region, drawn with a seed."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    n_voxels = max(1, int(np.prod(region.GetSize())))
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / n_voxels), seed)
    method.SetMetricFixedMask(region)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _one_level(
    level: tuple[sitk.Image, sitk.Image, sitk.Image], start: FloatArray, centre: FloatArray, seed: int
) -> tuple[FloatArray, int]:
    """The transform, and how many steps it took."""
    fixed, moving, region = level
    method = _method(region, seed=seed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=FIRST_STEP, minStep=LAST_STEP, numberOfIterations=STEPS, relaxationFactor=RELAXATION,
        gradientMagnitudeTolerance=1e-9,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(_transform(start, centre), inPlace=False)
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError:
        raise InputError("found no overlap of the channels while they were registered, expected images of one part of "
                         "the body; check the files", code="not_aligned") from None  # fmt: skip
    return _matrix(found), int(method.GetOptimizerIteration())


def _transform(matrix: FloatArray, centre: FloatArray) -> sitk.Euler3DTransform:
    """A rigid (4, 4) in RAS+ mm as ITK has it, turning about a point of the fixed image."""
    lps = _LPS @ matrix @ _LPS
    pivot = (_LPS @ [*centre, 1.0])[:3]
    transform = sitk.Euler3DTransform()
    transform.SetCenter(pivot.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((lps[:3, :3] @ pivot + lps[:3, 3] - pivot).tolist())
    return transform


def _matrix(transform: sitk.Transform) -> FloatArray:
    """The (4, 4) of a transform in RAS+ mm."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return np.asarray(_LPS @ matrix @ _LPS, dtype=np.float64)
