"""A DICOMweb server that holds one series, and lies about it where a test says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom

from medseg.io.pacs.answers import FAILED, REFERENCED, TAGS

BOUNDARY = b"medseg-test-boundary"
VRS = {"PatientID": "LO", "StudyDate": "DA", "Modality": "CS", "SeriesNumber": "IS"}


@dataclass(frozen=True)
class Reply:
    """What a server answers.

    Attributes:
        declares_length: with a Content-Length, which lets a reader notice that a body ends early.
    """

    status: int = 200
    kind: str = "application/dicom+json"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declares_length: bool = True


Tamper = Callable[[str, Reply], Reply]
"""Changes the honest reply of a route: studies, series, instances, has, fetch or store."""


def match(found: pydicom.Dataset, **more: object) -> dict[str, Any]:
    """One match of a search in the DICOM JSON model."""
    values = {keyword: more.get(keyword, found.get(keyword)) for keyword in TAGS}
    return {TAGS[key]: {"vr": VRS.get(key, "UI"), "Value": [value if isinstance(value, int) else str(value)]}
            for key, value in values.items() if value is not None}  # fmt: skip


def parts(contents: list[bytes]) -> bytes:
    """A multipart body with its closing boundary."""
    head = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + content + b"\r\n" for content in contents) + b"--" + BOUNDARY + b"--\r\n"


class Holdings:
    """What a server holds and was sent."""

    def __init__(self, folder: Path, tamper: Tamper) -> None:
        self.contents = [path.read_bytes() for path in sorted(folder.glob("*.dcm"))]
        self.headers = [pydicom.dcmread(BytesIO(content), stop_before_pixels=True) for content in self.contents]
        self.tamper = tamper
        self.stored: list[pydicom.Dataset] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        route = self.route(path, body)
        self.asked.append((route, path, headers))
        return self.tamper(route, getattr(self, route)(path, body))

    def route(self, path: str, body: bytes) -> str:
        place, _, query = path.partition("?")
        if body:
            return "store"
        if "SeriesInstanceUID" in query:
            return "has"
        last = place.rpartition("/")[2]
        return last if last in {"studies", "series", "instances"} else "fetch"

    def studies(self, *_: object) -> Reply:
        return Reply(body=json.dumps([match(header) for header in self.headers[:1]]).encode())

    def series(self, *_: object) -> Reply:
        n_instances = len(self.contents)
        found = [match(header, NumberOfSeriesRelatedInstances=n_instances) for header in self.headers[:1]]
        return Reply(body=json.dumps(found).encode())

    def instances(self, *_: object) -> Reply:
        return Reply(body=json.dumps([match(header) for header in self.headers]).encode())

    def has(self, path: str, _: bytes) -> Reply:
        return Reply(body=json.dumps([match(x) for x in self.stored if str(x.SeriesInstanceUID) in path]).encode())

    def fetch(self, *_: object) -> Reply:
        return Reply(kind=f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}',
                     body=parts(self.contents))  # fmt: skip

    def store(self, _: str, body: bytes) -> Reply:
        found = pydicom.dcmread(BytesIO(body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]))
        self.stored.append(found)
        return Reply(body=json.dumps({REFERENCED: {"vr": "SQ", "Value": [{}]}}).encode())


def honest(_: str, reply: Reply) -> Reply:
    return reply


def only(route: str, change: Callable[[Reply], Reply]) -> Tamper:
    """A server that lies on one route."""
    return lambda name, reply: change(reply) if name == route else reply


def with_body(route: str, body: bytes, **changes: Any) -> Tamper:
    return only(route, lambda reply: replace(reply, body=body, **changes))


def failed(reason: int) -> bytes:
    return json.dumps({FAILED: {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}).encode()


@contextmanager
def web_server(folder: Path, tamper: Tamper = honest) -> Iterator[tuple[str, Holdings]]:
    """A running server; yields its address and what it holds."""
    holdings = Holdings(folder, tamper)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = holdings.reply(self.path, dict(self.headers), body)
            self.send_response(reply.status)
            headers = {"Content-Type": reply.kind, **reply.headers}
            if reply.declares_length:
                headers["Content-Length"] = str(len(reply.body))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client has heard enough
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", holdings
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
