"""Starlette on uvicorn: a WebSocket route, and a loop over everybody in the route that publishes."""

from __future__ import annotations

import os
import sys

import jwt
import uvicorn
from control import content
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

SECRET = os.environ["BENCH_SECRET"]
everybody: set[WebSocket] = set()


async def socket(client: WebSocket) -> None:
    await client.accept()
    try:
        jwt.decode(await client.receive_text(), SECRET, algorithms=["HS256"])
        everybody.add(client)
        await client.send_text("ready")
        while True:
            await client.send_text(await client.receive_text())
    except WebSocketDisconnect:
        everybody.discard(client)


async def publish(request: Request) -> JSONResponse:
    message = content(int(request.query_params["size"]))
    for _ in range(int(request.query_params["count"])):
        for client in tuple(everybody):
            await client.send_text(message)
    return JSONResponse({})


if __name__ == "__main__":
    routes = [WebSocketRoute("/", socket), Route("/publish", publish, methods=["POST"])]
    uvicorn.run(
        Starlette(routes=routes),
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
