"""The foreground of CT: real scans, and what is no CT."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg import find_scans, read_scan
from medseg.preprocessing.fingerprint import is_hounsfield
from sample_data.__main__ import write_ct
from tests.support.scans import shared
from tests.support.trunk import found_in, image_of


def test_the_sample_series_is_all_body(tmp_path):
    """8 x 8 x 12 mm between chest wall and lung, without outside air."""
    write_ct(tmp_path)
    (scan,) = find_scans(tmp_path)
    assert found_in(read_scan(scan)).all()


def test_other_signed_numbers_are_not_hounsfield_units():
    rng = np.random.default_rng(0)
    phase = rng.uniform(-4096, 4095, (40, 40, 40))
    field = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 5)
    assert not is_hounsfield(image_of(phase))
    assert not is_hounsfield(image_of(field / field.std() * 80))  # Hz
    assert not is_hounsfield(image_of(rng.standard_normal((40, 40, 40))))  # z-scores


@pytest.mark.parametrize("name", ["chest1", "chest2"])
def test_cropped_lungs_of_patients_are_body(name):
    image = read_scan(shared(f"data/ct_chest/images/{name}.nii.gz"))
    tissues = read_scan(shared(f"data/ct_chest/tissues/{name}.nii.gz")).as_tensor()[0].numpy()
    hu, found = image.as_tensor()[0].numpy(), found_in(image)
    # By HU alone clothes and foam are lung, too: what hangs together with outside air is left out.
    parts, n_parts = ndimage.label(hu < -300)
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)
    is_air = np.bincount(parts[hu < -985], minlength=n_parts + 1) > 0.3 * sizes
    lung = (tissues == 1) & ~is_air[parts]
    assert lung.sum() > 200_000
    for tissue in (lung, tissues == 2, tissues == 3, tissues == 4):
        assert (tissue & ~found).sum() <= 0.001 * tissue.sum()
    cloth = (tissues == 1) & is_air[parts]
    assert (cloth & found).sum() <= 0.01 * cloth.sum()


@pytest.mark.parametrize("name", ["example_ct", "example_ct_sm"])
def test_every_organ_of_a_trunk_is_body_and_the_table_is_not(name):
    image = read_scan(shared(f"data/ct_trunk/{name}.nii.gz"))
    found = found_in(image)
    hu = image.as_tensor()[0].numpy()
    assert 0.62 < found.mean() < 0.67
    corner = found[:, -12:, :] & (hu[:, -12:, :] < -940)
    assert not corner.any()
    if name == "example_ct":
        organs = read_scan(shared("data/ct_trunk/example_seg_fast_force_split.nii.gz")).as_tensor()[0].numpy()
        for organ in np.unique(organs[organs > 0]):
            assert found[organs == organ].mean() > 0.995
