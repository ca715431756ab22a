"""Write a volume as a classic DICOM series of an invented patient: one file per slice, CT or MR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from medseg.spatial.geometry import Geometry

Modality = Literal["CT", "MR"]
Voxels = npt.NDArray[np.float64]

INT16 = np.iinfo(np.int16)
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NOBODY = {
    "PatientName": "Phantom^Demo",
    "PatientID": "PHANTOM",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyID": "1",
    "StudyDate": "20260101",
    "StudyTime": "120000",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "Manufacturer": "medseg",
    "Laterality": "",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "AcquisitionNumber": 1,
}
ACQUISITION: dict[Modality, dict[str, object]] = {
    "CT": {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": "120", "RescaleType": "HU"},
    "MR": {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "GR",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": "10",
        "EchoTime": "3",
        "EchoTrainLength": 1,
    },
}


class Pixels(NamedTuple):
    """Stored pixels and how to get the values back: value = stored * slope + intercept."""

    stored: npt.NDArray[np.int16]
    slope: float
    intercept: float


def write_dicom_series(
    image: MetaTensor | tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]],
    folder: Path,
    *,
    modality: Modality = "MR",
    series_number: int = 1,
    seed: int = 0,
    description: str = "Phantom",
) -> list[Path]:
    """Write one file per k-slice, ``IM0001.dcm`` onwards, uncompressed with signed 16-bit pixels.

    Args:
        image: (1, I, J, K) image, or (I, J, K) voxels with their affine to RAS+ mm; axes at right angles.
        folder: where to write; made when missing.
        modality: CT rounds to whole Hounsfield units; MR uses the whole 16-bit range unless all values are integers.
        series_number: tells the series of one study apart.
        seed: of the study; the same seed and series number give the same UIDs.
        description: free text of the series.

    Returns:
        The files in the order of k. If i, j, k are left-handed, DICOM readers count the slices from the other end.

    Raises:
        ValueError: the axes are sheared, or the values do not fit into 16 bits.
    """
    voxels, geometry = _unpack(image)
    if geometry.is_sheared:
        raise ValueError(f"DICOM slices need axes at right angles, found the sheared {geometry}; resample first")
    pixels = _quantise(voxels, modality)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(geometry.shape[2]):
        slice_file = empty_file(modality, seed, series_number, k)
        _describe(slice_file, modality, series_number, description)
        _place(slice_file, geometry, k)
        _fill(slice_file, pixels, k)
        paths.append(folder / f"IM{k + 1:04d}.dcm")
        slice_file.save_as(paths[-1], enforce_file_format=True)
    return paths


def _unpack(
    image: MetaTensor | tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]],
) -> tuple[Voxels, Geometry]:
    """(I, J, K) voxels and their grid."""
    if isinstance(image, MetaTensor):
        return image.as_tensor()[0].double().cpu().numpy(), Geometry.of(image)
    voxels = np.asarray(image[0], dtype=np.float64)
    return voxels, Geometry((voxels.shape[0], voxels.shape[1], voxels.shape[2]), np.asarray(image[1], np.float64))


def _quantise(voxels: Voxels, modality: Modality) -> Pixels:
    """Signed 16-bit pixels of the voxels."""
    low, high = float(voxels.min()), float(voxels.max())
    is_integer = bool((voxels == np.round(voxels)).all()) and low >= INT16.min and high <= INT16.max
    if modality == "CT" or is_integer:
        intercept = -1024.0 if modality == "CT" else 0.0
        if low - intercept < INT16.min or high - intercept > INT16.max:
            raise ValueError(f"values from {low:g} to {high:g} do not fit into 16 bits, expected Hounsfield units")
        return Pixels(np.round(voxels - intercept).astype(np.int16), 1.0, intercept)
    # What the file says, at most 16 characters, is what the reader will multiply with.
    slope = float(format_number_as_ds(max(high - low, 1e-6) / INT16.max * (1 + 1e-9)))
    intercept = float(format_number_as_ds(low))
    return Pixels(np.round((voxels - intercept) / slope).astype(np.int16), slope, intercept)


def empty_file(modality: Modality, seed: int, series_number: int, k: int) -> FileDataset:
    """A file with its identity and nothing else."""
    series = [f"seed {seed}", f"series {series_number} {modality}"]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*series, f"slice {k}"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    empty = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    empty.SOPClassUID = meta.MediaStorageSOPClassUID
    empty.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    empty.StudyInstanceUID = generate_uid(entropy_srcs=[series[0], "study"])
    empty.SeriesInstanceUID = generate_uid(entropy_srcs=series)
    empty.FrameOfReferenceUID = generate_uid(entropy_srcs=[series[0], "frame of reference"])
    empty.InstanceNumber = k + 1
    return empty


def _describe(slice_file: FileDataset, modality: Modality, series_number: int, description: str) -> None:
    """Patient, study, series and acquisition; nobody's."""
    _set(slice_file, NOBODY)
    _set(slice_file, ACQUISITION[modality])
    slice_file.Modality = modality
    slice_file.SeriesNumber = series_number
    slice_file.SeriesDescription = description


def _set(slice_file: FileDataset, elements: Mapping[str, object]) -> None:
    """Set elements by keyword."""
    for keyword, value in elements.items():
        setattr(slice_file, keyword, value)


def _place(slice_file: FileDataset, geometry: Geometry, k: int) -> None:
    """Where the slice lies: DICOM's rows run along i, its columns along j, towards left and back."""
    affine = LPS_FROM_RAS @ geometry.affine
    spacing_mm = geometry.spacing_mm
    directions = affine[:3, :2] / np.asarray(spacing_mm[:2])
    slice_file.ImageOrientationPatient = [format_number_as_ds(float(c)) for c in directions.T.ravel()]
    position_mm = affine[:3, 3] + k * affine[:3, 2]
    slice_file.ImagePositionPatient = [format_number_as_ds(float(p)) for p in position_mm]
    slice_file.PixelSpacing = [format_number_as_ds(spacing_mm[1]), format_number_as_ds(spacing_mm[0])]
    slice_file.SliceThickness = format_number_as_ds(spacing_mm[2])


def _fill(slice_file: FileDataset, pixels: Pixels, k: int) -> None:
    """The pixels of the slice and how to read them."""
    n_columns, n_rows, _ = pixels.stored.shape
    _set(
        slice_file,
        {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": n_rows,
            "Columns": n_columns,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleSlope": format_number_as_ds(pixels.slope),
            "RescaleIntercept": format_number_as_ds(pixels.intercept),
        },
    )
    slice_file.PixelData = pixels.stored[:, :, k].T.astype("<i2").tobytes()
