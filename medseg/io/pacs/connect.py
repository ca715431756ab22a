"""A PACS by what the user says of it, whichever protocol it speaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from medseg.io.pacs.base import Bounds, Credentials, Pacs, Tls


@dataclass(frozen=True)
class Address:
    """How to reach a PACS.

    Attributes:
        dicomweb: URL of a DICOMweb service; empty for `dimse`.
        dimse: ``TITLE@HOST:PORT`` of an application entity.
        title: of this side, for `dimse`.
        is_encrypted: whether `dimse` goes over TLS.
    """

    dicomweb: str = ""
    dimse: str = ""
    title: str = "MEDSEG"
    credentials: Credentials = field(default_factory=Credentials)
    tls: Tls = field(default_factory=Tls)
    is_encrypted: bool = False
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def label(self) -> str:
        """What the server is called in messages, without the path that an address may have."""
        from medseg.io.pacs.http import checked_host

        return checked_host(self.dicomweb, Credentials()) if self.dicomweb else self.dimse.partition("@")[0]


def connect(address: Address) -> Pacs:
    """The PACS at an address; nothing is sent yet.

    Raises:
        ConfigError: the address, a title or a certificate cannot be used.
    """
    if address.dicomweb:
        from medseg.io.pacs.dicomweb import WebPacs

        return WebPacs(address.dicomweb, address.credentials, address.tls, address.bounds)
    from medseg.io.pacs.dimse import DimsePacs

    tls = address.tls if address.is_encrypted else None
    return DimsePacs(address.dimse, address.title, address.credentials, tls, address.bounds)
