"""A PACS over DICOMweb: QIDO-RS finds, WADO-RS fetches, STOW-RS stores (PS3.18 10)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from medseg.errors import ConfigError
from medseg.io.pacs.base import Credentials, PacsError, Query, Series, StorageRefusedError, Tls

log = logging.getLogger(__name__)

AS_STORED = (("application/dicom", "*"),)
"""In the transfer syntax that the server has: nothing is compressed or decompressed on the way."""
PAGE = 500
"""Answers to ask for at once."""
REFUSED = (400, 409, 415)
"""Answers to STOW-RS that concern the object (PS3.18 table 10.5.3-1)."""


class WebPacs:
    """The DICOMweb service below one URL."""

    def __init__(self, url: str, credentials: Credentials, tls: Tls) -> None:
        """Prepare the session; nothing is sent yet.

        Raises:
            ConfigError: `url` is none, or credentials would travel unencrypted.
        """
        import requests
        from dicomweb_client.api import DICOMwebClient

        self._host = _checked_host(url, credentials)
        session = requests.Session()
        if credentials.token:
            session.headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.user:
            session.auth = (credentials.user, credentials.password)
        if tls.authority:
            session.verify = str(tls.authority)
        if tls.certificate:
            session.cert = str(tls.certificate)
        # Its messages quote addresses, and those quote patients.
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)
        self._client = DICOMwebClient(url, session=session, timeout=120)

    def find(self, query: Query) -> list[Series]:
        """Series that match; studies are searched first, because not every server searches series across them."""
        studies = self._pages("StudyInstanceUID", self._client.search_for_studies, search_filters=query.study_keys())
        series: list[Series] = []
        for study in sorted(studies):
            found = self._pages("SeriesInstanceUID", self._client.search_for_series, study_instance_uid=study)
            here = [Series.of(one, study) for one in found.values()]
            series += sorted((one for one in here if query.wants(one)), key=lambda one: one.series_uid)
        return series

    def _pages(self, key: str, search: Callable[..., list[Any]], **options: Any) -> dict[str, Dataset]:
        """All answers to a search by UID, page by page.

        A page without anything new is the last: some servers ignore the offset and send the first page for ever.
        """
        found: dict[str, Dataset] = {}
        while True:
            with self._errors("a search"):
                page = search(limit=PAGE, offset=len(found), **options)
                answers = {str(one[key].value): one for one in map(Dataset.from_json, page)}
            if not answers.keys() - found.keys():
                return found
            found |= answers

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""
        with self._errors("search for series"):
            found = self._client.search_for_series(study_uid, search_filters={"SeriesInstanceUID": series_uid})
        return any(str(Dataset.from_json(item).SeriesInstanceUID) == series_uid for item in found)

    def fetch(self, series: Series, folder: Path) -> None:
        """Write every file of a series into an empty folder."""
        with self._errors("fetch a series"), warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            found = self._client.iter_series(series.study_uid, series.series_uid, media_types=AS_STORED)
            for number, instance in enumerate(found):
                instance.save_as(folder / f"{number:06d}.dcm")

    def store(self, path: Path) -> None:
        """Store one DICOM file."""
        with self._errors("store a segmentation", refusals=REFUSED):
            answer = self._client.store_instances([pydicom.dcmread(path)])
        if answer.get("FailedSOPSequence"):
            reason = int(answer.FailedSOPSequence[0].get("FailureReason") or 0)
            raise StorageRefusedError(f"{self._host} did not store the segmentation (reason 0x{reason:04X})")

    @contextmanager
    def _errors(self, doing: str, *, refusals: tuple[int, ...] = ()) -> Iterator[None]:
        """Turn what the libraries raise into one sentence without addresses."""
        import requests

        try:
            yield
        except (requests.RequestException, ValueError, AttributeError, KeyError) as error:
            log.debug("%s: %s", doing, type(error).__name__)
            raise self._explained(error, doing, refusals) from None

    def _explained(self, error: Exception, doing: str, refusals: tuple[int, ...]) -> PacsError:
        import requests

        if isinstance(error, requests.HTTPError):
            status = error.response.status_code if error.response is not None else 0
            kind = StorageRefusedError if status in refusals else PacsError
            advice = "check the credentials" if status in (401, 403) else "check the address and the server's log"
            return kind(f"{self._host} answered {status} to: {doing}; {advice}")
        if isinstance(error, requests.RequestException) and not isinstance(error, ValueError):
            name = type(error).__name__
            return PacsError(f"{self._host} does not answer ({name}) to: {doing}; check address and certificates")
        return PacsError(f"{self._host} gave no DICOMweb answer to: {doing}; check the address")


def _checked_host(url: str, credentials: Credentials) -> str:
    """Name and port of the server."""
    parts: Any = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--dicomweb: found {parts.scheme or 'no'} address, expected https://HOST/dicom-web")
    if parts.username or parts.password:
        raise ConfigError("--dicomweb: found a user in the address, expected none; use --credentials FILE")
    if credentials and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigError("--dicomweb: credentials would travel unencrypted; use an https address")
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
