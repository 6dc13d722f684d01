"""How a client speaks to each kind of server, and how one is told to publish: bytes made in advance.

A dialect is the whole difference between two servers for the driver: the same connection object drives
them all. Each is the server's own real client protocol; a library without one gets the least that does
the same work (the token as first message, `ready` as its answer, then plain messages).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench import traffic
from bench.driver import BenchError, Caller, open_caller
from bench.servers import API_KEY

SMALL = b'{"n":"^"}'
"""What an rpc carries; the answer has the mark once, too."""


@dataclass(frozen=True)
class Dialect:
    """One client protocol.

    Attributes:
        path: of the WebSocket.
        hello: the frame that signs in with a token and subscribes; None: the path alone does.
        ready: what comes back when the client is subscribed.
        request: the frame of one rpc; None where there is nothing of the kind.
    """

    path: str
    hello: Callable[[str], bytes] | None
    ready: bytes
    request: bytes | None


class Publisher(Protocol):
    """Tells a server to publish `count` messages in one turn."""

    async def publish(self, count: int) -> None: ...
    def close(self) -> None: ...


# ---------------------------------------------------------------------------- clients
def _socket_io_hello(token: str) -> bytes:
    return traffic.masked_frame(b"40" + json.dumps({"token": token}).encode())


def _centrifuge_v1_hello(token: str) -> bytes:
    commands = (
        {"id": 1, "params": {"token": token}},
        {"id": 2, "method": 1, "params": {"channel": traffic.CHANNEL}},
    )
    return traffic.masked_frame("\n".join(json.dumps(each) for each in commands).encode())


CENTRIFUGE = Dialect(
    "/connection/websocket", traffic.connect_frame, b'"subscribe":', traffic.masked_frame(
        b'{"id":7,"rpc":{"method":"echo","data":%b}}' % SMALL
    )
)  # fmt: skip
"""Centrifuge's protocol of today: the gateway's and Centrifugo's."""

CENTRIFUGE_V1 = Dialect(
    "/connection/websocket",
    _centrifuge_v1_hello,
    b'"id":2',
    traffic.masked_frame(b'{"id":7,"method":9,"params":{"method":"echo","data":%b}}' % SMALL),
)
"""The same as it was in 2021: methods by number."""

SOCKET_IO = Dialect(
    "/socket.io/?EIO=4&transport=websocket",
    _socket_io_hello,
    b'40{"sid"',
    traffic.masked_frame(b'427["echo",%b]' % SMALL),
)
"""Engine.IO 4 and Socket.IO 5: an event that asks for an acknowledgement is the rpc."""

PLAIN = Dialect(
    "/",
    lambda token: traffic.masked_frame(token.encode()),
    b"ready",
    traffic.masked_frame(SMALL),
)
"""Of a library that leaves the protocol to its user."""

NCHAN = Dialect("/sub", None, b"\r\n\r\n", None)
"""Subscribed by the address; no sign-in, no requests."""

FLOOR = Dialect("/", traffic.connect_frame, b'"subscribe":', CENTRIFUGE.request)
"""Echoes what it gets, whatever it is."""


# ---------------------------------------------------------------------------- publishing
class Lines:
    """By a line on the control port."""

    def __init__(self, transport: asyncio.Transport, size: int) -> None:
        self._transport = transport
        self._size = size

    async def publish(self, count: int) -> None:
        self._transport.write(b"%d %d\n" % (count, self._size))

    def close(self) -> None:
        self._transport.abort()


class Posts:
    """By HTTP. A request on its way does not hold up the next: that one takes another connection."""

    def __init__(self, port: int, request: Callable[[int], bytes], at_once: int = 1) -> None:
        self._port = port
        self._request = request
        self._apart = at_once
        self._idle: dict[int, list[Caller]] = {}

    async def publish(self, count: int) -> None:
        if self._apart > 1 and count > 1:  # nothing like a batch: as many requests at the same time
            await asyncio.gather(*(self._post(1) for _ in range(count)))
        else:
            await self._post(count)

    async def _post(self, count: int) -> None:
        idle = self._idle.setdefault(count, [])
        caller = idle.pop() if idle else await open_caller(self._port, self._request(count))
        try:
            await caller.call()
        except BenchError:
            if not caller.gone:
                raise
            # Servers end connections that have asked for nothing for a while.
            caller = await open_caller(self._port, self._request(count))
            await caller.call()
        idle.append(caller)

    def close(self) -> None:
        for callers in self._idle.values():
            for caller in callers:
                caller.close()
        self._idle.clear()


async def by_lines(ports: dict[str, int], size: int) -> Publisher:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", ports["control"])
    return Lines(transport, size)


async def by_post(ports: dict[str, int], size: int) -> Publisher:
    def request(count: int) -> bytes:
        return traffic.http_post(f"/publish?count={count}&size={size}", b"", API_KEY)

    return Posts(ports["websocket"], request)


async def by_server_api(ports: dict[str, int], size: int) -> Publisher:
    """`/api/publish`, and `/api/batch` for several: the gateway's and Centrifugo's."""

    def request(count: int) -> bytes:
        if count == 1:
            return traffic.http_post("/api/publish", traffic.publish_body(size), API_KEY)
        return traffic.http_post("/api/batch", traffic.batch_body(count, size), API_KEY)

    return Posts(ports.get("internal", ports["websocket"]), request)


async def by_nchan(ports: dict[str, int], size: int) -> Publisher:
    body = traffic.payload(size)
    return Posts(ports["websocket"], lambda _: traffic.http_post("/pub", body, API_KEY), at_once=10)
