"""Write volumes as one enhanced multi-frame MR or CT file, grouped as the scanners of three makers do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage

from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import LPS_FROM_RAS, Modality, empty_file

Dialect = Literal["siemens", "philips", "canon"]


class Frames(NamedTuple):
    """One volume of the file: (I, J, K) int16 voxels, what multiplies them, and what tells it from the others."""

    stored: npt.NDArray[np.int16]
    slope: float = 1.0
    intercept: float = 0.0
    time: int = 1
    echo_ms: float = 3.0
    b_value: float | None = None
    frame_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "NONE")


def write_enhanced(
    volumes: Sequence[Frames],
    geometry: Geometry,
    path: Path,
    *,
    dialect: Dialect = "siemens",
    modality: Modality = "MR",
) -> Path:
    """Write all volumes, which share a grid, into one file.

    Args:
        volumes: of the same shape.
        geometry: their grid, axes at right angles.
        path: the file to write.
        dialect: ``siemens`` gives every frame groups of its own, volume by volume; ``philips`` shares the
            orientation and writes volume by volume; ``canon`` shares all it can and writes place by place, backwards.
        modality: CT or MR.
    """
    file = empty_file(modality, 0, 1, 0)
    file.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.Modality, file.SeriesNumber = modality, 1
    pairs = [(n, k) for n in range(len(volumes)) for k in range(geometry.shape[2])]
    if dialect == "canon":
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    shared, own = Dataset(), [Dataset() for _ in pairs]
    for (n, k), groups in zip(pairs, own, strict=True):
        _describe(groups, shared, volumes[n], geometry, k, dialect, modality)
    file.SharedFunctionalGroupsSequence = Items([shared])
    file.PerFrameFunctionalGroupsSequence = Items(own)
    _fill(file, np.stack([volumes[n].stored[:, :, k].T for n, k in pairs]))
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def _group(groups: Dataset, name: str, **elements: Any) -> None:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    setattr(groups, name, Items([item]))


def _describe(
    groups: Dataset, shared: Dataset, volume: Frames, geometry: Geometry, k: int, dialect: Dialect, modality: Modality
) -> None:
    """The functional groups of one frame; what the dialect shares goes into `shared`."""
    affine = LPS_FROM_RAS @ geometry.affine
    directions = (affine[:3, :2] / np.asarray(geometry.spacing_mm[:2])).T.ravel()
    spacing = [geometry.spacing_mm[1], geometry.spacing_mm[0]]
    _group(groups, "PlanePositionSequence", ImagePositionPatient=_texts(affine[:3, 3] + k * affine[:3, 2]))
    common = groups if dialect == "siemens" else shared
    _group(common, "PlaneOrientationSequence", ImageOrientationPatient=_texts(directions))
    measures = shared if dialect == "canon" else groups
    _group(measures, "PixelMeasuresSequence", PixelSpacing=_texts(spacing))
    _group(groups, "FrameContentSequence", StackID="1", InStackPositionNumber=k + 1, TemporalPositionIndex=volume.time)
    _group(groups, f"{modality}ImageFrameTypeSequence", FrameType=list(volume.frame_type))
    _group(groups, "PixelValueTransformationSequence", RescaleSlope=f"{volume.slope:.10g}",
           RescaleIntercept=f"{volume.intercept:.10g}", RescaleType="US")  # fmt: skip
    if modality == "MR":
        _group(groups, "MREchoSequence", EffectiveEchoTime=volume.echo_ms)
    if volume.b_value is not None:
        _group(groups, "MRDiffusionSequence", DiffusionBValue=volume.b_value)


def _texts(numbers: npt.ArrayLike) -> list[str]:
    return [f"{number:.10g}" for number in np.asarray(numbers, dtype=np.float64)]


def _fill(file: FileDataset, frames: npt.NDArray[np.int16]) -> None:
    """The pixels of all frames, (N, rows, columns)."""
    file.NumberOfFrames, file.Rows, file.Columns = frames.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    file.PixelData = frames.astype("<i2").tobytes()
