"""The load: many light connections that count what they get and parse nothing.

One `Peer` is one WebSocket client. It does its handshake, then only counts marks (see `traffic.MARK`),
and in a closed loop answers each message with the next request. The crowd wakes its waiter when all that
was expected has come, so a round ends exactly when the last subscriber has its last message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from bench.traffic import MARK, upgrade_request

PATIENCE = 60.0
"""Seconds for any one step; what takes longer is a failure, not a measurement."""


class BenchError(Exception):
    """A server did not do what is to be measured."""


@dataclass(frozen=True)
class Tls:
    """Whom to believe, and what to call the server."""

    context: ssl.SSLContext | None = None
    name: str | None = None


class Crowd:
    """All peers of one server, and the count of what they wait for together."""

    def __init__(
        self,
        host: str,
        port: int,
        sources: int = 1,
        path: str = "/connection/websocket",
        tls: Tls | None = None,
    ) -> None:
        self.peers: list[Peer] = []
        self._address = (host, port)
        self._sources = sources
        self._upgrade = upgrade_request((tls and tls.name) or host, port, path)
        self._tls = tls
        self.scheduled: list[float] = []
        """When each publication was due, in the loop's time; while there are any, latencies are noted."""
        self.latencies: list[float] = []
        self._joined = 0
        self._missing = 0
        self._done: asyncio.Event = asyncio.Event()
        self.now = asyncio.get_running_loop().time
        self.lost = 0

    async def join(self, hellos: Sequence[bytes], ready: bytes, at_once: int = 32) -> list[Peer]:
        """Connect one peer per hello frame; it is in when `ready` has come back."""
        limit = asyncio.Semaphore(at_once)
        peers = await asyncio.gather(*(self._join_one(hello, ready, limit) for hello in hellos))
        self.peers.extend(peers)
        return peers

    async def _join_one(self, hello: bytes, ready: bytes, limit: asyncio.Semaphore) -> Peer:
        loop = asyncio.get_running_loop()
        async with limit:
            # One source address has ports for about 28,000 connections to one listener.
            source = (f"127.0.0.{self._joined % self._sources + 2}", 0) if self._sources > 1 else None
            self._joined += 1
            peer = Peer(self, hello, ready, loop.create_future())
            tls = self._tls or Tls()
            await loop.create_connection(
                lambda: peer, *self._address, local_addr=source, ssl=tls.context, server_hostname=tls.name
            )
            peer.transport.write(self._upgrade)
            async with asyncio.timeout(PATIENCE):
                await peer.entered
            return peer

    def part(self, people: int) -> Crowd:
        """The first so many of these peers, who from now on count for it alone."""
        few = Crowd(*self._address)
        few.peers = self.peers[:people]
        for peer in few.peers:
            peer.crowd = few
        return few

    def expect(self, messages: int) -> None:
        """`messages` more marks end the next `gathered`."""
        self._missing = messages
        self._done.clear()

    async def gathered(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._done.wait()
        except TimeoutError:
            raise BenchError(f"{self._missing} messages are missing, {self.lost} connections lost") from None

    def arrived(self, messages: int) -> None:
        self._missing -= messages
        if self._missing <= 0:
            self._done.set()

    def check_even(self, each: int) -> None:
        """Every peer got exactly `each` messages since the last check."""
        wrong = [peer.messages for peer in self.peers if peer.messages != each]
        if wrong:
            raise BenchError(f"{len(wrong)} subscribers got {wrong[0]} messages instead of {each}")
        for peer in self.peers:
            peer.messages = 0

    async def leave(self) -> None:
        for peer in self.peers:
            peer.transport.abort()
        self.peers.clear()
        await asyncio.sleep(0)


class Peer(asyncio.Protocol):
    """One client."""

    __slots__ = ("_hello", "_ready", "_seen", "crowd", "entered", "messages", "request", "transport")
    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, hello: bytes, ready: bytes, entered: asyncio.Future[None]) -> None:
        self.crowd = crowd
        self._hello = hello
        self._ready: bytes | None = ready
        self._seen = b""
        self.entered = entered
        self.messages = 0
        self.request = b""
        """What to send after each message; empty: nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.lost += 1
        if not self.entered.done():
            self.entered.set_exception(BenchError(f"closed while signing in: {self._seen[-400:]!r}"))

    def data_received(self, data: bytes) -> None:
        if self._ready is not None:
            self._enter(data)
            return
        count = data.count(MARK)
        if count:
            crowd = self.crowd
            if crowd.scheduled:
                now = crowd.now()
                crowd.latencies.extend(
                    now - due for due in crowd.scheduled[self.messages : self.messages + count]
                )
            self.messages += count
            crowd.arrived(count)
            if self.request:
                self.transport.write(self.request)

    def _enter(self, data: bytes) -> None:
        self._seen += data
        if self._hello and b"\r\n\r\n" in self._seen:
            if not self._seen.startswith(b"HTTP/1.1 101"):
                self.entered.set_exception(BenchError(f"no upgrade: {self._seen[:200]!r}"))
                return
            hello, self._hello, self._seen = self._hello, b"", b""
            self.transport.write(hello)
        elif b'"error"' in self._seen or b'"disconnect"' in self._seen:
            self._ready = None
            self.entered.set_exception(BenchError(f"refused: {self._seen[:400]!r}"))
        elif self._ready is not None and self._ready in self._seen:
            self._ready, self._seen = None, b""
            self.entered.set_result(None)


class Caller(asyncio.Protocol):
    """One keep-alive HTTP connection that sends the same request again and again."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._left = 0
        self._buffer = b""
        self._done: asyncio.Future[None] | None = None
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._done and not self._done.done():
            self._done.set_exception(BenchError("the server closed an API connection"))

    async def call(self, times: int = 1) -> None:
        """Make the call `times` times, one after the other."""
        if self.gone or self._transport.is_closing():
            self.gone = True
            raise BenchError("the server closed an API connection")
        self._left = times
        self._done = asyncio.get_running_loop().create_future()
        self._send()
        async with asyncio.timeout(PATIENCE):
            await self._done

    def close(self) -> None:
        self._transport.abort()

    def _send(self) -> None:
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        problem = not head.startswith(b"http/1.1 20") or b'"error"' in self._buffer[head_end:]
        answer, self._buffer = self._buffer, b""
        self._left -= 1
        if self._done is None or self._done.done():
            return
        if problem:
            self._done.set_exception(BenchError(f"an API call failed: {answer[:300]!r}"))
        elif self._left:
            self._send()
        else:
            self._done.set_result(None)


async def open_caller(port: int, request: bytes) -> Caller:
    """A keep-alive connection to a port of this machine."""
    caller = Caller(request)
    await asyncio.get_running_loop().create_connection(lambda: caller, "127.0.0.1", port)
    return caller


class FloorControl(asyncio.Protocol):
    """The floor's control connection: asks for fan-outs. The gateway's counterpart is an API call."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def fan_out(self, publications: int) -> None:
        self._transport.write(b"%d\n" % publications)
