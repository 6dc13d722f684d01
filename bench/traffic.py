"""The bytes that the driver sends and counts, made in advance so that driving stays cheap."""

from __future__ import annotations

import json
from typing import Final

from websockets.speedups import apply_mask

MARK: Final = b"^"
"""Stands once in every publication and nowhere else: messages are counted without parsing frames, and a mark
of one byte cannot be split between two reads."""

CHANNEL: Final = "bench"
_MASK: Final = b"\x37\xfa\x21\x3d"


def payload(size: int) -> bytes:
    """JSON of `size` bytes with one mark in it: a text in quotes."""
    return b'"' + MARK + b"x" * (size - 3) + b'"'


def masked_frame(message: bytes) -> bytes:
    """One client text frame."""
    size = len(message)
    header = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2)
    return header + _MASK + apply_mask(message, _MASK)


def upgrade_request(host: str, port: int, path: str = "/connection/websocket") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def http_post(path: str, body: bytes, key: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def connect_frame(token: str, channel: str | None = CHANNEL) -> bytes:
    """Sign in and, in the same frame, subscribe: what an SDK with subscriptions sends when it comes back."""
    commands: list[dict[str, object]] = [{"id": 1, "connect": {"token": token}}]
    if channel is not None:
        commands.append({"id": 2, "subscribe": {"channel": channel}})
    return masked_frame(
        "\n".join(json.dumps(command, separators=(",", ":")) for command in commands).encode()
    )


def rpc_frame(method: str = "echo") -> bytes:
    return masked_frame(b'{"id":7,"rpc":{"method":"%b","data":{"n":"^"}}}' % method.encode())


def publish_body(size: int, channel: str = CHANNEL) -> bytes:
    return b'{"channel":"%b","data":%b}' % (channel.encode(), payload(size))


def batch_body(count: int, size: int, channel: str = CHANNEL) -> bytes:
    one = b'{"publish":%b}' % publish_body(size, channel)
    return b'{"commands":[%b]}' % b",".join([one] * count)


def broadcast_body(count: int, size: int) -> bytes:
    channels = ",".join(f'"{CHANNEL}-{number}"' for number in range(count))
    return b'{"channels":[%b],"data":%b}' % (channels.encode(), payload(size))
