"""Time and disk as ranges: from known figures, from earlier scans of the folder, and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.batch.amounts import duration, size
from medseg.batch.estimate import NOTHING, Range, estimate_segmenting, estimate_training, voxels_of
from medseg.config_files import load_config
from medseg.io.scan import Scan
from medseg.model.outputs import Output
from medseg.model.record import Record
from medseg.spatial.geometry import Geometry

BRAIN, CT = (197, 233, 189), (512, 512, 458)


def scan(name: str, shape: tuple[int, int, int]) -> Scan:
    return Scan(name, (Path(name),), "nifti", geometry=Geometry(shape, np.eye(4)))


def alone(shape: tuple[int, int, int], **options: int) -> Range:
    given = {"n_labels": 3, "n_workers": 1, "n_cores": 2, **options}
    return estimate_segmenting([scan("a", shape)], {}, [], {Output.NIFTI}, **given).seconds


MEASURED = [(BRAIN, (4.3, 10.0)), (CT, (45.0, 87.0)), ((28, 28, 28), (0.15, 1.6))]


@pytest.mark.parametrize(("shape", "measured_s"), MEASURED)
def test_known_figures_lie_in_the_range(shape, measured_s):
    low, high = alone(shape)
    assert low <= max(measured_s)
    assert min(measured_s) <= high
    assert low < measured_s[0] * 1.5
    assert high > measured_s[1]
    assert high < 12 * low + 8


def test_more_cores_take_less_and_one_takes_more():
    two, four, one = (alone(BRAIN, n_cores=n) for n in (2, 4, 1))
    assert four == pytest.approx((two.low / 2, two.high))
    assert one == pytest.approx((two.low, 2 * two.high))


def test_earlier_scans_of_the_folder_say_more():
    done = [scan(f"d{n}", BRAIN) for n in range(4)]
    records = {item.id: Record(item.id, "done", seconds=10.0) for item in done}
    left = [scan(f"l{n}", BRAIN) for n in range(6)]
    options = {"n_labels": 3, "n_cores": 2}
    found = estimate_segmenting(left, records, [*done, *left], {Output.NIFTI}, n_workers=2, **options)
    assert found.n_measured == 4
    assert tuple(found.seconds) == pytest.approx((0.8 * 30, 1.3 * 30))
    few = dict(list(records.items())[:2])
    assert estimate_segmenting(left, few, [*done, *left], {Output.NIFTI}, n_workers=2, **options).n_measured == 0
    bad = {name: Record(name, "failed", "crashed", "x", 3.0) for name in records}
    assert estimate_segmenting(left, bad, [*done, *left], {Output.NIFTI}, n_workers=2, **options).n_measured == 0
    assert estimate_segmenting([], {}, [], {Output.NIFTI}, n_workers=1, **options).seconds == NOTHING


def test_disk_follows_the_outputs():
    def disk(*outputs: Output, n_labels: int = 3) -> Range:
        options = {"n_labels": n_labels, "n_workers": 1, "n_cores": 2}
        return estimate_segmenting([scan("a", BRAIN)], {}, [], set(outputs), **options).n_bytes

    plain, more = disk(Output.NIFTI), disk(Output.NIFTI, Output.MRB)
    assert 1e5 < plain.low < plain.high < 1e7
    assert more.high > 4 * plain.high
    assert disk(Output.FRACTIONS, n_labels=12).low > disk(Output.FRACTIONS).low


def test_training_takes_its_steps():
    scans = [scan(str(n), BRAIN) for n in range(10)]

    def most(name: str, *changes: str) -> float:
        return estimate_training(scans, load_config(name, changes), n_cores=2).seconds.high

    long, short = (most("brain_t1", f"training.max_steps={n}") for n in (1000, 10))
    assert long - short == pytest.approx(990 * 0.4)
    assert most("body_ct") > most("body_ct", "autoencoder.context_steps=0")
    assert most("brain_t1", "training.ensemble=3") > 1.5 * most("brain_t1")


def test_voxels_of_all_channels():
    first = replace(scan("a", (2, 3, 4)), more_channels=(scan("b", (5, 5, 5)),))
    assert voxels_of(first) == 24 + 125
    assert voxels_of(Scan("a", (Path("a"),), "nifti")) == 0


DURATIONS = [(0.1, "1 s"), (20, "20 s"), (180, "3 min"), (7200, "2.0 h"), (260000, "3.0 days")]
SIZES = [(3e5, "300 kB"), (2.5e6, "2.5 MB"), (1.23e9, "1.2 GB"), (6.3e11, "630 GB"), (2e12, "2 TB")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("n_bytes", "text"), SIZES)
def test_sizes(n_bytes, text):
    assert size(n_bytes) == text
