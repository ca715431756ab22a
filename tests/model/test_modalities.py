"""One model serves one modality: a mixed folder is fitted to the commoner one, the rest is refused by name."""

from __future__ import annotations

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config
from medseg.errors import InputError
from medseg.model.cohort import Watch
from sample_data.faults import person

TINY = ["training.max_steps=2", "clustering.n_clusters=3", "autoencoder.context_steps=0", "autoencoder.channels=4"]


def trunk(seed: int) -> MetaTensor:
    """Air of -1000 HU around soft tissue with fat, on the grid of a person."""
    image = person(seed)
    inside = image.as_tensor() > 0
    noise = 10 * torch.randn(inside.shape, generator=torch.Generator().manual_seed(seed))
    bright = image.as_tensor() > image.as_tensor()[inside].median()
    return MetaTensor(torch.where(inside, torch.where(bright, 50.0, -100.0) + noise, -1000.0), affine=image.affine)


def fitted(scans: list[MetaTensor], *changes: str) -> tuple[Model, list[tuple[object, InputError]]]:
    refused = list[tuple[object, InputError]]()
    watch = Watch(on_refused=lambda scan, error: refused.append((scan, error)))
    return Model.fit(scans, load_config("generic", [*TINY, *changes]), watch=watch, device="cpu"), refused


def test_the_rarer_modality_is_left_out_and_told():
    ct = trunk(3)
    model, refused = fitted([person(1), ct, person(2)])
    assert model.plan.modality == "MR"
    assert len(model.fingerprints) == 2
    ((scan, error),) = refused
    assert scan is ct
    assert error.code == "other_modality"
    assert "the scan is CT, expected MR as the 2 others" in str(error)
    with pytest.raises(InputError, match="the scan is CT, expected MR, as the model was fitted to"):
        model.segment(ct)
    assert model.segment(person(3)).labels.max() > 0


def test_a_scan_without_a_negative_value_is_no_ct():
    model, refused = fitted([trunk(1)])
    assert model.plan.modality == "CT"
    assert not refused
    with pytest.raises(InputError, match="no CT, no intensity of which is negative, expected Hounsfield units"):
        model.segment(person(3))


def test_mr_among_ct_is_refused_also_where_the_config_names_ct():
    model, refused = fitted([trunk(1), person(2)], "preprocessing.modality=CT")
    ((_, error),) = refused
    assert error.code == "other_modality"
    assert len(model.fingerprints) == 1
    with pytest.raises(InputError, match="no CT, no intensity of which is negative"):
        model.segment(person(3))


def test_who_names_mr_is_believed():
    model, refused = fitted([person(1), trunk(3)], "preprocessing.modality=MR")
    assert not refused
    assert model.segment(trunk(3)).labels.max() > 0
