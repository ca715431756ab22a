"""The outputs of a scan as files: their names and their writers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from monai.data.meta_tensor import MetaTensor

from medseg.errors import InputError
from medseg.io.label_volumes import write_labels, write_shares
from medseg.io.scan import Scan
from medseg.io.seg_nrrd import write_seg_nrrd
from medseg.model.outputs import Output
from medseg.model.segmentation import Segmentation

SUFFIXES = {
    Output.NIFTI: "_seg.nii.gz",
    Output.SEG_NRRD: ".seg.nrrd",
    Output.MRB: ".mrb",
    Output.DICOM_SEG: "_seg.dcm",
    Output.DICOM_SEG_BINARY: "_seg_binary.dcm",
    Output.CONFIDENCE: "_confidence.nii.gz",
    Output.FRACTIONS: "_fraction{}.nii.gz",
    Output.FINEST: "_finest.nii.gz",
    Output.ANOMALY: "_anomaly.nii.gz",
    Output.DISAGREEMENT: "_disagreement.nii.gz",
}
"""What follows the id of the scan; {} stands for the number of each label."""
OUTPUTS_OF_LABELS = frozenset({Output.NIFTI, Output.SEG_NRRD})
"""Outputs that need nothing but the labels, so that they can be written again from them."""
NAMELESS_OUTPUTS = frozenset({Output.CONFIDENCE, Output.FRACTIONS, Output.ANOMALY, Output.DISAGREEMENT})
"""Outputs that say nothing of names and colours: they hold as long as each number means the same."""
DICOM_OUTPUTS = frozenset({Output.DICOM_SEG, Output.DICOM_SEG_BINARY})


@dataclass(frozen=True)
class Origin:
    """What a result was made from: the scan, its voxels, the fingerprint of the model."""

    scan: Scan
    image: MetaTensor
    model: str


def numbered(path: Path, number: int | str) -> Path:
    """The path with `number` in place of the {} of its suffix."""
    return path.with_name(str(number).join(path.name.rsplit("{}", 1)))


def check_outputs(scan: Scan, outputs: Collection[Output]) -> None:
    """Refuse, before any work, outputs that this scan cannot have.

    Raises:
        InputError: ``no_reference`` for a DICOM segmentation of a scan that is not DICOM.
    """
    wanted = sorted(DICOM_OUTPUTS.intersection(outputs))
    if wanted and scan.format != "dicom":
        found = "NIfTI" if scan.format == "nifti" else scan.path.suffix
        message = (
            f"{scan.id}: --write {wanted[0]} refers to the DICOM files of the scan, found {found}; "
            "give the DICOM series or leave this output out"
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


_WRITERS: dict[Output, Callable[[Segmentation, Path], None]] = {
    Output.CONFIDENCE: _write_confidence, Output.FRACTIONS: _write_fractions, Output.FINEST: _write_finest,
    Output.DISAGREEMENT: _write_disagreement,
}  # fmt: skip
"""Of what a segmentation holds only when it is asked for."""


def write_output(name: Output, result: Segmentation, path: Path, origin: Origin | None = None) -> None:
    """Write one output; all but `OUTPUTS_OF_LABELS` need to know the origin."""
    if name is Output.NIFTI:
        write_labels(result.labels, result.geometry, path, table=result.table)
    elif name is Output.SEG_NRRD:
        write_seg_nrrd(result.labels, result.geometry, result.table, path)
    elif name in _WRITERS:
        _WRITERS[name](result, path)
    elif origin is None:
        raise ValueError(f"{name} needs the scan that was segmented")
    elif name is Output.MRB:
        from medseg.io.mrb import write_mrb

        write_mrb(origin.image, result.labels, result.table, path)
    else:
        from medseg.io.dicom_seg.writer import write_dicom_seg

        write_dicom_seg(result.labels, result.geometry, result.table, path, sources=origin.scan.paths,
                        model=origin.model,
                        kind="binary" if name is Output.DICOM_SEG_BINARY else "labelmap")  # fmt: skip
