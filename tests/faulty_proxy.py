"""Between the phones and the gateway: forwards WebSocket frames, and loses, swaps or holds back messages."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress

from tests.timing import MS

FAULTS = ("none", "drops", "doubles", "reorders", "stalls")
EVERY = 100
"""One in so many messages is lost, doubled or swapped with the next."""
STALL = 200 * MS
BETWEEN_STALLS = 600 * MS
MARK = b'"pub":'


def frames(buffer: bytearray) -> Iterator[bytes]:
    """Whole unmasked frames off the front of `buffer`."""
    while len(buffer) >= 2:
        size, start = buffer[1] & 0x7F, 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:start])
        if len(buffer) < max(start + size, 2):
            return
        yield bytes(buffer[: start + size])
        del buffer[: start + size]


class FaultyProxy:
    """Use it as a context. `fault` is one of FAULTS, and only publications suffer; `tls` is for phones."""

    def __init__(self, target: int, fault: str, tls: ssl.SSLContext | None = None) -> None:
        assert fault in FAULTS
        self._target = target
        self._fault = fault
        self._tls = tls
        self._seen = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.hurt = 0

    async def __aenter__(self) -> FaultyProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        if self._fault == "stalls":
            self._keep(asyncio.create_task(self._stall()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stall(self) -> None:
        while True:
            await asyncio.sleep(BETWEEN_STALLS)
            self._flowing.clear()
            self.hurt += 1
            await asyncio.sleep(STALL)
            self._flowing.set()

    async def _accept(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("127.0.0.1", self._target)
        self._keep(asyncio.create_task(self._there(near_in, far_out)))
        self._keep(asyncio.create_task(self._back(far_in, near_out)))

    @staticmethod
    async def _there(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def _back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            sink.write(await source.readuntil(b"\r\n\r\n"))
            buffer, held = bytearray(), b""
            while data := await source.read(65536):
                buffer += data
                await self._flowing.wait()
                for frame in frames(buffer):
                    out, held = self._treat(frame, held)
                    sink.write(out)
                await sink.drain()
        sink.close()

    def _treat(self, frame: bytes, held: bytes) -> tuple[bytes, bytes]:
        """What to send now, and what to keep until the next message."""
        if MARK not in frame or self._fault in ("none", "stalls"):
            return held + frame, b""
        if held:
            return frame + held, b""
        self._seen += 1
        if self._seen % EVERY:
            return frame, b""
        self.hurt += 1
        match self._fault:
            case "drops":
                return b"", b""
            case "doubles":
                return frame + frame, b""
            case _:
                return b"", frame
