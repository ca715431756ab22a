"""A PACS over DICOMweb: QIDO-RS finds, WADO-RS fetches, STOW-RS stores (PS3.18 10)."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from medseg.io.pacs.answers import failure_reason, search_answers
from medseg.io.pacs.base import (
    Bounds,
    Credentials,
    Found,
    PacsError,
    Query,
    Series,
    StorageRefusedError,
    Tls,
    Values,
)
from medseg.io.pacs.http import Request, Server
from medseg.io.pacs.multipart import BodyError, boundary_of, write_parts
from medseg.io.pacs.search import find_series

JSON = {"Accept": "application/dicom+json, application/json;q=0.9"}
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
"""In the transfer syntax that the server has: nothing is compressed or decompressed on the way."""
PAGE = 500
"""Answers to ask for at once."""
REFUSED = (400, 409, 415)
"""Answers to STOW-RS that concern the object (PS3.18 table 10.5.3-1)."""


class WebPacs:
    """The DICOMweb service below one URL."""

    def __init__(self, url: str, credentials: Credentials, tls: Tls, bounds: Bounds | None = None) -> None:
        """Prepare the session; nothing is sent yet.

        Raises:
            ConfigError: `url` is none, or credentials would travel unencrypted.
        """
        self._server = Server(url, credentials, tls, bounds or Bounds())

    def find(self, query: Query) -> Found:
        """Series that match."""
        return find_series(query, self._pages("StudyInstanceUID", "studies", query.study_keys()).values(),
                           lambda uid: self._pages("SeriesInstanceUID", f"studies/{uid}/series").values())  # fmt: skip

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""
        found = self._search(f"studies/{study_uid}/series", {"SeriesInstanceUID": series_uid})
        return any(one.get("SeriesInstanceUID") == series_uid for one in found)

    def fetch(self, series: Series, folder: Path) -> int:
        """Write every file of a series into an empty folder; returns how many the server says that it has.

        Raises:
            PacsError: also when fewer or more come than it says, or the answer ends early.
        """
        path = f"studies/{series.study_uid}/series/{series.series_uid}"
        n_expected = series.n_instances or len(self._pages("SOPInstanceUID", f"{path}/instances"))
        host, bounds = self._server.host, self._server.bounds
        if not 0 < n_expected <= bounds.n_found:
            raise PacsError(f"{host} does not say how many files the series has, or too many; look at the PACS")
        with self._server.answer(Request("fetch a series", path, AS_STORED)) as answer:
            try:
                boundary = boundary_of(answer.content_type)
                n_files = write_parts(answer.pieces(), boundary, folder, n_parts=n_expected, bounds=bounds)
            except BodyError as error:
                raise PacsError(f"{host} {error}; look at the PACS, or try again") from None
        if n_files < n_expected:
            raise PacsError(f"{host} sent {n_files} of {n_expected} files of the series; try again")
        return n_expected

    def store(self, path: Path) -> None:
        """Store one DICOM file."""
        boundary = secrets.token_hex(16)
        headers = {**JSON, "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        body = path.with_suffix(".body")
        try:
            with body.open("wb") as file, path.open("rb") as content:
                file.write(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode())
                shutil.copyfileobj(content, file)
                file.write(f"\r\n--{boundary}--\r\n".encode())
            request = Request("store a segmentation", "studies", headers, body, REFUSED)
            with self._server.answer(request) as answer:
                self._check_stored(answer.body())
        finally:
            body.unlink(missing_ok=True)

    def _check_stored(self, body: bytes) -> None:
        try:
            reason = failure_reason(body)
        except ValueError:
            raise PacsError(f"{self._server.host} does not say that it stored the segmentation; check the "
                            "address and the server's log") from None  # fmt: skip
        if reason is not None:
            raise StorageRefusedError(f"{self._server.host} did not store the segmentation (reason 0x{reason:04X})")

    def _search(self, path: str, keys: Mapping[str, object]) -> list[Values]:
        request = Request("a search", f"{path}?{urlencode(keys)}", JSON)
        with self._server.answer(request) as answer, self._server.errors(request):
            return search_answers(answer.body())

    def _pages(self, key: str, path: str, keys: Mapping[str, str] | None = None) -> dict[str, Values]:
        """All answers to a search by UID, page by page.

        A page without anything new is the last: some servers ignore the offset and send the first page for ever.
        """
        found: dict[str, Values] = {}
        while True:
            page = self._search(path, {"limit": PAGE, "offset": len(found), **(keys or {})})
            answers = {one.get(key, ""): one for one in page}
            if not answers.keys() - found.keys():
                return found
            found |= answers
            if len(found) > self._server.bounds.n_found:
                raise PacsError(f"{self._server.host} finds more than {self._server.bounds.n_found}; ask for less")
