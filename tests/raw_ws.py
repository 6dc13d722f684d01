"""A WebSocket client that can do everything wrong: RFC 6455 by hand, byte by byte."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from dataclasses import dataclass
from typing import Any

from tests.gateway_process import GatewayProcess, token, unique
from tests.timing import MS

PATIENCE = 5_000 * MS
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The pair of RFC 6455 §1.3."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """One frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


@dataclass(frozen=True)
class Closing:
    """How a connection ended: the last push, and the close frame after it."""

    push: Json | None
    code: int | None
    reason: str
    replies: list[Json]

    def check_advice(self) -> None:
        """What the server closes with, it has told so before: every phone relies on the push."""
        assert self.push is not None, f"closed without a disconnect push: {self}"
        assert (self.push["code"], self.push["reason"]) == (self.code, self.reason), self
        assert self.reason, "a reason must not be empty"
        terminal = self.code in range(3500, 4000) or self.code in range(4500, 5000)
        assert self.push["reconnect"] is not terminal, self


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes | None = None) -> bytes:
    """A client frame. `mask` b"" leaves it unmasked, which no client may do."""
    key = os.urandom(4) if mask is None else mask
    size, bit = len(payload), 0x80 if key else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if size < 126:
        header = bytes((first, bit | size))
    elif size < 65536:
        header = bytes((first, bit | 126)) + size.to_bytes(2)
    else:
        header = bytes((first, bit | 127)) + size.to_bytes(8)
    if not key:
        return header + payload
    stream = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(size)
    return header + key + masked


def text(*commands: Json | str) -> bytes:
    """Commands in one text frame, a line each."""
    lines = (each if isinstance(each, str) else json.dumps(each) for each in commands)
    return frame(TEXT, "\n".join(lines).encode())


def request(port: int, path: str = "/connection/websocket", *, without: str = "", **headers: str) -> bytes:
    """A handshake; a header's underscores are dashes, `without` leaves one out."""
    all_headers = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in all_headers.items() if name != without]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


async def http_exchange(port: int, head: bytes) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to raw bytes; the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
    finally:
        await _shut(writer)
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), _headers(top), body.decode()


def _headers(top: bytes) -> dict[str, str]:
    pairs = (line.split(": ", 1) for line in top.decode().split("\r\n")[1:])
    return {name.lower(): value for name, value in pairs}


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        return  # a server that hung up first is what many tests are about


class RawSocket:
    """A connection after its handshake. Use `async with await RawSocket.open(port)`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies: deque[Json] = deque()
        self._next_id = 0
        self._ended = False
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, port: int, **headers: str) -> RawSocket:
        """Connect and shake hands."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        socket = cls(reader, writer)
        writer.write(request(port, **headers))
        async with asyncio.timeout(PATIENCE):
            top = await reader.readuntil(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 101 "), top
        socket.headers = _headers(top[:-4])
        assert socket.headers["sec-websocket-accept"] == ACCEPT
        return socket

    async def __aenter__(self) -> RawSocket:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _shut(self._writer)

    # ------------------------------------------------------------------ out
    async def send(self, data: bytes) -> None:
        """Any bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def dribble(self, data: bytes) -> None:
        """The same, in a write per byte, each in a turn of its own."""
        for byte in data:
            await self.send(bytes((byte,)))
            await asyncio.sleep(0)

    def end(self) -> None:
        """Send nothing more, keep reading."""
        self._ended = True
        self._writer.write_eof()

    # ------------------------------------------------------------------ in
    async def frame(self) -> Frame:
        """The next frame; IncompleteReadError at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            assert not second & 0x80, "a server must not mask"
            if size > 125:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
            return Frame(
                first & 0x0F, await self._reader.readexactly(size), bool(first & 0x80), first >> 4 & 7
            )

    async def reply(self) -> Json:
        """The next reply or push; the server's pings are answered and skipped."""
        while True:
            while not self._replies:
                got = await self.frame()
                assert got.opcode == TEXT, f"expected a message, got {got}"
                assert got.fin and not got.rsv
                self._replies.extend(json.loads(line) for line in got.payload.split(b"\n") if line)
            found = self._replies.popleft()
            if found:
                return found
            await self.send(text("{}"))

    async def send_command(self, method: str, /, **fields: Any) -> None:
        """Send one command, and do not wait."""
        self._next_id += 1
        await self.send(text({"id": self._next_id, method: fields}))

    async def call(self, method: str, /, **fields: Any) -> Json:
        """Send one command, and its reply; pushes that come meanwhile are lost."""
        await self.send_command(method, **fields)
        while (reply := await self.reply()).get("id") != self._next_id:
            assert "push" in reply, reply
        return reply

    async def connect(self, token: str) -> Json:
        """Sign in with a token; the connect result."""
        reply = await self.call("connect", token=token)
        assert "connect" in reply, reply
        return dict(reply["connect"])

    async def closing(self, *, to_eof: bool = True) -> Closing:
        """Read to the end, answering the close frame as a client does."""
        push: Json | None = None
        replies: list[Json] = list(self._replies)
        code: int | None = None
        reason = ""
        try:
            while True:
                got = await self.frame()
                if got.opcode == CLOSE:
                    code = int.from_bytes(got.payload[:2]) if got.payload else None
                    reason = got.payload[2:].decode()
                    if not to_eof:
                        break
                    if not self._ended:
                        await self.send(frame(CLOSE, got.payload))
                elif got.opcode == TEXT:
                    assert code is None, "a message after the close frame"
                    replies += [json.loads(line) for line in got.payload.split(b"\n")]
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        if replies:
            push = replies[-1].get("push", {}).get("disconnect")
        return Closing(push, code, reason, replies)

    async def closed_with(self, code: int, *, to_eof: bool = True) -> Closing:
        """Read to the end, which must be a close with `code` and the advice before it.

        Without `to_eof` the close frame is the end. Where the client has announced bytes that it never sends,
        its own close frame cannot be told from them, and the server hangs up only after some seconds.
        """
        end = await self.closing(to_eof=to_eof)
        assert end.code == code, end
        end.check_advice()
        return end


async def signed_in(gateway: GatewayProcess, **headers: str) -> RawSocket:
    """A socket with a user of its own."""
    socket = await RawSocket.open(gateway.websocket_port, **headers)
    await socket.connect(token(unique("rfc")))
    return socket


def connect_command() -> bytes:
    return json.dumps({"id": 1, "connect": {"token": token(unique("rfc"))}}).encode()
