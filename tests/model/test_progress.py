"""Every stage of a fit says how far it is."""

from __future__ import annotations

from collections import defaultdict

import pytest

from medseg import Model, load_config
from medseg.model.cohort import Watch
from sample_data.phantom import phantom
from tests.support.cohorts import small_grid
from tests.support.trunks import ct

QUICK = ("training.max_steps=2", "autoencoder.channels=4", "autoencoder.context_steps=2", "autoencoder.texture_steps=2")


@pytest.mark.parametrize(("config", "n_passes"), [("body_ct", 3), ("generic", 2), ("lung_mr", 1), ("smoke", 0)])
def test_parts_of_every_stage(config, n_passes):
    is_ct = config == "body_ct"
    scans = [ct(n, 20)[0] if is_ct else phantom(small_grid(), noise=8.0, seed=n)[0] for n in range(4)]
    told: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    stages: list[str] = []
    watch = Watch(on_stage=stages.append, on_part=lambda done, total: told[stages[-1]].append((done, total)))
    Model.fit(scans, load_config(config, [*QUICK, "training.patch_size=24"]), device="cpu", watch=watch)
    expected = {"clustering": 4 * n_passes, "halves": 4 + 4 * n_passes if n_passes else 0, "describing": 4}
    assert {stage: total for stage, total in expected.items() if total} == {x: len(parts) for x, parts in told.items()}
    for stage, parts in told.items():
        assert parts == [(done, expected[stage]) for done in range(1, expected[stage] + 1)]
    said = ["clustering", "describing", "halves"] if n_passes else ["describing"]
    assert [stage for stage in stages if stage in expected] == said
