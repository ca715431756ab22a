"""The formats in which a label volume is written: their names on the command line, their files, their writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.errors import InputError
from medseg.io.label_volumes import write_labels, write_shares
from medseg.io.scan import Scan
from medseg.io.seg_nrrd import write_seg_nrrd
from medseg.model.segmentation import Segmentation

SUFFIXES = {
    "nifti": "_seg.nii.gz",
    "seg.nrrd": ".seg.nrrd",
    "mrb": ".mrb",
    "dicomseg": "_seg.dcm",
    "dicomseg-binary": "_seg_binary.dcm",
    "confidence": "_confidence.nii.gz",
    "fractions": "_fraction{}.nii.gz",
    "finest": "_finest.nii.gz",
    "anomaly": "_anomaly.nii.gz",
    "disagreement": "_disagreement.nii.gz",
}
"""What follows the id of the scan, by format; {} stands for the number of each label."""
DEFAULT_FORMATS = ("nifti", "seg.nrrd")
FORMATS_OF_LABELS = DEFAULT_FORMATS
"""Formats that need nothing but the labels, so that they can be written again from them."""
NAMELESS_FORMATS = ("confidence", "fractions", "anomaly", "disagreement")
"""Formats that say nothing of names and colours: they hold as long as each number means the same."""

MAPS = ("anomaly",)
"""Formats that are made of the image and the model, not of the labels."""


@dataclass(frozen=True)
class Origin:
    """What a result was made from: the scan, its voxels, the fingerprint of the model."""

    scan: Scan
    image: MetaTensor
    model: str


def numbered(path: Path, number: int | str) -> Path:
    """The path with `number` in place of the {} of its suffix."""
    return path.with_name(str(number).join(path.name.rsplit("{}", 1)))


def check_formats(scan: Scan, formats: tuple[str, ...]) -> None:
    """Refuse, before any work, formats that this scan cannot have.

    Raises:
        InputError: ``no_reference`` for a DICOM segmentation of a scan that is not DICOM.
    """
    wanted = [name for name in formats if name.startswith("dicomseg")]
    if wanted and scan.format != "dicom":
        message = (
            f"{scan.id}: --write {wanted[0]} refers to the DICOM files of the scan, found NIfTI; "
            "give the DICOM series or leave this format out"
        )
        raise InputError(message, code="no_reference")


def _write_confidence(result: Segmentation, path: Path) -> None:
    if result.confidence is None:
        raise ValueError("the confidence was not asked for when the scan was segmented")
    write_shares(result.confidence, result.geometry, path)


def _write_fractions(result: Segmentation, path: Path) -> None:
    """One file a label: released versions of 3D Slicer do not open a 4-D NIfTI file as a set of volumes."""
    if result.fractions is None:
        raise ValueError("the fractions were not asked for when the scan was segmented")
    for number in result.fractions:
        write_shares(result.fractions[number], result.geometry, numbered(path, number))


def _write_finest(result: Segmentation, path: Path) -> None:
    if result.finest is None:
        raise ValueError("the finest labels were not asked for when the scan was segmented")
    write_labels(result.finest, result.geometry, path)


def _write_disagreement(result: Segmentation, path: Path) -> None:
    if result.disagreement is None:
        raise ValueError("the disagreement was not asked for when the scan was segmented")
    write_shares(result.disagreement, result.geometry, path)


EXTRAS: dict[str, Callable[[Segmentation, Path], None]] = {
    "confidence": _write_confidence, "fractions": _write_fractions, "finest": _write_finest,
    "disagreement": _write_disagreement,
}  # fmt: skip
"""What a segmentation holds only when it is asked for, by format: the arguments of `Model.segment`."""


def write_format(name: str, result: Segmentation, path: Path, origin: Origin | None = None) -> None:
    """Write one format; all but `FORMATS_OF_LABELS` need to know the origin."""
    if name == "nifti":
        write_labels(result.labels, result.geometry, path, table=result.table)
    elif name == "seg.nrrd":
        write_seg_nrrd(result.labels, result.geometry, result.table, path)
    elif name in EXTRAS:
        EXTRAS[name](result, path)
    elif origin is None:
        raise ValueError(f"{name} needs the scan that was segmented")
    elif name == "mrb":
        from medseg.io.mrb import write_mrb

        write_mrb(origin.image, result.labels, result.table, path)
    else:
        from medseg.io.dicom_seg.writer import write_dicom_seg

        write_dicom_seg(result.labels, result.geometry, result.table, path, sources=origin.scan.paths,
                        model=origin.model, kind="binary" if name == "dicomseg-binary" else "labelmap")  # fmt: skip
