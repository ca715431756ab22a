"""Tissues are found although a few percent of a brain are brighter than all of them: contrast agent, blood, fat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import load_config
from medseg.model.prepare import prepare
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.foreground import find_foreground
from medseg.preprocessing.plan import Plan
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.tissues.contrast import borders_between, histogram_of
from medseg.tissues.pure_tissues import pure_tissue_means

SHAPE = (64, 76, 60)
X, Y, Z = np.indices(SHAPE)
DISTANCE = np.sqrt(((X - 31.5) / 28) ** 2 + ((Y - 37.5) / 33) ** 2 + ((Z - 29.5) / 26) ** 2)
TRUTH = np.select([DISTANCE >= 1, DISTANCE < 0.25, DISTANCE < 0.72, DISTANCE < 0.93], [0, 1, 3, 2], 1)
BRAIN = TRUTH > 0
T1 = np.choose(TRUTH, [0.0, 60.0, 150.0, 220.0]) + BRAIN * np.random.default_rng(0).normal(0, 12, SHAPE)


def labels_of(values: npt.NDArray[np.float64], *changes: str) -> npt.NDArray[np.int64]:
    """(I, J, K) intervals between the tissue means of a brain made ready for a network."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy(values[None].astype(np.float32)), affine=affine)
    config = load_config("brain_t1", changes)
    foreground = find_foreground(image)
    plan = Plan.fit([ScanFingerprint.of(image, foreground)], config)
    seen, inside = prepare(image, foreground, plan, config.clustering)[2:0:-1]
    means = pure_tissue_means(histogram_of(seen.as_tensor(), inside.as_tensor() > 0), 3)
    bands = (1 + np.searchsorted(borders_between(means), seen.numpy())) * (inside.numpy() > 0)
    native = resample(MetaTensor(torch.from_numpy(bands).float(), affine=seen.affine), Geometry.of(image), "nearest")
    return np.asarray(native.numpy()[0].round().astype(np.int64) * BRAIN)


def dice(found: npt.NDArray[np.int64], label: int, where: npt.NDArray[np.bool_]) -> float:
    a, b = (found == label) & where, (label == TRUTH) & where
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def with_blob(share: float, factor: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The brain with a ball of `share` of it in its white matter, `factor` times as bright."""
    away = (X - 40) ** 2 + (Y - 37) ** 2 + (Z - 30) ** 2
    blob = BRAIN & (away <= np.sort(away[BRAIN])[int(share * BRAIN.sum())])
    return np.where(blob, 220 * factor + T1 - np.choose(TRUTH, [0.0, 60.0, 150.0, 220.0]), T1), blob


@pytest.mark.parametrize("share", [0.006, 0.02, 0.028])
@pytest.mark.parametrize("factor", [1.3, 1.6, 3.0, 10.0])
def test_tissues_are_found_beside_a_bright_blob(share, factor):
    values, blob = with_blob(share, factor)
    found = labels_of(values)
    assert min(dice(found, label, ~blob) for label in (2, 3)) > 0.9
    assert (found[blob] == 3).mean() > 0.98  # what is brighter than every tissue goes to the brightest


def test_without_room_for_outliers_a_blob_takes_a_label():
    values, blob = with_blob(0.02, 3.0)
    assert dice(labels_of(values, "preprocessing.outlier_share=0"), 3, ~blob) < 0.1


def test_a_brain_without_outliers_stays_as_it_was():
    assert np.array_equal(labels_of(T1), labels_of(T1, "preprocessing.outlier_share=0"))
