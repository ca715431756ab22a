"""A PACS over the classic network protocol of DICOM: C-FIND, C-GET, C-STORE (PS3.4 B and C)."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from medseg.errors import ConfigError
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
from medseg.io.pacs.dimse_data import Received, identifier, text_of, values_of
from medseg.io.pacs.dimse_line import Line
from medseg.io.pacs.search import find_series

log = logging.getLogger(__name__)

_FIND, _GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
"""Study root query, and retrieve by C-GET."""
_IMAGES = (
    *(uid.CTImageStorage, uid.MRImageStorage, uid.PositronEmissionTomographyImageStorage),
    *(uid.EnhancedCTImageStorage, uid.EnhancedMRImageStorage, uid.EnhancedPETImageStorage),
    *(uid.LegacyConvertedEnhancedCTImageStorage, uid.LegacyConvertedEnhancedMRImageStorage),
)
_PLAIN: list[str | uid.UID] = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
_COMPRESSED = (
    *(uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless),
    *(uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000),
)
_PENDING, _SUCCESS, _UNSUPPORTED_CLASS = (0xFF00, 0xFF01), 0x0000, 0x0122
_OUT_OF_RESOURCES = 0xA700


class DimsePacs:
    """An application entity, written ``TITLE@HOST:PORT``."""

    def __init__(
        self, peer: str, title: str, credentials: Credentials, tls: Tls | None, bounds: Bounds | None = None
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            title: of this side, as the server knows it.
            tls: None for an unencrypted connection.

        Raises:
            ConfigError: `peer` or `title` has another form, or credentials would travel unencrypted.
        """
        match = re.fullmatch(r"([^@\\]{1,16})@(\[[^\]]+\]|[^:@]+):(\d{1,5})", peer)
        if not match:
            raise ConfigError(f"--dimse {peer}: expected TITLE@HOST:PORT, for example PACS@pacs.hospital.example:11112")
        if not re.fullmatch(r"[^\\]{1,16}", title):
            raise ConfigError(f"--aet {title}: expected a title of 1 to 16 characters")
        self._called, self._host, self._port = match[1], match[2].strip("[]"), int(match[3])
        if credentials and tls is None and self._host not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigError("--dimse: credentials would travel unencrypted; add --tls")
        self._title, self._credentials, self._bounds = title, credentials, bounds or Bounds()
        self._tls = None if tls is None else _tls_context(tls)
        # Its messages quote what is sent, and that quotes patients.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

    def find(self, query: Query) -> Found:
        """Series that match."""
        return find_series(query, self._ask("STUDY", query.study_keys()),
                           lambda study: self._ask("SERIES", {"StudyInstanceUID": study}))  # fmt: skip

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""
        found = self._ask("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid})
        return any(one.get("SeriesInstanceUID") == series_uid for one in found)

    def fetch(self, series: Series, folder: Path) -> int:
        """Write every file of a series into an empty folder, by C-GET; returns how many the server says that it has.

        Raises:
            PacsError: also when fewer or more come than it says.
        """
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.series_uid}
        n_expected = series.n_instances or len({one.get("SOPInstanceUID") for one in self._ask("IMAGE", keys)})
        if not 0 < n_expected <= self._bounds.n_found:
            raise PacsError(f"{self._called} does not say how many files the series has, or too many; look at the PACS")
        received = Received(folder, n_expected)
        status = self._get(keys, received)
        if received.error is not None:
            raise received.error
        if received.n_files > n_expected:
            raise PacsError(f"{self._called} sent more than the {n_expected} files that it said the series has")
        if status.get("Status") != _SUCCESS or received.n_files < n_expected:
            raise PacsError(f"{self._called} sent {received.n_files} of {n_expected} images and ended with "
                            f"{text_of(status)}; try again")  # fmt: skip
        return n_expected

    def _get(self, keys: dict[str, str], received: Received) -> Dataset:
        """The last status of one C-GET."""
        from pynetdicom import build_context, build_role, evt

        contexts = [build_context(_GET)] + [
            build_context(kind, syntax) for kind in _IMAGES for syntax in (_PLAIN, *_COMPRESSED)
        ]
        roles = [build_role(kind, scp_role=True) for kind in _IMAGES]
        line = Line(self._bounds.seconds, self._bounds.series_bytes, self._bounds.instance_bytes)

        def keep(event: Any) -> int:
            line.handled(event.request.DataSet.getbuffer().nbytes)
            return received.keep(event)

        with self._association(contexts, line, roles, [(evt.EVT_C_STORE, keep)]) as association:
            if association is None:
                raise PacsError(f"{self._called} takes no C-GET; use DICOMweb, or ask its administrator for C-GET")
            answers = list(association.send_c_get(identifier("SERIES", keys), _GET))
        return answers[-1][0] if answers else Dataset()

    def store(self, path: Path) -> None:
        """Store one DICOM file by C-STORE."""
        from pynetdicom import build_context

        segmentation = pydicom.dcmread(path)
        kind, syntax = segmentation.SOPClassUID, segmentation.file_meta.TransferSyntaxUID
        line = self._short_line()
        with self._association([build_context(kind, syntax), build_context(kind, _PLAIN)], line) as association:
            if association is None:
                raise StorageRefusedError(f"{self._called} takes no objects of the kind {kind}")
            accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
            if syntax not in accepted and syntax.is_encapsulated:
                segmentation.decompress(generate_instance_uid=False)
            status = association.send_c_store(segmentation)
        code = status.get("Status")
        if code is None:
            raise PacsError(f"{self._called} ended the connection while storing; try again")
        if code == _UNSUPPORTED_CLASS or code >> 8 == 0xA9 or code >> 12 == 0xC:
            raise StorageRefusedError(f"{self._called} did not store the segmentation ({text_of(status)})")
        if code != _SUCCESS and code >> 12 != 0xB:  # warnings
            raise PacsError(f"{self._called} did not store the segmentation ({text_of(status)}); try again later")

    def _short_line(self) -> Line:
        """For answers that are held until all have come."""
        return Line(self._bounds.seconds, self._bounds.answer_bytes, self._bounds.answer_bytes)

    def _ask(self, level: str, keys: dict[str, str]) -> list[Values]:
        """The answers to one C-FIND."""
        from pynetdicom import build_context

        found: list[Values] = []
        line = self._short_line()
        with self._association([build_context(_FIND)], line) as association:
            if association is None:
                raise PacsError(f"{self._called} takes no C-FIND from {self._title}; ask its administrator")
            for status, answer in association.send_c_find(identifier(level, keys), _FIND):
                code = status.get("Status")
                if code in _PENDING and answer is not None:
                    found.append(values_of(answer, level))
                elif code != _SUCCESS:
                    raise PacsError(f"{self._called} ended the search with {text_of(status)}; try again")
                if len(found) > self._bounds.n_found:
                    raise PacsError(f"{self._called} finds more than {self._bounds.n_found}; ask for less")
        return found

    @contextmanager
    def _association(
        self, contexts: list[Any], line: Line, roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any | None]:
        """An open association; None when the server is there but takes none of the contexts."""
        from pynetdicom import AE, evt

        entity = AE(ae_title=self._title)
        entity.connection_timeout, entity.acse_timeout = (min(s, self._bounds.seconds) for s in (20, 30))
        entity.dimse_timeout = entity.network_timeout = min(300, self._bounds.seconds)
        options: dict[str, Any] = {"ae_title": self._called, "ext_neg": [*roles, *self._identity()],
                                   "evt_handlers": [*handlers, (evt.EVT_CONN_OPEN, line.watch)]}  # fmt: skip
        if self._tls:
            options["tls_args"] = (self._tls, self._host)
        association = entity.associate(self._host, self._port, contexts=contexts, **options)
        if not association.is_established:
            if association.is_aborted and association.rejected_contexts and not association.accepted_contexts:
                yield None
                return
            what = "refuses the connection" if association.is_rejected else "does not answer"
            raise PacsError(f"{self._called} at {self._host}:{self._port} {what}; check address, titles and TLS")
        try:
            yield association
        except PacsError:
            association.abort()
            if not line.flaw:
                raise
        finally:
            if association.is_established:
                association.release()
        if line.flaw:
            raise PacsError(f"{self._called} {line.flaw}; look at the PACS")

    def _identity(self) -> list[Any]:
        """User identity negotiation (PS3.7 D.3.3.7): user and password, or a token (JSON Web Token)."""
        from pynetdicom.pdu_primitives import UserIdentityNegotiation

        if not self._credentials:
            return []
        identity = UserIdentityNegotiation()
        if self._credentials.token:
            identity.user_identity_type = 5
            identity.primary_field = self._credentials.token.encode()
        else:
            identity.user_identity_type = 2
            identity.primary_field = self._credentials.user.encode()
            identity.secondary_field = self._credentials.password.encode()
        return [identity]


def _tls_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(tls.authority) if tls.authority else None)
        if tls.certificate:
            context.load_cert_chain(str(tls.certificate))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--ca or --cert cannot be used ({error.strerror or type(error).__name__}); "
                          "give PEM files") from None  # fmt: skip
    return context
