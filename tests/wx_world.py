"""A whole gateway in the test's loop, with the stand-in WeChat, and phones that speak HTTP to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from structlog.testing import capture_logs

from gateway.backend.base import Backend, NoBackend
from gateway.config import load
from gateway.server import Server

APP = "wx0000000000000001"
OTHER_APP = "wx0000000000000002"
SECRET = "the-app-secret-of-the-tests"
CALLBACK_TOKEN = "the-callback-token"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
APPS = [
    {
        "appid": APP,
        "secret": SECRET,
        "callback_token": CALLBACK_TOKEN,
        "encoding_aes_key": AES_KEY,
        "callback_channel": "wechat",
    }
]


@dataclass
class Phone:
    """One user who has signed in."""

    world: World
    user: str
    token: str
    openid: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {}
        if not content and body is not None:
            content = {"json": body}
        kind = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        return await self.world.http.post(path, headers={**self.headers, **kind, **headers}, **content)

    async def open_data(self, **info: Any) -> dict[str, str]:
        given: dict[str, str] = await self.world.sandbox("userinfo", {"user": self.user, "info": info})
        return given


@dataclass
class World:
    """The gateway: `http` speaks to its public listener."""

    server: Server
    http: httpx.AsyncClient
    logged: list[Any]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.ports['http']}"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.server.ports['websocket']}/connection/websocket"

    async def sandbox(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self.http.post(f"/sandbox/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def code(self, user: str = "alice", **more: str) -> str:
        return str((await self.sandbox("login", {"user": user, **more}))["code"])

    async def sign_in(self, user: str = "alice") -> Phone:
        answer = await self.http.post("/wx/login", json={"code": await self.code(user)})
        assert answer.status_code == 200, answer.text
        return Phone(self, user, answer.json()["token"], answer.json()["openid"])

    async def session_key(self, user: str = "alice") -> str:
        """What WeChat has: to look for where it must not be."""
        code = await self.code(user)
        query = {"appid": APP, "secret": SECRET, "js_code": code, "grant_type": "authorization_code"}
        answer = await self.http.get("/sandbox/sns/jscode2session", params=query)
        return str(answer.json()["session_key"])

    async def push(self, mode: str = "safe", **more: Any) -> tuple[int, str]:
        """WeChat pushes a message to /wx/callback; the status and the body of the answer."""
        request = {
            "url": f"{self.base}/wx/callback",
            "mode": mode,
            "token": CALLBACK_TOKEN,
            "encoding_aes_key": AES_KEY,
            "appid": APP,
        }
        answer = await self.sandbox("push", {**request, **more})
        return answer["status"], answer["body"]


@contextlib.asynccontextmanager
async def running(
    backend: Backend | None = None, /, *, dev: bool = False, **tables: Any
) -> AsyncIterator[World]:
    """Serve until the block ends; `tables` replace whole tables of the settings."""
    listen = dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0")
    values = {
        "listen": listen,
        "shutdown": {"drain": "0s", "timeout": "2s"},
        "wechat": {"sandbox": True, "timeout": "2s", "apps": APPS},
        "channels": {"history_size": 100, "history_ttl": "1m"},
        **tables,
    }
    server = Server(load(None, {}, values), backend or NoBackend(), dev=dev)
    with capture_logs() as logged:
        try:
            await server.start()
            base = f"http://127.0.0.1:{server.ports['http']}"
            async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
                yield World(server, http, logged)
        finally:
            await server.stop()
