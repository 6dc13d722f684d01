"""RFC 6455 frames: the fast path for whole messages, and the frames that the server sends.

Nearly all that a client ever sends are small, masked, unfragmented, uncompressed data frames. `FrameSplitter`
turns a buffer of them into payloads at the cost of a few slices. Every other frame - fragments, control
frames, compressed ones, wrong ones - is cut out whole and left to the `websockets` library, which therefore
always stands at a frame boundary.
"""

from __future__ import annotations

import zlib
from typing import Final

from gateway.errors import DISCONNECT_MESSAGE_TOO_BIG, DISCONNECT_PROTOCOL_ERROR, ClientError

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the C extension
    from websockets.utils import apply_mask

TEXT: Final = 0x1
BINARY: Final = 0x2
LIBRARY: Final = 0x0
"""The kind of an item that holds a whole raw frame for the library, not a payload."""

_FIN: Final = 0x80
_MASKED: Final = 0x80
_FAST: Final = {_FIN | TEXT: TEXT, _FIN | BINARY: BINARY}
_CONTROL_LIMIT: Final = 125

Item = tuple[int, bytes]


class FrameSplitter:
    """Cuts one connection's bytes into frames; pure, fed with whatever the socket read.

    Attributes:
        limit: largest payload of one frame in bytes; the header alone decides.
        fragmented: a message has begun whose last fragment has not come: all data frames are the library's.
    """

    __slots__ = ("_rest", "fragmented", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.fragmented = False
        self._rest = b""

    def feed(self, data: bytes) -> list[Item]:
        """The frames that are complete with `data`: (TEXT or BINARY, payload) or (LIBRARY, raw frame).

        Raises:
            ClientError: disconnect 1009 for a frame over the limit, 1002 for an illegal control frame.
                Frames before the bad one are lost with it: the connection is over.
        """
        # Nearly always the socket reads one small message and nothing else.
        if len(data) >= 6 and not self._rest and not self.fragmented:
            kind, size = _FAST.get(data[0]), data[1] - _MASKED
            if kind and len(data) == 6 + size and size <= _CONTROL_LIMIT and size <= self.limit:
                return [(kind, apply_mask(data[6:], data[2:6]))]
        return self._split(self._rest + data if self._rest else data)

    def _split(self, data: bytes) -> list[Item]:
        items: list[Item] = []
        position, end = 0, len(data)
        while end - position >= 2:
            start, size = self._payload_extent(data, position, end)
            if start + size > end:
                break
            items.append(self._cut(data, position, start, start + size))
            position = start + size
        self._rest = data[position:]
        return items

    def _payload_extent(self, data: bytes, position: int, end: int) -> tuple[int, int]:
        """Where the payload of the frame at `position` starts, and its size; past `end` while unknown."""
        second = data[position + 1]
        size = second & 0x7F
        start = position + (6 if second & _MASKED else 2)
        if size > _CONTROL_LIMIT:
            extra = 2 if size == 126 else 8
            if end - position < 2 + extra:
                return end + 1, 0
            if data[position] & 0x08:
                raise ClientError(DISCONNECT_PROTOCOL_ERROR, "a control frame over 125 bytes")
            size = int.from_bytes(data[position + 2 : position + 2 + extra])
            start += extra
        if size > self.limit:
            raise ClientError(
                DISCONNECT_MESSAGE_TOO_BIG, f"a frame of {size} bytes; the limit is {self.limit}"
            )
        return start, size

    def _cut(self, data: bytes, position: int, start: int, end: int) -> Item:
        first = data[position]
        kind = _FAST.get(first)
        if kind is not None and not self.fragmented and data[position + 1] & _MASKED:
            return kind, apply_mask(data[start:end], data[start - 4 : start])
        if not first & 0x08:  # control frames may stand between fragments and change nothing
            self.fragmented = not first & _FIN
        return LIBRARY, data[position:end]


def text_frame(payload: bytes) -> bytes:
    """The server's (unmasked) text frame around `payload`."""
    size = len(payload)
    return b"\x81%c%b" % (size, payload) if size < 126 else _header(_FIN | TEXT, size) + payload


def deflated_text_frame(payload: bytes) -> bytes:
    """The same, compressed without context (RFC 7692 §7.2.1), so that one frame serves every subscriber."""
    compressor = zlib.compressobj(level=1, wbits=-15)
    body = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    body = body[:-4]
    return _header(_FIN | 0x40 | TEXT, len(body)) + body


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2)
    return bytes((first, 127)) + size.to_bytes(8)
