"""DICOM segmentations (SEG, PS3.3 A.51 and A.90) on the grid of a label map, referring to the series it came from.

highdicom builds them; what it wrote is read back and compared voxel by voxel before the file appears, because
highdicom 0.28 replaces the slice spacing of a new grid by that of the source when their pixel spacing agrees.
DICOM counts world axes as LPS+ and frames as (slice, row, column); everywhere else medseg uses RAS+ and (i, j, k).
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import format_number_as_ds
from scipy import ndimage

from medseg.errors import InputError
from medseg.io.atomic import whole_file
from medseg.io.dicom_seg.segments import describe_segments
from medseg.io.dicom_seg.source import read_sources
from medseg.io.label_volumes import LabelArray, as_labels, check_label_map
from medseg.labels.table import LabelTable
from medseg.spatial.geometry import Geometry
from medseg.version import __version__

log = logging.getLogger(__name__)

Kind = Literal["labelmap", "binary"]
LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, newer than pydicom 3.0."""
TOLERANCE_MM = 0.1
"""How far a voxel of the file may lie from its place: the rounding of positions in the source's headers."""
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_KJI = [2, 1, 0, 3]


def seg_series_uid(source_series_uid: str, model: str) -> str:
    """The series that holds the segmentation of a series by a model: always the same, so that it can be looked up."""
    return str(generate_uid(entropy_srcs=["medseg segmentation", source_series_uid, model]))


def write_dicom_seg(
    labels: npt.ArrayLike | torch.Tensor,
    geometry: Geometry,
    table: LabelTable,
    path: Path,
    *,
    sources: Sequence[Path],
    model: str = "",
    kind: Kind = "labelmap",
) -> None:
    """Write an (I, J, K) label map as a DICOM segmentation; labels that do not occur get no segment.

    Args:
        labels: whole numbers 0..65535 on the grid `geometry`, each of them in `table`.
        geometry: an orthogonal grid in the sources' frame of reference; need not be their grid.
        table: names, colours and codes.
        sources: the files of the one series that was segmented.
        model: fingerprint of the model.
        kind: ``labelmap`` (one frame a slice, RLE lossless, segment numbers are label numbers), or ``binary`` for
            older readers (one frame a segment and slice, segments numbered from 1 without gaps).

    Raises:
        ValueError: the values are no labels or do not fit the grid or the table.
        InputError: ``no_reference`` when the sources cannot be referred to, ``no_labels`` when no voxel is
            labelled, ``sheared_affine``, or ``dicomseg_failed`` when what was written does not read back right.
        OutputError: the file cannot be written.
    """
    array = as_labels(labels)
    check_label_map(array, geometry, table)
    boxes = ndimage.find_objects(array)
    present = [label for label in table if label.number <= len(boxes) and boxes[label.number - 1]]
    if not present:
        raise InputError("no voxel is labelled, so there is no DICOM segmentation to write", code="no_labels")
    numbers = {label.number: n if kind == "binary" else label.number for n, label in enumerate(present, 1)}
    stored = _renumbered(array, numbers)
    with warnings.catch_warnings(), pydicom_config.disable_value_validation():
        warnings.simplefilter("ignore")
        originals = read_sources(sources)
        descriptions = describe_segments([(numbers[label.number], label) for label in present], model)
        series_uid = seg_series_uid(originals[0].SeriesInstanceUID, model)
        content = hashlib.sha256(np.ascontiguousarray(stored).tobytes() + table.model_dump_json().encode()).hexdigest()
        uids = series_uid, str(generate_uid(entropy_srcs=[series_uid, kind, __version__, content, repr(geometry)]))
        with whole_file(path) as temporary:
            _build(stored, geometry, originals, descriptions, kind=kind, uids=uids).save_as(temporary)
            _check_file(temporary, stored, geometry)


