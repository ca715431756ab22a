"""``.seg.nrrd`` and NIfTI with a colour table, as 3D Slicer reads them.

The tests marked by `slicer` run the libraries of a real 3D Slicer: ``python3 -m venv .venv-slicer`` and
``.venv-slicer/bin/pip install slicer-core``, or MEDSEG_SLICER_PYTHON names a Python that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.errors import InputError, OutputError
from medseg.io.label_volumes import write_color_table, write_labels
from medseg.io.seg_nrrd import write_seg_nrrd
from medseg.spatial.geometry import Geometry
from tests.support.paths import ROOT, SHARED
from tests.support.slicer_labels import GRIDS, SHAPE, TABLE, phantom

Reader = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def slicer() -> Reader:
    """Call the real Slicer: files -> what it sees in each."""
    python = Path(os.environ.get("MEDSEG_SLICER_PYTHON", ROOT / ".venv-slicer" / "bin" / "python"))
    script = SHARED / "tools" / "slicer_read.py"
    if not python.exists():
        pytest.skip(f"no 3D Slicer: {python} does not exist, MEDSEG_SLICER_PYTHON can name another")
    if not script.exists():
        pytest.skip(f"{script} does not exist")

    def read(*arguments: Path | str) -> list[dict[str, Any]]:
        command = [str(python), str(script), *map(str, arguments)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]

    return read


def assert_same_place(found: dict[str, Any], geometry: Geometry) -> None:
    assert Geometry(SHAPE, np.asarray(found["affine_ras"])).is_close(geometry, 2e-4), found["file"]


def test_slicer_reads_seg_nrrd(slicer: Reader, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.seg.nrrd" for name in GRIDS]
    for path, geometry in zip(paths, GRIDS.values(), strict=True):
        write_seg_nrrd(phantom(), geometry, TABLE, path)
    seen = slicer(*paths)
    assert len(seen) == len(GRIDS)
    for found, geometry in zip(seen, GRIDS.values(), strict=True):
        segments = found["segments"]
        assert [s["name"] for s in segments] == ["left kidney", "Großhirn", "absent", "air"]
        assert [s["label"] for s in segments] == [1, 2, 3, 300]
        assert [tuple(s["color"]) for s in segments] == [label.color for label in TABLE]
        assert [s["voxels"] for s in segments] == [(phantom() == label.number).sum() for label in TABLE]
        assert segments[0]["type"] == "SCT^64033007^Kidney"
        assert segments[1]["type"] == "SCT^85756007^Tissue"
        assert segments[3]["type"] == "SCT^15 8 2 56000^Air gas"
        assert_same_place(found, geometry)


def test_slicer_reads_nifti_with_color_table(slicer: Reader, tmp_path: Path) -> None:
    write_color_table(TABLE, tmp_path / "labels.ctbl")
    paths = [tmp_path / f"{name}_seg.nii.gz" for name in GRIDS]
    for path, geometry in zip(paths, GRIDS.values(), strict=True):
        write_labels(phantom(), geometry, path, table=TABLE)
    present = [label for label in TABLE if label.name != "absent"]
    seen = slicer("--color", tmp_path / "labels.ctbl", *paths)
    assert len(seen) == len(GRIDS)
    for found, geometry in zip(seen, GRIDS.values(), strict=True):
        segments = found["segments"]
        assert [s["name"] for s in segments] == [label.name for label in present]
        assert [tuple(s["color"]) for s in segments] == [label.color for label in present]
        assert [s["voxels"] for s in segments] == [(phantom() == label.number).sum() for label in present]
        assert_same_place(found, geometry)


@pytest.mark.parametrize("name", GRIDS)
def test_voxels_and_grid(tmp_path: Path, name: str) -> None:
    write_seg_nrrd(phantom(), GRIDS[name], TABLE, tmp_path / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), phantom())
    for index in ((0, 0, 0), (8, 9, 6), (8, 0, 6)):
        lps = np.asarray(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(lps * (-1, -1, 1), GRIDS[name].to_world([index])[0], atol=1e-6)


def test_header(tmp_path: Path) -> None:
    write_seg_nrrd(phantom(), GRIDS["oblique"], TABLE, tmp_path / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    value = image.GetMetaData
    assert value("Segmentation_MasterRepresentation") == "Binary labelmap"
    assert value("Segmentation_ContainedRepresentationNames") == "Binary labelmap|"
    assert value("Segmentation_ReferenceImageExtentOffset") == "0 0 0"
    assert [value(f"Segment{n}_ID") for n in range(4)] == ["Segment_1", "Segment_2", "Segment_3", "Segment_300"]
    assert [value(f"Segment{n}_Name") for n in range(4)] == [label.name for label in TABLE]
    assert [value(f"Segment{n}_LabelValue") for n in range(4)] == ["1", "2", "3", "300"]
    assert {value(f"Segment{n}_{key}") for n in range(4) for key in ("Layer", "NameAutoGenerated")} == {"0"}
    assert {value(f"Segment{n}_ColorAutoGenerated") for n in range(4)} == {"0"}
    assert value("Segment1_Color") == "0.000000 0.501961 1.000000"
    assert [value(f"Segment{n}_Extent") for n in range(4)] == [
        "1 3 2 8 1 2", "5 8 0 3 3 6", "0 -1 0 -1 0 -1", "6 6 6 6 6 6",
    ]  # fmt: skip
    assert value("Segment0_Tags") == (
        "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^"
        "~Anatomic codes - DICOM master list~^^~^^|"
    )
    assert "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~" in value("Segment1_Tags")
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "space: left-posterior-superior\n" in header
    assert "kinds: domain domain domain\n" in header
    assert "encoding: gzip\n" in header
    assert "type: unsigned short\n" in header


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.seg.nrrd", "b.seg.nrrd"):
        write_seg_nrrd(phantom(), GRIDS["LPS"], TABLE, tmp_path / name)
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_names_stay_on_one_line(tmp_path: Path) -> None:
    table = TABLE.replace(1, name=' left\nkidney:="1" ')
    write_seg_nrrd(phantom(), GRIDS["RAS"], table, tmp_path / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment0_Name") == 'left kidney:="1"'


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \.seg\.nrrd"):
        write_seg_nrrd(phantom(), GRIDS["RAS"], TABLE, tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match=r"lacks the labels \[300\]"):
        write_seg_nrrd(phantom(), GRIDS["RAS"], TABLE.without([300]), tmp_path / "a.seg.nrrd")
    tilted = GRIDS["RAS"].affine.copy()
    tilted[1, 2] = 1.6
    with pytest.raises(InputError, match="sheared"):
        write_seg_nrrd(phantom(), Geometry(SHAPE, tilted), TABLE, tmp_path / "a.seg.nrrd")
    assert not list(tmp_path.iterdir())


def test_itk_says_nothing_of_a_lost_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ITK ends without an error when only the last bytes found no room."""
    write = sitk.WriteImage

    def lose_the_end(image: sitk.Image, name: str, *_: object, **__: object) -> None:
        write(image, name, useCompression=True)
        Path(name).write_bytes(Path(name).read_bytes()[:-100])

    write_seg_nrrd(phantom(), GRIDS["RAS"], TABLE, tmp_path / "a.seg.nrrd")
    before = (tmp_path / "a.seg.nrrd").read_bytes()
    monkeypatch.setattr(sitk, "WriteImage", lose_the_end)
    with pytest.raises(OutputError, match=r"a\.seg\.nrrd: cannot be written: the disk or network share failed"):
        write_seg_nrrd(phantom(), GRIDS["RAS"], TABLE, tmp_path / "a.seg.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["a.seg.nrrd"]
    assert (tmp_path / "a.seg.nrrd").read_bytes() == before


def test_failed_write_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("ITK ERROR: nrrdSave")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(OutputError, match="cannot be written: the disk or network share failed"):
        write_seg_nrrd(phantom(), GRIDS["RAS"], TABLE, tmp_path / "a.seg.nrrd")
    assert not list(tmp_path.iterdir())
