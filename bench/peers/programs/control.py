"""The control port: a line `COUNT SIZE` publishes so many messages of so many bytes in one turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def content(size: int) -> str:
    """JSON of `size` bytes with one mark in it, as all servers send it."""
    return '"^' + "x" * (size - 3) + '"'


async def serve_control(port: int, publish: Callable[[str], None]) -> None:
    class Control(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            for line in data.splitlines():
                count, size = map(int, line.split())
                for _ in range(count):
                    publish(content(size))

    await asyncio.get_running_loop().create_server(Control, "127.0.0.1", port)
