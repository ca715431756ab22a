"""Mutated inputs: refused in a sentence or read right, never a crash, a hang or a wrong place.

`MEDSEG_TEST_FUZZ=20000 pytest tests/cli/test_fuzz.py` mutates that many inputs of every kind together, and holds each
of them to a deadline, too. Without it work is counted in calls only, because a busy machine may take any time.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import strategies as st
from nibabel.spatialimages import HeaderDataError

from medseg.config import Config
from medseg.config_files import config_names, load_config
from medseg.errors import ConfigError, InputError, ModelError
from medseg.io.discovery import find_scans
from medseg.io.precision import is_huge
from medseg.io.read import read_scan
from medseg.model.model import Model
from medseg.spatial.geometry import Geometry
from tests.support.dicom_files import LPS, write_axial
from tests.support.fuzzing import Bytes, fuzzed, nifti_places, overwritten, refusing
from tests.support.paths import ROOT
from tests.support.scans import load_nifti, nifti_grid


@pytest.fixture(scope="module")
def sound_nifti(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    voxels = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)
    image = nib.Nifti1Image(voxels, np.diag([-1.0, 2, 3, 1]))
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    return path.read_bytes()


@fuzzed(0.45, places=nifti_places(), length=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 1200)))
def test_nifti_headers(tmp_path, sound_nifti, places, length):
    path = tmp_path / "a.nii"
    path.write_bytes(overwritten(sound_nifti, places, length))
    (scan,) = find_scans(tmp_path)
    with refusing(InputError):
        image = read_scan(scan)
        assert scan.is_ok
        if scan.note:
            return  # read otherwise than nibabel does (unit, intercept, unsound form), and said
        try:
            expected = load_nifti(path)
        except HeaderDataError:  # of a number of axes that cannot be nibabel takes the byte order to be the other one
            content = path.read_bytes()
            path.write_bytes(content[:40] + b"\x03\0" + content[42:])
            expected = load_nifti(path)
        values = expected.get_fdata().reshape(image.shape[1:])
        found = image[0].numpy().astype(np.float64)
        least = 4 * float(np.spacing(np.abs(values).max()))  # nibabel adds the offset, which is taken away here
        if is_huge(float(values.min()), float(values.max())):
            values, found = values - values.flat[0], found - found.flat[0]
        assert Geometry.of(image).is_close(nifti_grid(expected))
        assert np.allclose(found, values, rtol=1e-3, atol=1e-3 + least)


def expected_position(path: Path, column: int, row: int) -> npt.NDArray[np.float64]:
    """RAS+ mm of a pixel, by DICOM PS3.3 C.7.6.2.1.1, straight from the elements."""
    found = pydicom.dcmread(path)
    along_row, along_column = np.reshape(np.asarray(found.ImageOrientationPatient, dtype=float), (2, 3))
    down, right = map(float, found.PixelSpacing)
    place = np.asarray(found.ImagePositionPatient, float) + along_row * right * column + along_column * down * row
    return np.asarray(LPS[:3, :3] @ place)


def set_elements(path: Path, changes: list[tuple[str, object]]) -> None:
    """Give elements any value that can be written; pydicom refuses some."""
    found = pydicom.dcmread(path)
    for keyword, value in changes:
        with suppress(Exception):
            if value is None:
                delattr(found, keyword)
            else:
                setattr(found, keyword, value)
    before = path.read_bytes()
    try:
        found.save_as(path)
    except Exception:
        path.write_bytes(before)


KEYWORDS = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "BitsAllocated",
            "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation",
            "RescaleSlope", "RescaleIntercept", "InstanceNumber", "SeriesInstanceUID", "SOPClassUID", "Modality",
            "NumberOfFrames", "ImageType", "FrameOfReferenceUID", "AcquisitionNumber", "PixelData"]  # fmt: skip
Number = st.one_of(st.integers(-5, 70000), st.floats(-1e6, 1e6, allow_nan=False))
Text = st.text("0123456789.-\\eE+ASCIMR^/*", max_size=12)
AnyValue = st.one_of(st.none(), Number, Text, st.lists(Number, max_size=7), st.binary(max_size=40))
Elements = st.lists(st.tuples(st.sampled_from(KEYWORDS), AnyValue), max_size=2)
DicomPlaces = st.lists(st.tuples(st.integers(0, 3000), Bytes), max_size=3)


@fuzzed(
    0.35,
    elements=Elements,
    everywhere=st.booleans(),
    places=DicomPlaces,
    at=st.integers(0, 7),
    cut=st.integers(0, 4000),
)
@pytest.mark.filterwarnings("ignore")
def test_dicom_elements(tmp_path, elements, everywhere, places, at, cut):
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    (tmp_path / "in").mkdir()
    paths = write_axial(tmp_path / "in")
    for path in paths if everywhere else paths[at : at + 1]:
        set_elements(path, elements)
    paths[at].write_bytes(overwritten(paths[at].read_bytes(), places, None if cut > 2000 else -cut or None))
    for scan in find_scans(tmp_path / "in"):
        assert scan.reason.isprintable()
        with refusing(InputError):
            image = read_scan(scan)
            geometry = Geometry.of(image)
            assert geometry.shape[2] == len(scan.paths)
            for column, row in ((0, 0), (geometry.shape[0] - 1, geometry.shape[1] - 1)):
                places_mm = [expected_position(path, column, row) for path in scan.paths]
                found_mm = [(geometry.affine @ [column, row, k, 1])[:3] for k in range(geometry.shape[2])]
                # Slices are accepted a little off their regular place; a tenth of the spacing is never that.
                assert np.abs(np.array(found_mm) - places_mm).max() < 0.1 * max(geometry.spacing_mm)


@fuzzed(0.1, name=st.sampled_from(["model.json", "clusters.safetensors", "autoencoder.safetensors"]),
       places=st.lists(st.tuples(st.integers(0, 2**20), Bytes), min_size=1, max_size=3),
       length=st.one_of(st.none(), st.none(), st.integers(0, 5000)))  # fmt: skip
def test_model_folders(quick_model, tmp_path, name, places, length):
    folder = tmp_path / "model"
    shutil.copytree(quick_model, folder, dirs_exist_ok=True)
    sound = (folder / name).read_bytes()
    # Most of a weights file is weights: half of the places go to what is before them.
    places = [(offset % 2000 if offset % 2 else offset, new) for offset, new in places]
    (folder / name).write_bytes(overwritten(sound, places, length))
    with refusing(ModelError):
        model = Model.load(folder, device="cpu")
        assert len(model.table) >= 1
        assert model.describe()


Yaml = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=6,
)


@fuzzed(
    0.1,
    name=st.sampled_from(config_names()),
    places=st.lists(st.tuples(st.integers(0, 6000), Bytes), max_size=4),
    change=st.one_of(st.none(), st.tuples(st.sampled_from(["training", "clustering.n_clusters", ""]), Yaml)),
)
def test_yaml_configs(tmp_path, name, places, change):
    sound = (ROOT / "configs" / f"{name}.yaml").read_bytes()
    (tmp_path / "config.yaml").write_bytes(overwritten(sound, places, None))
    changes = [] if change is None else [f"{change[0]}={change[1]}"]
    with refusing(ConfigError):
        config = load_config(str(tmp_path / "config.yaml"), changes)
        assert Config.model_validate_json(config.model_dump_json()).model_dump_json() == config.model_dump_json()
