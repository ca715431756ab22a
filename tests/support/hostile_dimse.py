"""A DICOM peer over the classic network protocol that holds one series, and lies about it where a test says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.io.pacs.dimse_data import KEYS

FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
PENDING = 0xFF00


class Peer:
    """What the peer holds, and how it answers; tests replace its methods."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Dataset] = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
        self.stored: list[Dataset] = []

    def matches(self, level: str) -> list[Dataset]:
        return {"STUDY": self.files[:1], "SERIES": self.files[:1], "IMAGE": self.files}[level]

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        level = asked.QueryRetrieveLevel
        for found in self.matches(level):
            wanted = asked.get("SeriesInstanceUID")
            if wanted and wanted != found.SeriesInstanceUID:
                continue
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for keyword in KEYS[level]:
                setattr(answer, keyword, found.get(keyword))
            if level == "SERIES":
                answer.NumberOfSeriesRelatedInstances = len(self.files)
            yield PENDING, answer

    def get(self, _: Any) -> Iterator[Any]:
        sent = self.sent()
        yield len(sent)
        for found in sent:
            yield PENDING, found

    def sent(self) -> list[Dataset]:
        return self.files

    def store(self, event: Any) -> int:
        self.stored.append(event.dataset)
        return 0


@contextmanager
def dimse_peer(peer: Peer) -> Iterator[str]:
    """A running peer; yields its address."""
    pynetdicom = pytest.importorskip("pynetdicom")
    entity = pynetdicom.AE(ae_title="PACS")
    for kind in (FIND, GET, pydicom.uid.SegmentationStorage):
        entity.add_supported_context(kind)
    for kind in (pydicom.uid.CTImageStorage, pydicom.uid.MRImageStorage):
        entity.add_supported_context(kind, scu_role=False, scp_role=True)
    handlers = [(pynetdicom.evt.EVT_C_FIND, peer.find),
                (pynetdicom.evt.EVT_C_GET, peer.get),
                (pynetdicom.evt.EVT_C_STORE, peer.store)]  # fmt: skip
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield f"PACS@127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()


@contextmanager
def raw_peer(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A peer that does what `answer` does with each connection; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"PACS@127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
