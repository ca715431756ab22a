"""What goes in and out of messages of the classic network protocol of DICOM: keys, answers, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info

from medseg.io.pacs.base import Values

SUCCESS, NO_RESOURCES = 0x0000, 0xA700
KEYS = {
    "STUDY": ("StudyInstanceUID", "PatientID", "StudyDate"),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "NumberOfSeriesRelatedInstances"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""What is asked to be returned at each level of a search."""


def identifier(level: str, keys: dict[str, str]) -> Dataset:
    """What to match, and with empty values what to return."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in KEYS[level]:
        setattr(identifier, keyword, keys.get(keyword))
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def values_of(answer: Dataset, level: str) -> Values:
    """What an answer holds of what was asked for; a value that cannot be read counts as none."""
    found = {}
    for keyword in KEYS[level]:
        try:
            value = answer.get(keyword)
        except (ValueError, TypeError, AttributeError, LookupError, NotImplementedError):
            continue
        if isinstance(value, (str, int)):
            found[keyword] = str(value).strip(" \0")
    return found


class Received:
    """Files that come by C-STORE within a C-GET."""

    def __init__(self, folder: Path, n_expected: int) -> None:
        self._folder, self._n_expected = folder, n_expected
        self.n_files = 0
        self.error: OSError | None = None

    def keep(self, event: Any) -> int:
        """Write one file as it came; the status to answer."""
        path = self._folder / f"{self.n_files:06d}.dcm"
        self.n_files += 1
        if self.error is not None or self.n_files > self._n_expected:
            return NO_RESOURCES
        try:
            with path.open("xb") as file:
                file.write(b"\0" * 128 + b"DICM")
                write_file_meta_info(cast(DicomIO, file), event.file_meta)  # it writes, nothing else
                file.write(event.request.DataSet.getbuffer())
        except OSError as error:  # pynetdicom would swallow it
            self.error = error
            return NO_RESOURCES
        return SUCCESS


def text_of(status: Dataset) -> str:
    """A status for people."""
    code = status.get("Status")
    return "no answer" if code is None else f"status 0x{code:04X}"
