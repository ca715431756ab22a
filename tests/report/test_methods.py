"""The methods paragraph tells what the run did, and cites only what it names."""

from __future__ import annotations

import json
import re

import pytest

from medseg.config_files import config_names, load_config
from medseg.model.record import MaskFacts
from medseg.preprocessing.fingerprint import ScanFingerprint
from medseg.preprocessing.plan import Plan
from medseg.report.methods import REFERENCES, methods_of


def facts_of(name: str, modality: str = "MR", *changes: str):
    """What ``run.json`` would hold of a run with this config."""
    config = load_config(name, changes)
    prints = [ScanFingerprint(shape=(100, 100, 100), spacing_mm=(1, 1, 1.2), modality=modality,
                              percentiles=(0, 1, 2, 3, 4), foreground_share=0.5)]  # fmt: skip
    return json.loads(json.dumps({
        "medseg": "0.1.0", "packages": {"torch": "2.13.0+cpu", "monai": "1.6.1"},
        "labels": [{}] * config.clustering.n_clusters, "config": config.model_dump(mode="json"),
        "plan": Plan.fit(prints, config).model_dump(mode="json"), "training": {"n_steps": 175},
    }))  # fmt: skip


@pytest.mark.parametrize("name", config_names())
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_config_has_a_paragraph_whose_references_are_given(name, modality):
    methods = methods_of(facts_of(name, modality), [MaskFacts()] * 10)
    assert methods is not None
    cited = set(re.findall(r"(?:van den Oord|[A-Z][a-z]+) (?:19|20)\d\d\b", methods.paragraph))
    known = {reference for reference in REFERENCES if reference in methods.paragraph}
    assert len(methods.references) == len(known)
    assert cited == known
    assert "10 scans were divided into" in methods.paragraph
    assert "None" not in methods.paragraph
    assert "for 175 steps" in methods.paragraph


def test_the_paragraph_follows_the_settings():
    brain = methods_of(facts_of("brain_t1"), [MaskFacts()])
    assert brain is not None
    for said in ("1 scan was divided into 3 labels", "voxels of 1 x 1 x 1.2 mm", "Wells 1996", "Santago 1993", "seed 0",
                 "at most 3 % of it being brighter"):  # fmt: skip
        assert said in brain.paragraph
    trunk = methods_of(facts_of("body_ct", "CT", "clustering.n_clusters=12", "training.seed=7"), [MaskFacts()] * 4)
    assert trunk is not None
    low, high = load_config("body_ct").preprocessing.window_hu
    for said in (
        f"Hounsfield units from {low:.0f} to {high:.0f}",
        "cut to 12 labels",
        "Achanta 2012",
        "Ward 1963",
        "seed 7",
    ):
        assert said in trunk.paragraph
    assert not any(reference.startswith("Wells") for reference in trunk.references)


@pytest.mark.parametrize("facts", [{}, {"medseg": "0.1.0"}, {**facts_of("generic"), "plan": None}])
def test_facts_of_no_run_give_no_paragraph(facts):
    assert methods_of(facts, [MaskFacts()] * 3) is None


def test_masks_and_who_made_them_are_told():
    masks = [MaskFacts("deepbet 1.0.2"), MaskFacts("deepbet 1.0.2"), MaskFacts("by hand"), MaskFacts("given")]
    found = methods_of(facts_of("brain_t1"), masks)
    assert found is not None
    assert (
        "each scan was used inside its mask: a brain mask by deepbet 1.0.2 (Fisch 2024) (2 of 4 scans), "
        "a brain mask corrected by hand (1 of 4 scans), a given mask (1 of 4 scans); "
    ) in found.paragraph
    assert "voxels other than 0" not in found.paragraph
    assert any("deepbet" in reference for reference in found.references)
    partly = methods_of(facts_of("generic"), [MaskFacts("given"), MaskFacts()])
    assert partly is not None
    assert "no mask (1 of 2 scans); without a mask, the body was found without training" in partly.paragraph
