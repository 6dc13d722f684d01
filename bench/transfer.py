"""Files over HTTP as cheaply as a client can: made once, sent in blocks, received and thrown away."""

from __future__ import annotations

import asyncio
import json

from bench.driver import PATIENCE, BenchError
from bench.servers import bench_token

MB = 1024 * 1024
BLOCK = bytes(range(256)) * (MB // 256)
FIRST = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + BLOCK[24:]
"""A block that begins as a video does."""

BEFORE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="v.mp4"\r\n\r\n'
AFTER = b"\r\n--x--\r\n"


async def upload(port: int, megabytes: int, user: str) -> str:
    """Send one file; its address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = len(BEFORE) + megabytes * MB + len(AFTER)
    writer.write(
        f"POST /files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bench_token(user)}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n".encode()
        + BEFORE
    )
    for number in range(megabytes):
        writer.write(BLOCK if number else FIRST)
        await writer.drain()
    writer.write(AFTER)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"an upload failed: {body!r}")
    return str(json.loads(body).get("url", ""))


class Receiver(asyncio.BufferedProtocol):
    """Counts what comes, into one buffer, and keeps nothing."""

    def __init__(self, request: bytes, size: int) -> None:
        self._request = request
        self._size = size
        self._got = 0
        self._buffer = memoryview(bytearray(MB))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._got and not bytes(self._buffer[:12]) == b"HTTP/1.1 200":
            self.done.set_exception(BenchError(f"a download failed: {bytes(self._buffer[:200])!r}"))
        self._got += nbytes
        # The head is small beside the file, so the file has come when its size has: all but a few bytes.
        if self._got >= self._size and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(BenchError("a download broke off"))


async def download(port: int, path: str, megabytes: int, user: str) -> None:
    """Fetch one file."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bench_token(user)}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    receiver = Receiver(request, megabytes * MB)
    transport, _ = await loop.create_connection(lambda: receiver, "127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            await receiver.done
    finally:
        transport.abort()
