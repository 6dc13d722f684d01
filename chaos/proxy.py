"""The network between the gateway and Redis, on one port: it cuts, and it swallows without a sign."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

RECEIVE_BUFFER = 16 * 1024
"""Of the sockets towards the server: what a stalled connection holds back piles up in the server, soon."""

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing says RST instead of FIN."""


class Link:
    """One connection through the proxy.

    Attributes:
        subscribed: it is one for messages.
        swallows: it stays open and nothing passes, either way: half-open, as far as one can see.
    """

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.subscribed = False
        self.swallows = False
        self.flowing = asyncio.Event()
        self.flowing.set()

    def cut(self) -> None:
        """Reset both ends."""
        for writer in (self.near, self.far):
            if not writer.transport.is_closing():
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()

    def end(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()

    async def there(self, source: asyncio.StreamReader) -> None:
        while data := await source.read(65536):
            self.subscribed = self.subscribed or b"SUBSCRIBE" in data
            if not self.swallows:
                self.far.write(data)
                await self.far.drain()

    async def back(self, source: asyncio.StreamReader) -> None:
        while data := await source.read(65536):
            await self.flowing.wait()
            if not self.swallows:
                self.near.write(data)
                await self.near.drain()


class Proxy:
    """Forwards `port` to `target` on this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            link.cut()

    def swallow(self) -> None:
        """What is connected now hears and says nothing any more; new connections are fine."""
        for link in self._links:
            link.swallows = True

    def hold_messages(self) -> list[Link]:
        """Stop reading from the server on connections for messages; `release` goes on with them."""
        held = [link for link in self._links if link.subscribed]
        for link in held:
            link.flowing.clear()
        return held

    @staticmethod
    def release(held: list[Link]) -> None:
        for link in held:
            link.flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._target))
            except OSError:
                sock.close()
                return
            source, sink = await asyncio.open_connection(sock=sock, limit=RECEIVE_BUFFER)
            await self._join(Link(writer, sink), reader, source)
        finally:
            writer.transport.abort()

    async def _join(self, link: Link, near: asyncio.StreamReader, far: asyncio.StreamReader) -> None:
        self._links.add(link)
        ways = [asyncio.create_task(_quietly(link, way, source)) for way, source in ((0, near), (1, far))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.end()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _quietly(link: Link, way: int, source: asyncio.StreamReader) -> None:
    with suppress(OSError):
        await (link.back(source) if way else link.there(source))
    if way:
        with suppress(OSError):
            await link.near.drain()  # what the server said last arrives before the end
