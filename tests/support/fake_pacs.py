"""A PACS in memory."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pydicom

from medseg.io.pacs.base import PacsError, Series, StorageRefusedError


class FakePacs:
    """A PACS in memory with one series, which may refuse."""

    def __init__(self, folder, *, refuses=(), breaks="", series_uid="1.2.3"):
        self.folder, self.refuses, self.breaks = folder, refuses, breaks
        self.stored, self.seen = [], []
        self.series = Series("1.2", series_uid, "MR", "4")

    def find(self, query):
        return [self.series]

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
        for file in self.folder.glob("*.dcm"):
            shutil.copy(file, folder)

    def store(self, path):
        found = pydicom.dcmread(path)
        if found.SegmentationType in self.refuses:
            raise StorageRefusedError("PACS takes no such objects")
        self.stored.append(found)
