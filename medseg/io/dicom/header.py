"""The few header elements of one DICOM file that decide whether and where it belongs in a volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import uid
from pydicom.uid import UID

from medseg.io.dicom.rescale import Rescale
from medseg.io.facts import NOTHING, Facts

_NO_UID = UID("")
_NO_RESCALE = Rescale()
CT_CLASSES = (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
MODALITIES = {
    **dict.fromkeys(CT_CLASSES, "CT"),
    **dict.fromkeys((uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage), "MR"),
    **dict.fromkeys((uid.PositronEmissionTomographyImageStorage, uid.EnhancedPETImageStorage,
                     uid.LegacyConvertedEnhancedPETImageStorage), "PT"),
}  # fmt: skip
"""What the class of an image says where its Modality was removed."""
SECONDARY_CAPTURES = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
"""Grey images that a workstation made: a volume when they say where they lie, else screenshots."""


@dataclass(frozen=True)
class Header:
    """One DICOM file before its pixels are read; what the file does not say is empty or 0.

    Attributes:
        position_mm: centre of the first voxel, LPS+ (DICOM's convention).
        orientation: direction cosines of a row and of a column, LPS+.
        pixel_spacing_mm: distance between rows, distance between columns.
        phase: what tells volumes of one series apart, in the order of `PHASE_KEYWORDS`.
        stack: of a frame, the name of the stack it belongs to.
        patient: hashes of what names the patient, each empty where the file does not say it.
        protocol: what the scanner was told to do.
        facts: how the image was acquired; of a frame, as its functional groups say it.
        rescale: of a frame, those of its own where it has any, else those of the file.
        padding: the least and the largest stored value that stand for no measurement.
        missing_bytes: how many bytes of uncompressed pixels the file lacks; everything when it has none.
        n_bytes: size of the file.
        frame: which frame of an enhanced file this is, counted from 0; -1 for a file as a whole.
        frames: of an enhanced multi-frame file that says where each frame lies, one header each; else empty.
    """

    path: Path
    sop_class: UID
    sop_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    patient: tuple[str, ...] = field(default=(), repr=False)
    description: str = ""
    protocol: str = ""
    facts: Facts = NOTHING
    frame_of_reference: str = ""
    modality: str = ""
    series_number: str = ""
    instance_number: int = 0
    image_type: tuple[str, ...] = ()
    position_mm: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    pixel_spacing_mm: tuple[float, ...] = ()
    rows: int = 0
    columns: int = 0
    n_frames: int = 1
    bits_stored: int = 0
    is_colour: bool = False
    is_mosaic: bool = False
    transfer_syntax: UID = _NO_UID
    phase: tuple[str, ...] = ()
    stack: str = ""
    rescale: Rescale = _NO_RESCALE
    padding: tuple[int, ...] = ()
    missing_bytes: int = 0
    n_bytes: int = 0
    frame: int = -1
    frames: tuple[Header, ...] = ()

    @property
    def name(self) -> str:
        """What messages call the file or frame: nothing that a patient is known by."""
        return f"image {self.instance_number}" if self.frame < 0 else f"frame {self.frame + 1}"

    @property
    def is_derived(self) -> bool:
        """Whether a workstation made it, not a scanner: a screenshot, or images computed from others."""
        return self.sop_class in SECONDARY_CAPTURES

    @property
    def is_hounsfield(self) -> bool:
        """Whether its values have to be Hounsfield units."""
        return self.modality == "CT" or self.sop_class in CT_CLASSES