def read_dicom_seg(path: Path) -> tuple[LabelArray, Geometry]:
    """Read a segmentation without overlaps: (I, J, K) segment numbers and the grid that its frames span.

    Slices ascend along the slice normal, as `read_scan` orders those of a series.

    Raises:
        InputError: ``corrupt_file`` when it is no segmentation or its frames form no regular grid.
    """
    import highdicom

    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    except OSError:
        raise
    # highdicom raises many kinds for damaged files.
    except Exception as error:
        log.debug("%s: %r", path, error)
        message = f"{path.name}: not a DICOM segmentation of one regular grid; write it again"
        raise InputError(message, code="corrupt_file") from error
    affine = _LPS_FROM_RAS @ np.asarray(volume.affine)[:, _KJI]
    voxels = as_labels(np.asarray(volume.array).transpose(2, 1, 0))
    if np.cross(affine[:3, 0], affine[:3, 1]) @ affine[:3, 2] < 0:
        affine[:3, 3] += affine[:3, 2] * (voxels.shape[2] - 1)
        affine[:3, 2] *= -1
        voxels = np.flip(voxels, 2)
    return voxels, Geometry((voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine)


def _renumbered(labels: LabelArray, numbers: dict[int, int]) -> LabelArray:
    lookup = np.zeros(int(labels.max()) + 1, dtype=labels.dtype)
    for label, number in numbers.items():
        lookup[label] = number
    renumbered: LabelArray = lookup[labels]
    return renumbered


def _build(
    labels: LabelArray,
    geometry: Geometry,
    sources: list[Dataset],
    descriptions: list[Any],
    *,
    kind: Kind,
    uids: tuple[str, str],
) -> Any:
    """The object of highdicom with the right slice spacing."""
    import highdicom

    is_binary = kind == "binary"
    volume = highdicom.Volume(
        np.ascontiguousarray(labels.transpose(2, 1, 0)),
        (_LPS_FROM_RAS @ geometry.affine)[:, _KJI],
        coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
    )
    try:
        built = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=volume,
            segmentation_type="BINARY" if is_binary else "LABELMAP",
            segment_descriptions=descriptions,
            series_instance_uid=uids[0],
            series_number=1000 + min(abs(int(sources[0].get("SeriesNumber") or 0)), 10**8),
            sop_instance_uid=uids[1],
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name="medseg",
            software_versions=__version__,
            device_serial_number="0",
            content_label="MEDSEG",
            content_description="Label-free segmentation, not for diagnosis",
            series_description="medseg segmentation",
            specific_character_set="ISO_IR 192",
            transfer_syntax_uid=ExplicitVRLittleEndian if is_binary else RLELossless,
            omit_empty_frames=is_binary,
        )
    # highdicom raises many kinds for sources that it cannot refer to.
    except Exception as error:
        log.debug("highdicom: %r", error)
        message = f"highdicom cannot refer to this source ({type(error).__name__}); write another format"
        raise InputError(message, code="no_reference") from error
    _set_spacing(built, geometry.spacing_mm[2])
    return built


def _set_spacing(built: Any, spacing_mm: float) -> None:
    """The slices of a label map have no gaps, whatever highdicom took over from the source."""
    measures = built.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = measures.SliceThickness = format_number_as_ds(spacing_mm)


def _check_file(path: Path, labels: LabelArray, geometry: Geometry) -> None:
    """Refuse a file that does not hold `labels` on `geometry`, voxel by voxel."""
    found, grid = read_dicom_seg(path)
    placed = _placed(found, grid, geometry)
    if placed is None or not np.array_equal(placed, labels):
        message = (
            f"the DICOM segmentation reads back as {grid}, expected the labels on {geometry}; write another format"
        )
        raise InputError(message, code="dicomseg_failed")


def _placed(found: LabelArray, grid: Geometry, geometry: Geometry) -> LabelArray | None:
    """`found` on a part of `geometry`, perhaps with axes turned round -> on all of it; None when it lies elsewhere."""
    to_index = np.linalg.inv(geometry.affine) @ grid.affine
    rounded = np.round(to_index)
    signs = np.diag(rounded)[:3].astype(int)
    is_aligned = np.array_equal(np.abs(rounded[:3, :3]), np.eye(3))
    if not is_aligned or not Geometry(grid.shape, geometry.affine @ rounded).is_close(grid, TOLERANCE_MM):
        return None
    last = rounded[:3, 3] + signs * (np.asarray(grid.shape) - 1)
    start = np.minimum(rounded[:3, 3], last).astype(int)
    inside = tuple(slice(int(a), int(a) + n) for a, n in zip(start, grid.shape, strict=True))
    placed = np.zeros(geometry.shape, dtype=found.dtype)
    if min(start) < 0 or placed[inside].shape != found.shape:
        return None
    placed[inside] = np.flip(found, tuple(axis for axis in range(3) if signs[axis] < 0))
    return placed
