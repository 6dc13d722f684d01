"""A connection that is looked at: it hands each message to a tap, then does what every connection does.

A connection becomes one, and plain again, by a change of its class. So connections that nobody looks at pay
nothing, not even a question; and whoever holds the connection, or uses it as a key, need not know.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from gateway.client import Client
from gateway.frames import TEXT
from gateway.websocket.connection import Connection

INFLATED_LIMIT: Final = 512 * 1024
"""Bytes of a compressed message that are looked at."""
_DEFLATED: Final = 0x40


class TracedConnection(Connection):
    """See the module."""

    __slots__ = ()

    def _take_message(self, kind: int, payload: bytes) -> None:
        self._tap("in", payload)
        super()._take_message(kind, payload)

    def flush(self) -> None:
        """See `outbox.Sink`."""
        for frame in self.outbox:
            self._tap_frames(frame)
        super().flush()

    def _begin_close(self, last: bytes) -> None:
        for frame in (*self.outbox, last):
            self._tap_frames(frame)
        super()._begin_close(last)

    def _tap_frames(self, data: bytes) -> None:
        for message in messages(data):
            self._tap("out", message)

    def _tap(self, direction: str, message: bytes) -> None:
        tap, client = self._shared.tap, self._client
        if tap is not None and client is not None:
            tap(client.id, direction, message)


def attach(client: Client) -> None:
    """Look at a client's connection."""
    sink: object = client.sink
    if type(sink) is Connection:
        sink.__class__ = TracedConnection


def detach(client: Client) -> None:
    """Look away."""
    sink: object = client.sink
    if type(sink) is TracedConnection:
        sink.__class__ = Connection  # type: ignore[assignment]  # back to what it was made as


def messages(data: bytes) -> Iterator[bytes]:
    """The messages in whole frames of ours; control frames are passed over."""
    position = 0
    while position + 2 <= len(data):
        first, size = data[position], data[position + 1]
        position += 2
        if size > 125:
            extra = 2 if size == 126 else 8
            size = int.from_bytes(data[position : position + extra])
            position += extra
        payload = data[position : position + size]
        position += size
        if first & 0x0F == TEXT:
            yield _inflated(payload) if first & _DEFLATED else payload


def _inflated(payload: bytes) -> bytes:
    """A message that was compressed without context (RFC 7692), up to the limit."""
    return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(payload + b"\x00\x00\xff\xff", INFLATED_LIMIT)
