"""DICOM segmentations: what is written is what other people's tools read."""

from __future__ import annotations

import shutil
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from medseg import InputError, find_scans, read_dicom_seg, read_labels, write_dicom_seg
from medseg.cli.main import main
from medseg.io.dicom_seg import writer as dicom_seg
from medseg.labels.table import Code, Label, LabelTable
from medseg.spatial.geometry import Geometry
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.cohorts import manifest
from tests.support.dicom_seg_judges import errors_of, read_by_dcmqi, same_places
from tests.support.scans import GRIDS, grid_of, shared, write_nifti

TABLE = LabelTable(
    labels=(
        Label(number=1, name="fluid", color=(68, 119, 170)),
        Label(number=3, name="Großhirn \\ left", color=(230, 30, 30), code=Code(value="12738006", meaning="Brain")),
        Label(number=5, name="absent", color=(1, 2, 3)),
        Label(number=300, name="core", color=(255, 255, 255), code=Code(value="389080008", meaning="White matter")),
    )
)
KINDS: tuple[dicom_seg.Kind, ...] = ("labelmap", "binary")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """An oblique MR series of few slices, its files in slice order, its grid and labels 0, 1, 3, 300 on it."""
    geometry = Geometry((40, 36, 12), GRIDS["oblique"].affine @ np.diag([3.0, 3.5, 7.0, 1.0]))
    folder = tmp_path_factory.mktemp("series")
    write_dicom_series(phantom(geometry)[0], folder, modality="MR", series_number=4)
    (scan,) = find_scans(folder)
    return scan, np.array([0, 1, 3, 300], dtype=np.uint16)[phantom(grid_of(scan))[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_other_tools_agree(series, tmp_path, kind):
    scan, labels = series
    path = tmp_path / "a_seg.dcm"
    write_dicom_seg(labels, scan.geometry, TABLE, path, sources=scan.paths, model="abc", kind=kind)
    assert errors_of(path) == []
    found, grid = read_by_dcmqi(path, tmp_path / "dcmqi")
    expected = labels if kind == "labelmap" else np.searchsorted([0, 1, 3, 300], labels)
    assert np.unique(found).tolist() == np.unique(expected).tolist()
    assert same_places(found, grid, expected, scan.geometry)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GRIDS)
def test_it_reads_back_on_every_grid(tmp_path, kind, name):
    geometry = Geometry((20, 18, 8), GRIDS[name].affine @ np.diag([7.0, 8.0, 12.0, 1.0]))
    image, labels = phantom(geometry)
    write_dicom_series(image, tmp_path / "series")
    (scan,) = find_scans(tmp_path / "series")
    path = tmp_path / "a.dcm"
    table = LabelTable.default(3)
    write_dicom_seg(labels, geometry, table, path, sources=scan.paths, kind=kind)
    assert same_places(*read_dicom_seg(path), labels, geometry)


def test_what_the_standard_and_people_want_is_there(series, tmp_path):
    scan, labels = series
    path = tmp_path / "a.dcm"
    write_dicom_seg(labels, scan.geometry, TABLE, path, sources=scan.paths, model="0123abcd")
    source, found = pydicom.dcmread(scan.path), pydicom.dcmread(path)
    assert found.SOPClassUID == dicom_seg.LABELMAP_CLASS
    assert found.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert found[keyword].value == source[keyword].value, keyword
    assert found.SeriesInstanceUID == dicom_seg.seg_series_uid(source.SeriesInstanceUID, "0123abcd")
    (reference,) = found.ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == source.SeriesInstanceUID
    uids = [pydicom.dcmread(p).SOPInstanceUID for p in scan.paths]
    assert [item.ReferencedSOPInstanceUID for item in reference.ReferencedInstanceSequence] == uids
    segments = {int(item.SegmentNumber): item for item in found.SegmentSequence}
    assert sorted(segments) == [0, 1, 3, 300]
    assert segments[3].SegmentLabel == "Großhirn left"
    assert segments[1].SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"
    kind = segments[300].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue, kind.CodeMeaning) == ("SCT", "389080008", "White matter")
    assert segments[300].SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    color = highdicom.color.CIELabColor.from_dicom_value(segments[3].RecommendedDisplayCIELabValue)
    assert np.abs(np.subtract(color.to_rgb(), (230, 30, 30))).max() <= 1
    algorithm = segments[3].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == ("medseg", "model=0123abcd")
    assert segments[3].SegmentAlgorithmType == "AUTOMATIC"


