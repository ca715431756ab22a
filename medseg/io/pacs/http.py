"""HTTP to one server, bounded: answers are streamed, unpacked piece by piece, counted and timed.

A redirect is followed only where it stays with the same host, port and scheme: what is sent names patients, and the
credentials go with it. Errors are one sentence with the name of the server and nothing of what it sent.
"""

from __future__ import annotations

import base64
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from medseg.errors import ConfigError
from medseg.io.pacs.base import Bounds, Credentials, PacsError, StorageRefusedError, Tls

log = logging.getLogger(__name__)

CONNECT_S, READ_S = 20, 120
"""Longest time to connect, and between two pieces of an answer."""
PIECE = 1 << 16
REDIRECTS, SAFE_REDIRECTS = (301, 302, 303, 307, 308), (307, 308)
"""Those that a search may follow, and those that a store may, because they keep the method (RFC 9110 15.4)."""
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Request:
    """What is asked of a server.

    Attributes:
        doing: for messages, such as ``a search``.
        path: below the address of the service, with its query.
        body: a file to send; it is opened anew for every try.
        refusals: answers that concern the object that is sent.
    """

    doing: str
    path: str
    headers: Mapping[str, str]
    body: Path | None = None
    refusals: tuple[int, ...] = ()


class Answer:
    """The answer to one request while it is being read."""

    def __init__(self, server: Server, request: Request, response: Any, deadline: float) -> None:
        self._server, self._request, self._response, self._deadline = server, request, response, deadline

    @property
    def content_type(self) -> str:
        """As the server names it."""
        return str(self._response.headers.get("Content-Type", ""))

    def pieces(self) -> Iterator[bytes]:
        """The body, unpacked; pieces are small whatever they were packed as."""
        encoding = self._response.headers.get("Content-Encoding", "identity").strip().lower()
        with self._server.errors(self._request):
            if encoding in ("identity", ""):
                yield from self._raw()
            elif encoding in ("gzip", "x-gzip"):
                yield from unzipped(self._raw())
            else:
                raise ValueError("an encoding that was not asked for")

    def body(self) -> bytes:
        """All of a short body."""
        found, most = bytearray(), self._server.bounds.answer_bytes
        for piece in self.pieces():
            found += piece
            if len(found) > most:
                raise PacsError(f"{self._server.host} sent more than {most} bytes to: {self._request.doing}; narrow it")
        return bytes(found)

    def _raw(self) -> Iterator[bytes]:
        # One piece at a time as it arrives: a server that trickles is noticed between them.
        while piece := self._response.raw.read1(PIECE, decode_content=False):
            yield piece
            if time.monotonic() > self._deadline:
                seconds = self._server.bounds.seconds
                raise PacsError(f"{self._server.host} took more than {seconds:.0f} s to: {self._request.doing}; "
                                "try again, or give more time with --timeout")  # fmt: skip


