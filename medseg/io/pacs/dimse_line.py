"""What a DICOM peer may send: the connection is cut before more than that is held in memory.

pynetdicom reads as many bytes as the header of a PDU promises, up to 4 GiB, and collects the data set of a message
without end.
"""

from __future__ import annotations

import time
from typing import Any

MOST_PDU_BYTES = 1 << 20
"""Of one protocol data unit; peers are told to send at most 16 KiB (PS3.8 D.1)."""


class Line:
    """Counts what comes over one connection.

    Attributes:
        flaw: why the connection was cut, a clause without its subject; empty while it was not.
    """

    def __init__(self, seconds: float, most_bytes: int, most_held_bytes: int) -> None:
        """Nothing came yet.

        Args:
            seconds: for all of it.
            most_bytes: of all of it.
            most_held_bytes: of what is not yet `handled`.
        """
        self._most_bytes, self._most_held_bytes = most_bytes, most_held_bytes
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        self._n_bytes = self._n_handled = 0
        self.flaw = ""

    def watch(self, event: Any) -> None:
        """Count from now on; the handler of pynetdicom's event that a connection is open."""
        transport = event.assoc.dul.socket
        receive = transport.recv

        def counted(n_bytes: int) -> bytearray:
            self._count(n_bytes)
            return bytearray(receive(n_bytes))

        transport.recv = counted

    def handled(self, n_bytes: int) -> None:
        """So many bytes of a message are written and no longer held; a peer may send messages ahead."""
        self._n_handled += n_bytes

    def _count(self, n_bytes: int) -> None:
        """Refuse to read more; pynetdicom takes an `OSError` for the end of the connection."""
        self._n_bytes += n_bytes
        if self._n_bytes > self._most_bytes:
            self.flaw = f"sent more than {self._most_bytes} bytes"
        elif n_bytes > MOST_PDU_BYTES or self._n_bytes - self._n_handled > self._most_held_bytes:
            self.flaw = "sent a message larger than agreed"
        elif time.monotonic() > self._deadline:
            self.flaw = f"took more than {self._seconds:.0f} s"
        if self.flaw:
            raise OSError(self.flaw)
