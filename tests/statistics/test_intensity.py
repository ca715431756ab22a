"""Statistics of labels are those of plain NumPy in double precision, channel by channel, and touch nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg.statistics import values
from medseg.statistics.intensity import AS_STORED, HOUNSFIELD, intensity_statistics, unit_of


def scan(n_channels=1, seed=0):
    """A (C, I, J, K) image of wide range and a label map with the labels 1, 2, 5."""
    random = np.random.default_rng(seed)
    voxels = random.normal(-300, 900, (n_channels, 14, 11, 9)).astype(np.float32)
    labels = random.choice([0, 1, 2, 5], size=voxels.shape[1:], p=[0.4, 0.3, 0.29, 0.01]).astype(np.uint8)
    return MetaTensor(torch.from_numpy(voxels), affine=torch.eye(4, dtype=torch.float64)), labels


@pytest.mark.parametrize("piece", [7, 1_000_000])
def test_statistics_are_those_of_numpy(piece, monkeypatch):
    image, labels = scan()
    before = image.as_tensor().clone()
    monkeypatch.setattr(values, "PIECE", piece)
    found = intensity_statistics(image, labels, (1, 2, 5), unit=HOUNSFIELD)
    assert torch.equal(image.as_tensor(), before)
    assert [(one.label, one.channel, one.unit) for one in found] == [(1, "", "HU"), (2, "", "HU"), (5, "", "HU")]
    for one in found:
        inside = image.as_tensor()[0].numpy()[labels == one.label].astype(np.float64)
        expected = (inside.mean(), inside.std(), *np.percentile(inside, (50, 5, 95)))
        assert (one.mean, one.sd, one.median, one.p05, one.p95) == pytest.approx(expected, rel=1e-12)
        assert one.n_voxels == inside.size


def test_percentiles_lie_between_ranks_and_at_the_ends():
    assert values.percentiles_of(np.array([3], np.float32), (0, 50, 100)) == [3, 3, 3]
    assert values.percentiles_of(np.array([10, 0, 20], np.float32), (0, 25, 50, 100)) == [0, 5, 10, 20]


def test_channels_have_their_names_and_their_own_values():
    image, labels = scan(2)
    found = intensity_statistics(image, labels, (1, 2), unit=AS_STORED, channels=("T1w", "FLAIR"))
    assert [(one.channel, one.label) for one in found] == [("T1w", 1), ("T1w", 2), ("FLAIR", 1), ("FLAIR", 2)]
    flair = image.as_tensor()[1].numpy()[labels == 2]
    assert found[3].mean == pytest.approx(flair.mean(dtype=np.float64))
    assert {one.unit for one in found} == {"as stored"}
    assert [one.channel for one in intensity_statistics(image, labels, (1,), unit=AS_STORED)] == ["1", "2"]


def test_of_a_label_without_voxels_nothing_is_known():
    image, labels = scan()
    (one,) = intensity_statistics(image, labels, (4,), unit=AS_STORED)
    assert (one.n_voxels, one.mean, one.sd, one.median, one.p05, one.p95) == (0, None, None, None, None, None)


def test_only_a_ct_has_a_unit_of_its_own():
    assert [unit_of(modality) for modality in ("CT", "MR", "PT", "")] == ["HU", "as stored", "as stored", "as stored"]
