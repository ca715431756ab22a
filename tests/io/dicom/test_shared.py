"""Every real DICOM series at hand: equal to its reference, or refused as docs/dicom.md says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.io.scan import Scan
from tests.support.paths import ROOT
from tests.support.scans import load_nifti, shared

PAGE = ROOT / "docs/dicom.md"
Reference = tuple[np.ndarray, np.ndarray]
ENHANCED = "mr_enhanced/Ref"


def nifti(name: str, volume: int = 0) -> Callable[[Path, Scan], Reference]:
    def load(folder: Path, _: Scan) -> Reference:
        image = load_nifti(folder / name)
        voxels = np.asarray(image.dataobj, dtype=np.float64)
        return voxels[..., volume] if voxels.ndim == 4 else voxels, image.affine

    return load


def philips_precise(folder: Path, scan: Scan) -> Reference:
    """dcm2niix divides by slope and private scale slope: the signal; a header's own slope gives what is displayed."""
    frame = pydicom.dcmread(scan.path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence[scan.frames[0]]
    scale = float(frame[0x2005, 0x140F][0][0x2005, 0x100E].value)
    slope = float(frame.PixelValueTransformationSequence[0].RescaleSlope)
    voxels, affine = nifti(f"{ENHANCED}/Philips_WIP_B0_NS_801_e1.nii")(folder, scan)
    return voxels * slope * scale, affine


def simpleitk(_: Path, scan: Scan) -> Reference:
    series = sitk.ImageSeriesReader()
    series.SetFileNames(series.GetGDCMSeriesFileNames(str(scan.path.parent)))
    image = series.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


ENCODED = {
    f"encodings/{name}/001": {"": nifti(f"encodings/{name}/001_ground_truth.nii.gz")}
    for name in ("compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls", "compressed_rle")
}
EXPECTED: dict[str, str | dict[str, Callable[[Path, Scan], Reference]]] = {
    **ENCODED,
    "encodings/hyperfine/anatomical/001": {"": nifti("encodings/hyperfine/anatomical/001_ground_truth.nii.gz")},
    "mr_enhanced/In/Siemens/XA10": {
        f"time{n + 1}": nifti(f"{ENHANCED}/Siemens_REST1_w_SMS_PF7-8_6.nii", n) for n in range(4)
    },
    "mr_enhanced/In/Philips": {
        "m": philips_precise,
        "field-map": nifti(f"{ENHANCED}/Philips_WIP_B0_NS_801_e2_fieldmaphz.nii"),
    },
    "study/34907-T1prereg-43695": {"": simpleitk},
    "study/35623-FLAIRreg-79237": {"": simpleitk},
    "ct_ge_tilt/In/GE": "gantry_tilt",
    "mr_siemens_mosaic/In/AxAsc36mb2a": "mosaic",
    "mr_siemens_mosaic/In/axdesc35": "mosaic",
    "mr_siemens_mosaic/In/sagint36": "mosaic",
    "encodings/rgb/001": "not_a_volume",
    "failing/notavolume/001": "not_a_volume",
    "failing/slicecount/001": "not_a_volume",
    "failing/sliceorientation/001": "mixed_orientation",
}
# The Philips field map: dcm2niix takes the real-world slope, which has more digits than the rescale slope.
VALUE_TOLERANCE = {"field-map": 0.01, "m": 0.01}


def errors(scan: Scan, reference: Reference) -> tuple[float, float]:
    """Largest difference of the affines in mm and of the values, both images turned to RAS."""
    image = read_scan(scan)
    mine, theirs = (
        nib.as_closest_canonical(nib.Nifti1Image(np.asarray(voxels, dtype=np.float64), affine))
        for voxels, affine in ((image.as_tensor()[0].numpy(), np.asarray(image.affine)), reference)
    )
    assert mine.shape == theirs.shape
    return float(np.abs(mine.affine - theirs.affine).max()), float(np.abs(mine.get_fdata() - theirs.get_fdata()).max())


@pytest.mark.parametrize("folder", sorted(EXPECTED))
def test_real_series_is_right_or_refused(folder):
    root, expected = shared("data/dicom"), EXPECTED[folder]
    scans = find_scans(root / folder)
    rows = re.findall(rf"^\| `{re.escape(folder)}` \| (.+?) \|", PAGE.read_text(), flags=re.MULTILINE)
    if isinstance(expected, str):
        assert [scan.verdict for scan in scans] == [expected]
        assert rows == [f"`{expected}`"]
        return
    assert {"-".join(scan.id.split("-")[2:]): scan.verdict for scan in scans} == dict.fromkeys(expected, "ok")
    assert rows == [f"{len(expected)} x `ok`" if len(expected) > 1 else "`ok`"]
    for scan in scans:
        name = "-".join(scan.id.split("-")[2:])
        affine_mm, value = errors(scan, expected[name](root, scan))
        assert affine_mm < 1e-3
        assert value <= VALUE_TOLERANCE.get(name, 0.0)


def test_no_real_series_is_forgotten():
    root = shared("data/dicom")
    others = {".nii", ".gz", ".json", ".md"}
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix not in others]
    folders = {path.parent.relative_to(root).as_posix() for path in files if path.name != "LICENSE"}
    assert folders == set(EXPECTED)
