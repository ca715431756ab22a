"""A phantom's pictures and slices, as they lie in an output folder."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.labels.table import Code, LabelTable
from medseg.model.segmentation import Segmentation
from medseg.report.mosaic import write_pictures
from medseg.report.slices import read_slices
from sample_data.phantom import grids, phantom


@pytest.fixture(scope="module")
def table():
    return LabelTable.default(3).replace(2, name="grey & white", code=Code(value="389080008", meaning="White matter"))


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory, table):
    image, truth = phantom(grids()["RAS"], noise=8.0, seed=0)
    path = tmp_path_factory.mktemp("mosaic") / "scan.png"
    result = Segmentation(np.asarray(truth), grids()["RAS"], table)
    write_pictures(image, result, path.with_suffix(".npz"), path, title="scan")
    return path


@pytest.fixture(scope="module")
def slices(mosaic):
    found = read_slices(mosaic.with_suffix(".npz"))
    assert found is not None
    return found
