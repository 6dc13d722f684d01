"""The page of `gateway dev`: simulated phones in a browser, and a desk that publishes to them.

For development only: whoever reaches it can publish anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.config import Settings
from gateway.node.node import Node, PublishRequestOptions
from gateway.version import __version__

STATIC: Final = Path(__file__).parent / "static"
FILES: Final = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "phone.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "centrifuge.min.js": "text/javascript; charset=utf-8",
}
DEV_KEY: Final = "dev"
"""The key that `gateway dev` sets; any other key belongs to the user, and no page shows it."""

_HOST: Final = re.compile(r"[A-Za-z0-9.\-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]")


class Desk(BaseModel):
    """What the desk publishes: to `channel`, or to every phone where that is empty."""

    model_config = ConfigDict(extra="forbid")

    channel: Annotated[str, Field(max_length=255)] = ""
    data: Any


def dev_router(settings: Settings, node: Node, ports: Callable[[], tuple[int, int]]) -> APIRouter:
    """The page, its files, and what it asks. `ports`: of the websocket and of the internal listener."""
    router = APIRouter()

    @router.get("/")
    async def index(request: Request) -> Response:
        """The page."""
        return _file("index.html", _policy(_websocket_origin(request, ports()[0])))

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        """Its files: a closed list, so no path of the client reaches the disk."""
        if name not in FILES:
            raise HTTPException(404)
        return _file(name, "default-src 'none'")

    @router.get("/dev/config")
    async def config(request: Request) -> dict[str, Any]:
        """Where things are, seen from the browser that asks."""
        websocket, internal = ports()
        keys = [key.get_secret_value() for key in settings.api.keys]
        return {
            "version": __version__,
            "websocket": f"{_websocket_origin(request, websocket)}/connection/websocket",
            "api": f"http://{_host(request)}:{internal}/api",
            "api_key": DEV_KEY if DEV_KEY in keys else "YOUR-API-KEY",
            "channel": "news",
        }

    @router.post("/dev/publish")
    async def publish(desk: Desk) -> dict[str, Any]:
        """Publish without a key."""
        try:
            data = msgspec.json.encode(desk.data)
        except UnicodeEncodeError:
            raise HTTPException(400, "data: half of a surrogate pair has no UTF-8") from None
        if not desk.channel:
            await node.broadcast_all(data, "")
            return {}
        result = await node.publish(desk.channel, data, PublishRequestOptions())
        return {"offset": result.offset, "epoch": result.epoch}

    return router


def _file(name: str, policy: str) -> FileResponse:
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # The files change with the installed version, the address does not.
        "Cache-Control": "no-cache",
    }
    return FileResponse(STATIC / name, media_type=FILES[name], headers=headers)


def _policy(websocket: str) -> str:
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {websocket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _host(request: Request) -> str:
    """The host that the browser used; it ends up in a header, so only what is a host by its letters."""
    host = request.headers.get("host", "").rsplit("@")[-1]
    name = host.rpartition(":")[0] if re.search(r":[0-9]{1,5}$", host) else host
    return name if _HOST.fullmatch(name) else "127.0.0.1"


def _websocket_origin(request: Request, port: int) -> str:
    scheme = "wss" if request.url.scheme == "https" else "ws"
    return f"{scheme}://{_host(request)}:{port}"
