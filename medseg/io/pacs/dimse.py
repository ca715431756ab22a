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
from medseg.io.pacs.base import Credentials, PacsError, Query, Series, StorageRefusedError, Tls

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

    def __init__(self, peer: str, title: str, credentials: Credentials, tls: Tls | None) -> None:
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
        self._title, self._credentials = title, credentials
        self._tls = None if tls is None else _tls_context(tls)
        # Its messages quote what is sent, and that quotes patients.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

    def find(self, query: Query) -> list[Series]:
        """Series that match."""
        studies = sorted({str(found.StudyInstanceUID) for found in self._ask("STUDY", query.study_keys())})
        series: list[Series] = []
        for study in studies:
            here = [Series.of(found, study) for found in self._ask("SERIES", {"StudyInstanceUID": study})]
            series += sorted((one for one in here if query.wants(one)), key=lambda one: one.series_uid)
        return series

    def has(self, study_uid: str, series_uid: str) -> bool:
        """Whether this series is there."""
        found = self._ask("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid})
        return any(str(one.get("SeriesInstanceUID")) == series_uid for one in found)

    def fetch(self, series: Series, folder: Path) -> None:
        """Write every file of a series into an empty folder, by C-GET."""
        from pynetdicom import build_context, build_role, evt

        def keep(event: Any) -> int:
            path = folder / f"{len(received):06d}.dcm"
            try:
                path.write_bytes(event.encoded_dataset())
            except OSError as error:  # the association would only say that something failed
                troubles.append(error)
                return _OUT_OF_RESOURCES
            received.append(path)
            return _SUCCESS

        received: list[Path] = []
        troubles: list[OSError] = []
        contexts = [build_context(_GET)] + [
            build_context(kind, syntax) for kind in _IMAGES for syntax in (_PLAIN, *_COMPRESSED)
        ]
        roles = [build_role(kind, scp_role=True) for kind in _IMAGES]
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.series_uid}
        with self._association(contexts, roles, [(evt.EVT_C_STORE, keep)]) as association:
            if association is None:
                raise PacsError(f"{self._called} takes no C-GET; use DICOMweb, or ask its administrator for C-GET")
            answers = list(association.send_c_get(_identifier("SERIES", keys), _GET))
        if troubles:
            raise troubles[0]
        status = answers[-1][0] if answers else Dataset()
        if status.get("Status") != _SUCCESS or not received:
            raise PacsError(f"{self._called} sent {len(received)} images and ended with {_text(status)}; try again")

    def store(self, path: Path) -> None:
        """Store one DICOM file by C-STORE."""
        from pynetdicom import build_context

        segmentation = pydicom.dcmread(path)
        kind, syntax = segmentation.SOPClassUID, segmentation.file_meta.TransferSyntaxUID
        with self._association([build_context(kind, syntax), build_context(kind, _PLAIN)]) as association:
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
            raise StorageRefusedError(f"{self._called} did not store the segmentation ({_text(status)})")
        if code != _SUCCESS and code >> 12 != 0xB:  # warnings
            raise PacsError(f"{self._called} did not store the segmentation ({_text(status)}); try again later")

    def _ask(self, level: str, keys: dict[str, str]) -> list[Dataset]:
        """The answers to one C-FIND."""
        from pynetdicom import build_context

        found: list[Dataset] = []
        with self._association([build_context(_FIND)]) as association:
            if association is None:
                raise PacsError(f"{self._called} takes no C-FIND from {self._title}; ask its administrator")
            for status, answer in association.send_c_find(_identifier(level, keys), _FIND):
                code = status.get("Status")
                if code in _PENDING and answer is not None:
                    found.append(answer)
                elif code != _SUCCESS:
                    raise PacsError(f"{self._called} ended the search with {_text(status)}; try again")
        return found

    @contextmanager
    def _association(
        self, contexts: list[Any], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any | None]:
        """An open association; None when the server is there but takes none of the contexts."""
        from pynetdicom import AE

        entity = AE(ae_title=self._title)
        entity.connection_timeout, entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = 20, 30, 300, 300
        options: dict[str, Any] = {"ae_title": self._called, "ext_neg": [*roles, *self._identity()],
                                   "evt_handlers": list(handlers)}  # fmt: skip
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
        finally:
            if association.is_established:
                association.release()

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


def _identifier(level: str, keys: dict[str, str]) -> Dataset:
    """What to match, and with empty values what to return."""
    wanted = {"STUDY": ("StudyInstanceUID",),
              "SERIES": ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber")}  # fmt: skip
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in wanted[level]:
        setattr(identifier, keyword, keys.get(keyword))
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _text(status: Dataset) -> str:
    code = status.get("Status")
    return "no answer" if code is None else f"status 0x{code:04X}"


def _tls_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(tls.authority) if tls.authority else None)
        if tls.certificate:
            context.load_cert_chain(str(tls.certificate))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--ca or --cert cannot be used ({error.strerror or type(error).__name__}); "
                          "give PEM files") from None  # fmt: skip
    return context
