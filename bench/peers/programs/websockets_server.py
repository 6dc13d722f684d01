"""`websockets`: its asyncio server, and `broadcast()` to everybody."""

from __future__ import annotations

import asyncio
import os
import sys

import jwt
import uvloop
from control import serve_control
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

SECRET = os.environ["BENCH_SECRET"]
everybody: set[ServerConnection] = set()


async def handle(connection: ServerConnection) -> None:
    jwt.decode(str(await connection.recv()), SECRET, algorithms=["HS256"])
    everybody.add(connection)
    try:
        await connection.send("ready")
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass
    finally:
        everybody.discard(connection)


async def main(port: int, control: int) -> None:
    await serve_control(control, lambda content: broadcast(everybody, content))
    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
