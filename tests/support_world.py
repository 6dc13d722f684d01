"""Real gateways in the test's loop, on one real Redis or on none, as support staff see them: by their API."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.auth.token_maker import make_token
from gateway.backend.base import Backend, NoBackend
from gateway.config import load
from gateway.server import Server
from tests.raw_ws import Json, RawSocket
from tests.timing import MS

APP = "wx0000000000000001"
SECRET = "the-app-secret-of-the-tests"
CALLBACK_TOKEN = "the-callback-token"
HMAC_SECRET = "a secret that only the tests know, long enough"
KEY = "the key of the tests"
PATIENCE = 5_000 * MS


def token(user: str, **claims: Any) -> str:
    """A JWT of the team's backend."""
    return make_token(HMAC_SECRET, {"sub": user, "exp": int(time.time()) + 3600, **claims})


@dataclass
class Gate:
    """One gateway: `http` speaks to its public listener, `api` to the internal one."""

    server: Server
    http: httpx.AsyncClient
    internal: httpx.AsyncClient
    stack: contextlib.AsyncExitStack = field(repr=False)

    @property
    def node(self) -> Any:
        assert self.server._parts is not None
        return self.server._parts.node

    @property
    def metrics(self) -> Any:
        assert self.server._parts is not None
        return self.server._parts.metrics

    async def call(self, method: str, /, **params: Any) -> Json:
        """The whole answer of one server API call."""
        answer = await self.internal.post(f"/api/{method}", json=params, headers={"X-API-Key": KEY})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def result(self, method: str, /, **params: Any) -> Json:
        """The result of a call that must succeed."""
        answer = await self.call(method, **params)
        assert "result" in answer, answer
        return dict(answer["result"])

    async def error(self, method: str, /, **params: Any) -> int:
        """The code of a call that must fail."""
        return int((await self.call(method, **params))["error"]["code"])

    async def socket(self) -> RawSocket:
        """A connection that is closed with the gateway."""
        socket = await RawSocket.open(self.server.ports["websocket"])
        return await self.stack.enter_async_context(socket)

    async def phone(self, user: str, *channels: str, **claims: Any) -> RawSocket:
        """A client that is connected with a JWT."""
        socket = await self.socket()
        await socket.connect(token(user, **claims))
        for channel in channels:
            assert "subscribe" in await socket.call("subscribe", channel=channel)
        return socket

    async def code(self, user: str) -> str:
        answer = await self.http.post("/sandbox/login", json={"user": user})
        assert answer.is_success, answer.text
        return str(answer.json()["code"])

    async def mini_program(self, user: str) -> tuple[RawSocket, Json]:
        """A client that is connected with a wx.login code; and what it was told: token, openid."""
        socket = await self.socket()
        reply = await socket.call("connect", data={"code": await self.code(user)})
        assert "connect" in reply, reply
        return socket, dict(reply["connect"]["data"])

    @contextlib.asynccontextmanager
    async def trace(self, **query: Any) -> AsyncIterator[Trace]:
        """A trace that has begun on all nodes."""
        request = self.internal.stream("GET", "/api/trace", params=query, headers={"X-API-Key": KEY})
        async with request as answer:
            assert answer.status_code == 200, await answer.aread()
            trace = Trace(answer)
            await trace.line(kind="begin")
            await asyncio.sleep(150 * MS)  # until the other nodes look, too
            yield trace


class Trace:
    """The lines of a trace, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.seen: list[Json] = []

    async def line(self, **wanted: Any) -> Json:
        """The next line with these fields."""
        async with asyncio.timeout(PATIENCE):
            async for text in self._lines:
                found: Json = json.loads(text)
                self.seen.append(found)
                if wanted.items() <= found.items():
                    return found
        raise AssertionError(f"the trace ended without {wanted}: {self.seen}")

    async def rest(self) -> list[Json]:
        """All lines until it ends."""
        async with asyncio.timeout(PATIENCE):
            self.seen += [json.loads(text) async for text in self._lines]
        return self.seen


def tables(redis_url: str = "", **more: Any) -> dict[str, Any]:
    """Settings of a gateway; `more` is merged into its tables."""
    values: dict[str, Any] = {
        "listen": dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0"),
        "shutdown": {"drain": "0s", "timeout": "2s"},
        "api": {"keys": [KEY]},
        "client": {"token_hmac_secret": HMAC_SECRET},
        "wechat": {
            "sandbox": True,
            "timeout": "2s",
            "apps": [{"appid": APP, "secret": SECRET, "callback_token": CALLBACK_TOKEN}],
        },
        "channels": {"allow_subscribe_for_client": True, "allow_publish_for_subscriber": True},
    }
    if redis_url:
        values["redis"] = {"url": redis_url}
        values["session"] = {"encryption_key": base64.b64encode(bytes(32)).decode()}
    for name, table in more.items():
        values[name] = {**values.get(name, {}), **table}
    return values


@contextlib.asynccontextmanager
async def gate(redis_url: str = "", backend: Backend | None = None, **more: Any) -> AsyncIterator[Gate]:
    """One gateway; see `tables`."""
    server = Server(load(None, {}, tables(redis_url, **more)), backend or NoBackend())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        await server.start()
        http, internal = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports[name]}", trust_env=False)
            )
            for name in ("http", "internal")
        ]
        yield Gate(server, http, internal, stack)


@contextlib.asynccontextmanager
async def gates(redis_url: str, count: int = 2, **more: Any) -> AsyncIterator[list[Gate]]:
    """Several gateways that know of each other."""
    async with contextlib.AsyncExitStack() as stack:
        each = [await stack.enter_async_context(gate(redis_url, **more)) for _ in range(count)]
        async with asyncio.timeout(PATIENCE):
            for one in each:
                while len((await one.result("info"))["nodes"]) < count:
                    await asyncio.sleep(10 * MS)
        yield each