class Server:
    """The service below one URL."""

    def __init__(self, url: str, credentials: Credentials, tls: Tls, bounds: Bounds) -> None:
        """Prepare the session; nothing is sent yet.

        Raises:
            ConfigError: `url` is none, or credentials would travel unencrypted.
        """
        import requests

        self.host, self.bounds = checked_host(url, credentials), bounds
        self._base = url.rstrip("/")
        self._session = requests.Session()
        # Given here even when there are none: a session without takes those of ~/.netrc.
        self._session.auth = _proof(credentials)
        # Given with each request: those of a session lose against REQUESTS_CA_BUNDLE.
        self._options: dict[str, Any] = {"verify": str(tls.authority) if tls.authority else True, "stream": True,
                         "cert": str(tls.certificate) if tls.certificate else None, "allow_redirects": False,
                         "timeout": (CONNECT_S, min(READ_S, bounds.seconds))}  # fmt: skip
        # Its messages quote addresses, and those quote patients.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)

    @contextmanager
    def answer(self, request: Request) -> Iterator[Answer]:
        """The successful answer to a request.

        Raises:
            PacsError: there is none.
        """
        url, deadline = f"{self._base}/{request.path}", time.monotonic() + self.bounds.seconds
        for _ in range(MOST_REDIRECTS):
            response = self._sent(url, request)
            try:
                moved = self._moved(url, response, request)
                if moved is None:
                    self._check_status(response.status_code, request)
                    yield Answer(self, request, response, deadline)
                    return
            finally:
                response.close()
            url = moved
        raise PacsError(f"{self.host} redirects for ever when asked for: {request.doing}; check the address")

    def _sent(self, url: str, request: Request) -> Any:
        headers = {"Accept-Encoding": "identity", **request.headers}
        with self.errors(request):
            if request.body is None:
                return self._session.get(url, headers=headers, **self._options)
            with request.body.open("rb") as body:
                return self._session.post(url, headers=headers, data=body, **self._options)

    def _moved(self, url: str, response: Any, request: Request) -> str | None:
        """Where a redirect leads; None when it is none."""
        followed = REDIRECTS if request.body is None else SAFE_REDIRECTS
        if response.status_code not in REDIRECTS:
            return None
        with self.errors(request):
            target = urljoin(url, str(response.headers.get("Location", "")))
            if not is_same_server(url, target):
                raise PacsError(
                    f"{self.host} redirects to another host, port or scheme when asked for: {request.doing}; "
                    "nothing was sent there, give the address that serves"
                )
            if response.status_code not in followed:
                self._check_status(response.status_code, request)
        return target

    def _check_status(self, status: int, request: Request) -> None:
        if 200 <= status < 300:
            return
        kind = StorageRefusedError if status in request.refusals else PacsError
        advice = "check the credentials" if status in (401, 403) else "check the address and the server's log"
        raise kind(f"{self.host} answered {status} to: {request.doing}; {advice}")

    @contextmanager
    def errors(self, request: Request) -> Iterator[None]:
        """Turn what the libraries raise into one sentence without addresses."""
        import requests
        import urllib3

        silent = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError)
        try:
            yield
        except (*silent, ValueError, zlib.error) as error:
            log.debug("%s: %s", request.doing, type(error).__name__)
            if isinstance(error, silent) and not isinstance(error, ValueError):
                raise PacsError(f"{self.host} does not answer ({type(error).__name__}) to: {request.doing}; "
                                "check address and certificates") from None  # fmt: skip
            raise PacsError(f"{self.host} gave no DICOMweb answer to: {request.doing}; check the address") from None


def unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What a gzip stream holds, in pieces of at most `PIECE` bytes.

    Raises:
        ValueError: the stream ends early, or something follows it.
    """
    stream = zlib.decompressobj(wbits=31)
    for packed in pieces:
        left = packed
        while left:
            yield stream.decompress(left, PIECE)
            left = stream.unconsumed_tail
    if not stream.eof or stream.unused_data:
        raise ValueError("a gzip stream that is not whole")


def is_same_server(url: str, other: str) -> bool:
    """Whether two addresses have the same scheme, host and port, and the other names no user.

    Raises:
        ValueError: one of them is no address.
    """
    usual = {"http": 80, "https": 443}
    here, there = urlsplit(url), urlsplit(other)
    place, target = ((x.scheme, x.hostname, x.port or usual.get(x.scheme)) for x in (here, there))
    return place == target and "@" not in there.netloc


def _proof(credentials: Credentials) -> Callable[[Any], Any]:
    """Puts what proves who is asking on every request; nothing where there are no credentials."""
    user = f"{credentials.user}:{credentials.password}".encode()
    header = f"Bearer {credentials.token}" if credentials.token else f"Basic {base64.b64encode(user).decode()}"

    def prove(request: Any) -> Any:
        if credentials:
            request.headers["Authorization"] = header
        return request

    return prove


def checked_host(url: str, credentials: Credentials) -> str:
    """Name and port of the server.

    Raises:
        ConfigError: no address of a service, or one that credentials must not be sent to.
    """
    try:
        parts: Any = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("--dicomweb: found no address, expected https://HOST/dicom-web") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError(f"--dicomweb: found {parts.scheme or 'no'} address, expected https://HOST/dicom-web")
    if parts.username or parts.password:
        raise ConfigError("--dicomweb: found a user in the address, expected none; use --credentials FILE")
    if credentials and parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigError("--dicomweb: credentials would travel unencrypted; use an https address")
    return f"{host}:{port}" if port else str(host)
