"""python-socketio on uvicorn: a room, and an event to it."""

from __future__ import annotations

import os
import sys
from typing import Any

import jwt
import socketio
import uvicorn
from control import content
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

SECRET = os.environ["BENCH_SECRET"]
server = socketio.AsyncServer(async_mode="asgi", ping_interval=3600, ping_timeout=3600)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
    jwt.decode(auth["token"], SECRET, algorithms=["HS256"])
    await server.enter_room(sid, "bench")


@server.event
async def echo(sid: str, data: Any) -> Any:
    return data


async def publish(request: Request) -> JSONResponse:
    message = content(int(request.query_params["size"]))[1:-1]
    for _ in range(int(request.query_params["count"])):
        await server.emit("news", message, room="bench")
    return JSONResponse({})


if __name__ == "__main__":
    pages = Starlette(routes=[Route("/publish", publish, methods=["POST"])])
    uvicorn.run(
        socketio.ASGIApp(server, pages),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        access_log=False,
        log_level="error",
        backlog=4096,
    )
