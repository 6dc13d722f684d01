"""The client's side of the wire: frames out, frames in, and what of the protocol a load test has to read."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
_FIN: Final = 0x80
_NO_MASK: Final = b"\0\0\0\0"
FRAME_LIMIT: Final = 64 * 1024 * 1024

SERVER_PING: Final = b"\x81\x02{}"
"""The protocol's own ping, as a whole frame."""


class WireError(Exception):
    """The server sent something that is no WebSocket."""


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One masked frame. The mask is zero, which is legal on the wire and costs nothing to apply."""
    size = len(payload)
    if size < 126:
        header = bytes((_FIN | opcode, 0x80 | size))
    elif size < 65536:
        header = bytes((_FIN | opcode, 0xFE)) + size.to_bytes(2)
    else:
        header = bytes((_FIN | opcode, 0xFF)) + size.to_bytes(8)
    return header + _NO_MASK + payload


PONG: Final = client_frame(b"{}")


class ServerFrames:
    """Cuts what a server sends into (opcode, payload); pure. Fragments are joined, nothing is compressed."""

    __slots__ = ("_opcode", "_parts", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._parts: list[bytes] = []
        self._opcode = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages and control frames that are complete with `data`."""
        if self.rest:
            data = self.rest + data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            if first & 0x70 or size & 0x80:
                raise WireError(f"a frame that begins with {data[at : at + 2].hex()}")
            start = at + 2
            if size > 125:
                extra = 2 if size == 126 else 8
                if end - start < extra:
                    break
                size = int.from_bytes(data[start : start + extra])
                start += extra
                if size > FRAME_LIMIT:
                    raise WireError(f"a frame of {size} bytes")
            if start + size > end:
                break
            at = start + size
            self._whole(found, first, data[start:at])
        self.rest = data[at:]
        return found

    def _whole(self, found: list[tuple[int, bytes]], first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            found.append((opcode, payload))
        elif first & _FIN and not self._parts:
            found.append((opcode, payload))
        else:
            self._opcode = opcode or self._opcode
            self._parts.append(payload)
            if first & _FIN:
                found.append((self._opcode, b"".join(self._parts)))
                self._parts = []


# ---------------------------------------------------------------------------- the protocol, as far as needed
class Stamp(Struct):
    """What a load test puts into a publication: which run, which number in its channel, when it was due."""

    run: str = ""
    n: int = 0
    at: int = 0


class Pub(Struct):
    data: Raw = Raw(b"null")
    offset: int = 0


class SubResult(Struct):
    recoverable: bool = False
    epoch: str = ""
    offset: int = 0
    publications: list[Pub] = []
    recovered: bool = False
    was_recovering: bool = False


class SignedIn(Struct):
    token: str = ""


class ConnectResult(Struct):
    data: Raw = Raw(b"{}")
    subs: dict[str, SubResult] = {}
    ping: int = 0


class ErrorReply(Struct):
    code: int = 0
    message: str = ""
    temporary: bool = False


class Gone(Struct):
    code: int = 0
    reason: str = ""
    reconnect: bool = False


class Push(Struct):
    channel: str = ""
    pub: Pub | None = None
    disconnect: Gone | None = None
    unsubscribe: Gone | None = None


class Reply(Struct):
    """Everything that a server says; what is neither is a ping."""

    id: int = 0
    error: ErrorReply | None = None
    connect: ConnectResult | None = None
    subscribe: SubResult | None = None
    push: Push | None = None

    @property
    def is_ping(self) -> bool:
        return self.push is None and not self.id and self.error is None


decode_reply: Final = msgspec.json.Decoder(Reply).decode
_decode_stamp: Final = msgspec.json.Decoder(Stamp).decode
_decode_signed_in: Final = msgspec.json.Decoder(SignedIn).decode


def stamp_of(data: Raw) -> Stamp | None:
    """The stamp in a publication; None: it is somebody else's."""
    try:
        stamp = _decode_stamp(data)
    except msgspec.DecodeError:
        return None
    return stamp if stamp.run else None


def token_in(data: Raw) -> str:
    """The session token in the data of a connect reply, "" if there is none."""
    try:
        return _decode_signed_in(data).token
    except msgspec.DecodeError:
        return ""


def stamped(run: str, number: int, at: int, size: int) -> bytes:
    """The data of a publication of about `size` bytes; `at` in µs of the monotonic clock."""
    head = b'{"run":"%b","n":%d,"at":%d' % (run.encode(), number, at)
    room = size - len(head) - 10
    return head + (b',"pad":"' + b"x" * room + b'"}' if room > 0 else b"}")


def upgrade(host: str, path: str) -> bytes:
    """The handshake; `host` with its port."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
