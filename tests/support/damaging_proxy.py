"""A relay between a client and a peer that damages what the peer sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from tests.support.hostile_dimse import raw_peer


@dataclass
class Damage:
    """What is done to what comes back over one connection.

    Attributes:
        connection: the how-manieth since the last `reset`; -1 for none.
        places: bytes that are put over those at some offsets.
        length: bytes after which the connection is closed; None to let all through.
        lengths: how much came over each connection so far.
    """

    connection: int = -1
    places: tuple[tuple[int, bytes], ...] = ()
    length: int | None = None

    def __post_init__(self) -> None:
        self.lengths: list[int] = []

    def reset(self, connection: int, places: tuple[tuple[int, bytes], ...] = (), length: int | None = None) -> None:
        self.connection, self.places, self.length = connection, places, length
        self.lengths = []  # a relay of before goes on counting in its own

    def applied(self, part: bytes, offset: int) -> bytes:
        """A part of the stream that begins at an offset, damaged."""
        damaged = bytearray(part)
        for place, new in self.places:
            for at, byte in enumerate(new, start=place - offset):
                if 0 <= at < len(damaged):
                    damaged[at] = byte
        return bytes(damaged)


@contextmanager
def damaging_proxy(peer: str, damage: Damage) -> Iterator[str]:
    """A relay to ``TITLE@HOST:PORT``; yields its address."""
    host, _, port = peer.partition("@")[2].rpartition(":")

    def back(source: socket.socket, client: socket.socket, lengths: list[int], number: int) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                offset, lengths[number] = lengths[number], lengths[number] + len(part)
                if lengths is damage.lengths and number == damage.connection:
                    part = damage.applied(part, offset)
                    if damage.length is not None and offset + len(part) > damage.length:
                        client.sendall(part[: max(0, damage.length - offset)])
                        break
                client.sendall(part)
            client.shutdown(socket.SHUT_RDWR)

    def relay(client: socket.socket) -> None:
        lengths = damage.lengths
        number = len(lengths)
        lengths.append(0)
        with ExitStack() as opened:
            inner = opened.enter_context(socket.create_connection((host, int(port))))
            threading.Thread(target=back, args=(inner, client, lengths, number), daemon=True).start()
            while part := client.recv(1 << 16):
                inner.sendall(part)

    with raw_peer(relay) as address:
        yield address
