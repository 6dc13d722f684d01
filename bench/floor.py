"""The floor: the gateway's transport design without JSON, state, or any feature.

An `asyncio.Protocol` on uvloop, the library's Sans-I/O `ServerProtocol` for the handshake and for
whatever is not a plain message, whole frames parsed here, a frame built once per publication, and an
outbox with one write per connection per turn. Every message is echoed; a line on the control port fans
out to all connections.

Usage: python -m bench.floor WEBSOCKET_PORT CONTROL_PORT PAYLOAD_SIZE
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from bench.traffic import payload

TEXT: Final = 0x81
OPCODES: Final = frozenset((0x81, 0x82))


class Outboxes:
    """One write per connection per turn: the first frame of a turn queues the connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.dirty: list[Connection] = []

    def post(self, connection: Connection, frame: bytes) -> None:
        if not connection.outbox:
            if not self.dirty:
                self._loop.call_soon(self._flush)
            self.dirty.append(connection)
        connection.outbox.append(frame)

    def fan_out(self, connections: set[Connection], frame: bytes) -> None:
        post = self.post
        for connection in connections:
            post(connection, frame)

    def _flush(self) -> None:
        dirty, self.dirty = self.dirty, []
        for connection in dirty:
            outbox = connection.outbox
            connection.transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))
            outbox.clear()


class Connection(asyncio.Protocol):
    """One socket: handshake by the library, then whole frames by hand, the rest by the library again."""

    __slots__ = ("_connections", "_handshake", "_outboxes", "_rest", "outbox", "transport")
    transport: asyncio.Transport

    def __init__(self, connections: set[Connection], outboxes: Outboxes) -> None:
        self._connections = connections
        self._outboxes = outboxes
        self._handshake: ServerProtocol | None = ServerProtocol()
        self._rest = b""
        self.outbox: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            self._shake_hands(self._handshake, data)
            return
        if self._rest:
            data = self._rest + data
        self._rest = self._echo_frames(data)

    def _shake_hands(self, library: ServerProtocol, data: bytes) -> None:
        library.receive_data(data)
        for event in library.events_received():
            if isinstance(event, Request):
                library.send_response(library.accept(event))
                self._handshake = None
                self._connections.add(self)
        self.transport.write(b"".join(library.data_to_send()))

    def _echo_frames(self, data: bytes) -> bytes:
        """Answer all complete frames in `data`, hand back the rest."""
        position, end = 0, len(data)
        while end - position >= 6:
            size = data[position + 1] & 0x7F
            start = position + 6
            if size == 126:
                size = int.from_bytes(data[position + 2 : position + 4])
                start += 2
            if data[position] not in OPCODES or size == 127:
                self.transport.close()  # the driver sends nothing but small messages and goes
                return b""
            if start + size > end:
                break
            message = apply_mask(data[start : start + size], data[start - 4 : start])
            self._outboxes.post(self, text_frame(message))
            position = start + size
        return data[position:]


class Control(asyncio.Protocol):
    """A line with a number, and perhaps a size: so many publications to everybody, in one turn.

    Answers with an empty line.
    """

    def __init__(self, connections: set[Connection], outboxes: Outboxes, content: bytes) -> None:
        self._connections = connections
        self._outboxes = outboxes
        self._content = content

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            count, *size = map(int, line.split())
            content = payload(*size) if size else self._content
            for _ in range(count):
                self._outboxes.fan_out(self._connections, text_frame(content))
            self._transport.write(b"\n")


def text_frame(message: bytes) -> bytes:
    size = len(message)
    if size < 126:
        return bytes((TEXT, size)) + message
    return bytes((TEXT, 126)) + size.to_bytes(2) + message


async def serve(websocket_port: int, control_port: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    outboxes = Outboxes(loop)
    await loop.create_server(
        lambda: Connection(connections, outboxes), "127.0.0.1", websocket_port, backlog=4096
    )
    await loop.create_server(lambda: Control(connections, outboxes, payload(size)), "127.0.0.1", control_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*(int(argument) for argument in sys.argv[1:4])))
