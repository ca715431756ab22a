"""A PACS in memory, and a model that segments at once."""

from __future__ import annotations

import os
import shutil
import signal
import time
from types import SimpleNamespace
from typing import cast

import numpy as np
import pydicom
import torch

from medseg.batch.outputs import Job
from medseg.batch.pacs_series import work_on_series
from medseg.batch.segment_pacs import Outcome, Work, segment_pacs
from medseg.config import Config
from medseg.io.pacs.base import Found, Pacs, PacsError, Query, Series, StorageRefusedError
from medseg.labels.table import LabelTable
from medseg.model.model import Model
from medseg.model.segmentation import Segmentation
from medseg.spatial.geometry import Geometry


class FakePacs:
    """A PACS in memory with one series, which may refuse."""

    def __init__(self, folder, *, refuses=(), breaks=""):
        self.files, self.refuses, self.breaks = sorted(folder.glob("*.dcm")), refuses, breaks
        self.stored, self.seen = [], []
        first = pydicom.dcmread(self.files[0])
        self.series = Series(first.StudyInstanceUID, first.SeriesInstanceUID, "MR", "4", first.PatientID)

    def find(self, query):
        return Found((self.series,))

    def has(self, study_uid, series_uid):
        self.seen.append(series_uid)
        return any(found.SeriesInstanceUID == series_uid for found in self.stored)

    def fetch(self, series, folder):
        self.fetched = folder
        if self.breaks == "fetch":
            raise PacsError("PACS sent 0 images and ended with no answer; try again")
        if self.breaks == "kill":
            (folder / "half.dcm").write_bytes(b"x")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        if self.breaks == "disk":
            raise OSError(28, "No space left on device")
        for file in self.files:
            shutil.copy(file, folder)
        return len(self.files)

    def store(self, path):
        found = pydicom.dcmread(path)
        if found.SegmentationType in self.refuses:
            raise StorageRefusedError("PACS takes no such objects")
        if self.breaks == "store":
            raise PacsError("PACS ended the connection while storing; try again")
        self.stored.append(found)


class FakeModel:
    """Stands for a model that segments at once, with all that else is asked of it."""

    fingerprint = "0123456789abcdef"
    table = LabelTable.default(3)
    config = Config()
    plan = SimpleNamespace(modality="MR")
    device = torch.device("cpu")

    def segment(self, image, mask=None, **_):
        geometry = Geometry.of(image)
        labels = (1 + np.indices(geometry.shape)[2] % 3).astype(np.uint8)
        return Segmentation(labels, geometry, self.table)


def in_this_process(job: Job) -> Work:
    """The work on a series without a process of its own."""
    return lambda task: work_on_series(cast(Model, FakeModel()), task, job)


def segment_with_fake_model(pacs: Pacs, query: Query, job: Job) -> Outcome:
    """`medseg pacs` without processes and without a model."""
    return segment_pacs(pacs, query, in_this_process(job), job, FakeModel.fingerprint)
