from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import ConfigError, InputError, Model, ModelError, load_config, read_scan
from medseg.model.segment import labels_on
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from sample_data.dicom_series import write_dicom_series
from sample_data.phantom import phantom
from tests.support.scans import GRIDS, write_nifti


def dice(a, b):
    return 2 * np.logical_and(a, b).sum() / max(1, a.sum() + b.sum())


@pytest.fixture(scope="module")
def segmented(model):
    """The same noise-free phantom, segmented on every grid."""
    return {name: model.segment(phantom(geometry)[0]) for name, geometry in GRIDS.items()}


def moved_onto(result, geometry):
    """The label map on another grid: each label's own 0-1 image interpolated, the largest wins."""
    each = np.stack([result.labels == label for label in range(4)]).astype(np.float32)
    image = MetaTensor(torch.from_numpy(each), affine=torch.from_numpy(result.geometry.affine.copy()))
    return resample(image, geometry).as_tensor().argmax(0).numpy()


@pytest.mark.parametrize("name", GRIDS)
def test_labels_find_the_tissues_on_every_grid(segmented, name):
    result, (_, truth) = segmented[name], phantom(GRIDS[name])
    assert result.labels.shape == GRIDS[name].shape
    assert result.geometry.is_close(GRIDS[name])
    for label in (1, 2, 3):
        # The smoke config has three labels, ascending in intensity as the phantom's are.
        assert dice(result.labels == label, truth == label) > 0.95, f"{name}, label {label}"


@pytest.mark.parametrize(("first", "second"), list(combinations(GRIDS, 2)))
def test_any_two_grids_give_the_same_label_map_in_world_space(segmented, first, second):
    """Label maps compared on the grid of the thicker slices; the phantom's truth itself agrees to .987 there."""
    fine, coarse = sorted((segmented[first], segmented[second]), key=lambda s: max(s.geometry.spacing_mm))
    moved = moved_onto(fine, coarse.geometry)
    for label in (1, 2, 3):
        assert dice(moved == label, coarse.labels == label) >= 0.98, label


def test_dicom_gives_the_label_map_of_nifti(model, segmented, tmp_path):
    image, _ = phantom(GRIDS["RAS"])
    write_dicom_series(image, tmp_path / "dicom", modality="MR")
    write_nifti(image, tmp_path / "a.nii.gz")
    from_dicom = model.segment(read_scan(tmp_path / "dicom"))
    from_nifti = model.segment(read_scan(tmp_path / "a.nii.gz"))
    moved = moved_onto(from_dicom, from_nifti.geometry)
    for label in (1, 2, 3):
        assert dice(moved == label, from_nifti.labels == label) >= 0.98


def test_centroids_do_not_move(segmented):
    """Placement: the centroid of each tissue lies within half a voxel of the truth's on every grid."""
    for name, geometry in GRIDS.items():
        _, truth = phantom(geometry)
        for label in (2, 3):
            found = geometry.to_world(np.argwhere(segmented[name].labels == label)).mean(axis=0)
            expected = geometry.to_world(np.argwhere(truth == label)).mean(axis=0)
            assert np.linalg.norm(found - expected) < 0.5 * min(geometry.spacing_mm) + 0.25, (name, label)


def test_intensity_scale_and_shading_do_not_rename_labels(model, segmented):
    image, truth = phantom(GRIDS["RAS"])
    shading = torch.linspace(0.85, 1.15, image.shape[1])[None, :, None, None]
    changed = MetaTensor(image.as_tensor() * shading * 7.3, affine=image.affine)
    labels = model.segment(changed).labels
    for label in (1, 2, 3):
        assert dice(labels == label, truth == label) > 0.93


def test_a_mask_restricts_the_labels(model):
    image, _ = phantom(GRIDS["RAS"])
    inside = torch.zeros_like(image.as_tensor())
    inside[:, 20:60, 25:75, 20:60] = 1
    labels = model.segment(image, MetaTensor(inside, affine=image.affine)).labels
    assert (labels[inside[0].numpy() == 0] == 0).all()
    assert (labels[inside[0].numpy() > 0] > 0).all()


def test_a_saved_model_gives_identical_labels(model, model_folder, segmented):
    image, _ = phantom(GRIDS["thick"])
    loaded = Model.load(model_folder, device="cpu")
    assert np.array_equal(loaded.segment(image).labels, segmented["thick"].labels)
    assert loaded.fingerprint == model.fingerprint
    assert (loaded.config, loaded.plan, loaded.table) == (model.config, model.plan, model.table)


def test_the_model_folder_names_no_scan(model_folder, phantom_scans):
    for file in model_folder.iterdir():
        content = file.read_bytes()
        assert b"RAS.nii" not in content
        assert str(phantom_scans).encode() not in content


def test_the_same_seed_gives_the_same_labels(cohort):
    scans = [read_scan(path) for path in sorted(cohort.glob("*.nii.gz"))[:2]]
    first, again = (Model.fit(scans, load_config("smoke"), device="cpu") for _ in range(2))
    assert again.fingerprint == first.fingerprint


def test_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"found no model\.json"):
        Model.load(tmp_path)


def test_saving_over_other_files_is_refused(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        model.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_device_that_is_not_there_is_refused(model_folder):
    with pytest.raises(ConfigError, match="not available here"):
        Model.load(model_folder, device="cuda:77")


def test_no_usable_scan_is_an_error(tmp_path):
    (tmp_path / "a.nii").write_text("nothing")
    with pytest.raises(InputError, match="none of the scans"):
        Model.fit([tmp_path / "a.nii"], load_config("smoke"))


def test_merged_labels_follow(model, segmented):
    merged = model.relabelled(model.table, {3: 2})
    assert [label.number for label in merged.table] == [1, 2]
    image, _ = phantom(GRIDS["RAS"])
    before, after = segmented["RAS"].labels, merged.segment(image).labels
    assert np.array_equal(after, np.where(before == 3, 2, before))
    assert merged.fingerprint != model.fingerprint
    chained = merged.relabelled(merged.table, {2: 1})
    assert chained.scheme.merged == {3: 1, 2: 1}
    with pytest.raises(ConfigError, match="label 9 does not exist"):
        model.relabelled(model.table, {9: 1})
    with pytest.raises(ConfigError, match="into itself"):
        model.relabelled(model.table, {1: 1})


def test_labels_are_born_on_the_native_grid_slab_by_slab(monkeypatch):
    working = Geometry((6, 6, 6), np.diag([2.0, 2, 2, 1]))
    scores = MetaTensor(torch.rand((4, 6, 6, 6)), affine=torch.from_numpy(working.affine.copy()))
    native = Geometry((11, 11, 11), np.eye(4))
    inside = np.ones(native.shape, bool)
    inside[:, :, :3] = False
    whole = labels_on(native, scores, inside)
    monkeypatch.setattr("medseg.model.segment.SLAB_VOXELS", 1)
    assert np.array_equal(labels_on(native, scores, inside), whole)
    assert (whole[~inside] == 0).all()
    expected = resample(scores, native).as_tensor().argmax(0).numpy() + 1
    assert np.array_equal(whole[inside], expected[inside])
