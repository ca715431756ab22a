"""Whether the files that a PACS sent are the series that it was asked for: right study, series, patient, all of it."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import InputError
from medseg.io.dicom.header import Header
from medseg.io.dicom.read_headers import hidden, read_header
from medseg.io.pacs.base import PacsError, Series


def check_received(folder: Path, series: Series, n_expected: int) -> None:
    """Refuse anything but the whole of one series.

    Raises:
        PacsError: another patient, study or series; another number of images; a file that is no DICOM.
    """
    headers = [_header(path) for path in sorted(folder.iterdir())]
    expected = hidden(series.patient)
    patients = {header.patient[0] for header in headers}
    if expected and patients != {expected}:
        raise PacsError("the PACS sent images of another patient than the one asked for; look at the PACS")
    if {header.study_uid for header in headers} != {series.study_uid}:
        raise PacsError("the PACS sent images of another study than the one asked for; look at the PACS")
    if {header.series_uid for header in headers} != {series.series_uid}:
        raise PacsError("the PACS sent images of another series than the one asked for; look at the PACS")
    n_images = len({header.sop_uid for header in headers})
    if n_images != n_expected:
        raise PacsError(f"the PACS sent {n_images} different images of {n_expected}; try again")


def _header(path: Path) -> Header:
    try:
        header = read_header(path)
    except InputError:
        header = None
    if header is None:
        raise PacsError("the PACS sent a file that is no readable DICOM; look at the PACS")
    return header