def test_binary_numbers_segments_without_gaps(series, tmp_path):
    scan, labels = series
    path = tmp_path / "a.dcm"
    write_dicom_seg(labels, scan.geometry, TABLE, path, sources=scan.paths, kind="binary")
    found = pydicom.dcmread(path)
    assert found.SOPClassUID == pydicom.uid.SegmentationStorage
    assert [(int(s.SegmentNumber), s.SegmentLabel) for s in found.SegmentSequence] == [
        (1, "fluid"), (2, "Großhirn left"), (3, "core"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_regridded_scan_keeps_its_slice_spacing(series, tmp_path, kind):
    scan, _ = series
    onto = Geometry((40, 36, 30), scan.geometry.affine @ np.diag([1, 1, 0.4, 1]))
    labels = phantom(onto)[1]
    path = tmp_path / "a.dcm"
    write_dicom_seg(labels, onto, LabelTable.default(3), path, sources=scan.paths, kind=kind)
    assert same_places(*read_dicom_seg(path), labels, onto)
    assert errors_of(path) == []
    assert same_places(*read_by_dcmqi(path, tmp_path / "dcmqi"), labels, onto)


def test_the_wrong_slice_spacing_of_highdicom_is_noticed(series, tmp_path, monkeypatch):
    scan, _ = series
    spacing_mm = round(scan.geometry.spacing_mm[2], 6)
    sources = changed(series, tmp_path / "x", lambda header: setattr(header, "SpacingBetweenSlices", spacing_mm))
    onto = Geometry((40, 36, 30), scan.geometry.affine @ np.diag([1, 1, 0.4, 1]))
    labels, path = phantom(onto)[1], tmp_path / "a.dcm"
    write_dicom_seg(labels, onto, LabelTable.default(3), path, sources=sources)
    assert same_places(*read_dicom_seg(path), labels, onto)
    path.unlink()
    real = highdicom.seg.Segmentation.save_as

    def save_with_the_spacing_of_the_source(built, *words, **options):
        measures = built.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = measures.SliceThickness = spacing_mm
        real(built, *words, **options)

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", save_with_the_spacing_of_the_source)
    with pytest.raises(InputError) as caught:
        write_dicom_seg(labels, onto, LabelTable.default(3), path, sources=sources)
    assert caught.value.code in {"dicomseg_failed", "corrupt_file"}
    assert not path.exists()


def changed(series, folder, change):
    """The series with every header changed."""
    folder.mkdir()
    for path in series[0].paths:
        header = pydicom.dcmread(path)
        change(header)
        header.save_as(folder / path.name)
    return tuple(folder / path.name for path in series[0].paths)


def test_an_anonymised_source_gets_a_segmentation(series, tmp_path):
    def anonymise(header):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                        "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
            del header[keyword]
        header.PatientIdentityRemoved = "YES"

    scan, labels = series
    path = tmp_path / "a.dcm"
    write_dicom_seg(labels, scan.geometry, TABLE, path, sources=changed(series, tmp_path / "x", anonymise))
    assert errors_of(path) == []
    assert same_places(*read_dicom_seg(path), labels, scan.geometry)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"])
def test_a_source_that_nothing_can_refer_to_is_refused(series, tmp_path, keyword):
    scan, labels = series
    sources = changed(series, tmp_path / "x", lambda header: delattr(header, keyword))
    with pytest.raises(InputError, match=f"lacks {keyword}") as caught:
        write_dicom_seg(labels, scan.geometry, TABLE, tmp_path / "a.dcm", sources=sources)
    assert caught.value.code == "no_reference"


def test_refusals(series, tmp_path):
    scan, labels = series
    path, write = tmp_path / "a.dcm", {"sources": scan.paths}
    with pytest.raises(InputError, match="no voxel is labelled"):
        write_dicom_seg(labels * 0, scan.geometry, TABLE, path, **write)
    with pytest.raises(ValueError, match=r"lacks the labels \[300\]"):
        write_dicom_seg(labels, scan.geometry, TABLE.without([300]), path, **write)
    with pytest.raises(InputError, match="found no DICOM file"):
        write_dicom_seg(labels, scan.geometry, TABLE, path, sources=())
    (tmp_path / "no.dcm").mkdir()
    with pytest.raises(InputError, match="cannot be read as DICOM"):
        write_dicom_seg(labels, scan.geometry, TABLE, path, sources=[tmp_path / "no.dcm"])
    (tmp_path / "other").mkdir()
    other = write_dicom_series(phantom(scan.geometry)[0], tmp_path / "other", series_number=9)
    with pytest.raises(InputError, match="several series"):
        write_dicom_seg(labels, scan.geometry, TABLE, path, sources=[*scan.paths, *other])
    private = changed(series, tmp_path / "x", lambda header: setattr(header, "SOPClassUID", "1.2.3"))
    with pytest.raises(InputError, match="highdicom cannot refer to this source"):
        write_dicom_seg(labels, scan.geometry, TABLE, path, sources=private)
    with pytest.raises(InputError, match="not a DICOM segmentation"):
        read_dicom_seg(scan.path)
    assert not path.exists()


def test_equal_labels_are_the_same_instance_and_other_names_are_not(series, tmp_path):
    scan, labels = series
    uids = []
    for name, table in (("a", TABLE), ("b", TABLE), ("c", TABLE.replace(1, name="other"))):
        write_dicom_seg(labels, scan.geometry, table, tmp_path / name, sources=scan.paths, model="m")
        uids.append(pydicom.dcmread(tmp_path / name).SOPInstanceUID)
    assert uids[0] == uids[1] != uids[2]


ENHANCED = {
    "siemens": "data/dicom/mr_enhanced/In/Siemens/XA10/6_1.dcm",
    "philips": "data/dicom/mr_enhanced/In/Philips/IM_0027_fMAP.dcm",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vendor", ENHANCED)
def test_enhanced_sources(tmp_path, vendor, kind):
    source = pydicom.dcmread(shared(ENHANCED[vendor]), stop_before_pixels=True)
    frame = source.PerFrameFunctionalGroupsSequence[0]
    shared_groups = source.SharedFunctionalGroupsSequence[0]
    measures = frame.get("PixelMeasuresSequence") or shared_groups.PixelMeasuresSequence
    spacing = [float(s) for s in measures[0].PixelSpacing]
    geometry = Geometry((source.Columns, source.Rows, 9), np.diag([-spacing[1], -spacing[0], 4.0, 1.0]))
    labels = phantom(Geometry(geometry.shape, geometry.affine @ _centred(geometry.shape)))[1]
    path = tmp_path / "a.dcm"
    write_dicom_seg(labels, geometry, LabelTable.default(3), path, sources=[shared(ENHANCED[vendor])], kind=kind)
    assert errors_of(path) == []
    assert same_places(*read_by_dcmqi(path, tmp_path / "dcmqi"), labels, geometry)
    reference = pydicom.dcmread(path).ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID


def _centred(shape):
    move = np.eye(4)
    move[:3, 3] = -np.asarray(shape) / 2
    return move


def test_enhanced_frames_on_different_grids_are_refused(tmp_path):
    source = pydicom.dcmread(shared(ENHANCED["philips"]), stop_before_pixels=True)
    frames = source.PerFrameFunctionalGroupsSequence
    assert "PixelMeasuresSequence" in frames[0]
    frames[1].PixelMeasuresSequence[0].PixelSpacing = [9, 9]
    source.save_as(tmp_path / "x.dcm")
    geometry = Geometry((4, 4, 4), np.eye(4))
    with pytest.raises(InputError, match="no common PixelMeasuresSequence"):
        write_dicom_seg(np.ones((4, 4, 4)), geometry, TABLE, tmp_path / "a.dcm", sources=[tmp_path / "x.dcm"])


@pytest.mark.parametrize("scan_name", ["study/34907-T1prereg-43695"])
def test_real_series(tmp_path, scan_name):
    (scan,) = find_scans(shared("data/dicom") / scan_name)
    grid = grid_of(scan)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[100:180, 90:200, 4:20] = 1
    labels[120:140, 100:150, 10] = 2
    for kind in KINDS:
        path = tmp_path / f"{kind}.dcm"
        write_dicom_seg(labels, grid, LabelTable.default(2), path, sources=scan.paths, kind=kind)
        assert errors_of(path) == []
        assert same_places(*read_by_dcmqi(path, tmp_path / kind), labels, grid)


def test_the_command_writes_it_and_refuses_nifti(series, quick_model, tmp_path, capsys):
    scans = tmp_path / "in"
    shutil.copytree(series[0].path.parent, scans / "dicom")
    write_nifti(phantom(series[0].geometry, noise=8.0)[0], scans / "a.nii.gz")
    out = tmp_path / "out"
    words = ["segment", str(scans), "--model", str(quick_model), "--out", str(out), "--device", "cpu",
             "--workers", "0", "--write", "nifti,dicomseg,dicomseg-binary"]  # fmt: skip
    assert main(words) == 1
    rows = manifest(out)
    assert rows["a"]["reason"].startswith("no_reference: a: --write dicomseg refers to the DICOM files of the scan")
    name = next(name for name in rows if name != "a")
    labels, geometry = read_labels(out / f"{name}_seg.nii.gz")
    for suffix in ("_seg.dcm", "_seg_binary.dcm"):
        assert same_places(*read_dicom_seg(out / f"{name}{suffix}"), labels, geometry)
    assert pydicom.dcmread(out / f"{name}_seg.dcm").SeriesNumber == 1004
    written = (out / f"{name}_seg.dcm").stat().st_mtime_ns
    assert main(words) == 1
    assert (out / f"{name}_seg.dcm").stat().st_mtime_ns == written
    assert main(["label", str(quick_model), "--out", str(out), "--name", "1=label 1"]) == 0  # nothing changes
    renamed = shutil.copytree(quick_model, tmp_path / "model")
    assert main(["label", str(renamed), "--out", str(out), "--name", "1=fluid"]) == 1
    assert f"{Path(name).name}_seg.dcm, {Path(name).name}_seg_binary.dcm cannot follow" in capsys.readouterr().err
    assert main(words) == 1
    assert (out / f"{name}_seg.dcm").stat().st_mtime_ns > written
