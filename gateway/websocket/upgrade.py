"""The upgrade request of an ordinary client, read without the library: two thirds of a handshake's cost.

Only what leaves no room for two opinions is read here: one line per header, none of them twice, plain ASCII,
nothing to negotiate but the subprotocol. Anything else is the library's, and so is every refusal.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
ORDINARY_SIZE: Final = 4096
"""Bytes of a request that is read here."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST: Final = re.compile(rb"GET [!-~]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb":[\t -~]*\r\n){5,60}\r\n")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_TOKENS: Final = re.compile(_TOKEN + rb"(?:, ?" + _TOKEN + rb")*")
_UPGRADE: Final = frozenset((b"upgrade", b"keep-alive, upgrade", b"upgrade, keep-alive"))
_UNUSUAL: Final = frozenset((b"transfer-encoding", b"content-length"))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An upgrade request in good order.

    Attributes:
        headers: by name in lower case.
        protocols: the subprotocols offered.
        accept: the answer to its key.
    """

    path: str
    headers: dict[bytes, bytes]
    protocols: list[str]
    accept: bytes

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("ascii")


def read_upgrade(head: bytes) -> Upgrade | None:
    """The request in `head` (with its empty line); None: have the library read it."""
    if len(head) > ORDINARY_SIZE or not _REQUEST.fullmatch(head):
        return None
    first, *lines = head[:-4].split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip(b" \t")
    if len(headers) != len(lines) or not _UNUSUAL.isdisjoint(headers):
        return None
    key, offered = headers.get(b"sec-websocket-key", b""), headers.get(b"sec-websocket-protocol")
    in_order = (
        headers.get(b"upgrade", b"").lower() == b"websocket"
        and headers.get(b"connection", b"").lower() in _UPGRADE
        and headers.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key)
        and (offered is None or _TOKENS.fullmatch(offered))
    )
    if not in_order:
        return None
    protocols = [each.strip() for each in offered.decode("ascii").split(",")] if offered else []
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return Upgrade(first.split(b" ")[1].decode("ascii"), headers, protocols, accept)


def accepted(accept: bytes, date: str, protocol: str | None) -> bytes:
    """The 101 with its empty line, header by header as the library writes it."""
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nDate: {date}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept.decode('ascii')}\r\n{chosen}\r\n"
    ).encode("ascii")
