"""Many sockets at little cost: each signs in, subscribes, answers pings, and counts one word."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from tests.gateway_process import token
from tests.raw_ws import request, text

PING = b"\x81\x02{}"
"""The gateway's ping, as a whole frame."""


class Member(asyncio.Protocol):
    """One client. `joined` is done when it is subscribed, `heard` when the word has come."""

    def __init__(self, port: int, name: str, channel: str, word: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[None] = loop.create_future()
        self.heard: asyncio.Future[None] = loop.create_future()
        self._hello = text(
            {"id": 1, "connect": {"token": token(name)}}, {"id": 2, "subscribe": {"channel": channel}}
        )
        self._port = port
        self._word = word
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(request(self._port))

    def data_received(self, data: bytes) -> None:
        if PING in data:
            self.transport.write(text("{}"))
        self._seen += data
        if self._hello and b"\r\n\r\n" in self._seen:
            hello, self._hello, self._seen = self._hello, b"", b""
            self.transport.write(hello)
        if not self.joined.done() and b'"subscribe":' in self._seen:
            self.joined.set_result(None)
        if not self.heard.done() and self._word in self._seen:
            self.heard.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.joined, self.heard):
            if not future.done():
                future.set_exception(ConnectionError(f"lost after {self._seen[-300:]!r}"))
                future.exception()  # it is told again where somebody waits for it


class Crowd:
    """Members of one channel."""

    def __init__(self, port: int, context: ssl.SSLContext, channel: str, word: bytes) -> None:
        self._port, self._context, self._channel, self._word = port, context, channel, word
        self._limit = asyncio.Semaphore(64)
        self.members: list[Member] = []

    async def join(self, count: int) -> None:
        await asyncio.gather(*(self._join(number) for number in range(count)))

    async def _join(self, number: int) -> None:
        async with self._limit:
            member = Member(self._port, f"crowd-{number}", self._channel, self._word)
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: member, "127.0.0.1", self._port, ssl=self._context)
            await member.joined
            self.members.append(member)

    async def heard(self, within: float) -> None:
        """Until each has the word."""
        async with asyncio.timeout(within):
            await asyncio.gather(*(member.heard for member in self.members))

    def leave(self) -> None:
        for member in self.members:
            member.transport.abort()
