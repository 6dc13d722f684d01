"""One team, two ways to be a backend: each event comes to the same function, in Centrifugo's JSON.

`Team.say` sets what is answered to an event: the whole body, as an HTTP backend answers. The Python side
turns it into what a handler returns or raises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import (
    ClientError,
    ConnectEvent,
    Context,
    Disconnect,
    Error,
    Gateway,
)
from gateway.protocol import parse_raw
from tests.gateway_process import free_port
from tests.timing import MS, until

Json = dict[str, Any]
Decide = Callable[[Json], Json | Response]

RPC_METHODS = ("echo", "order.pay", "slow", "broken", "gone")


class Team:
    """What the team decides.

    Attributes:
        asked: each event and what came with it, in order.
        headers: of each HTTP request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Json]] = []
        self.headers: list[dict[str, str]] = []
        self._decisions: dict[str, Decide] = {}

    def say(self, event: str, answer: Json | Decide) -> None:
        """The body to answer `event` with from now on, or what makes it of the request."""
        self._decisions[event] = answer if callable(answer) else lambda _request: answer

    def seen(self, event: str) -> list[Json]:
        """The requests of one event so far."""
        return [request for name, request in self.asked if name == event]

    def decide(self, event: str, request: Json) -> Json | Response:
        self.asked.append((event, request))
        decide = self._decisions.get(event)
        return decide(request) if decide is not None else {"result": {}}

    # ------------------------------------------------------------------ in Python
    def gateway(self, *, timeout: float = 2_000 * MS) -> Gateway:
        """Handlers of every event."""
        gw = Gateway(timeout=timeout)
        self._client_hooks(gw)
        self._channel_hooks(gw)
        for method in RPC_METHODS:
            self._rpc(gw, method)
        return gw

    def _ask(self, event: str, ctx: Context, **fields: Any) -> Any:
        request = {"client": ctx.client, "user": ctx.user, "appid": ctx.appid, **fields}
        if ctx.meta is not None:
            request["meta"] = ctx.meta
        answer = self.decide(event, request)
        assert isinstance(answer, dict)
        if "error" in answer:
            raise ClientError(Error(**answer["error"]))
        if "disconnect" in answer:
            raise ClientError(Disconnect(**answer["disconnect"]))
        return answer["result"]

    def _client_hooks(self, gw: Gateway) -> None:
        @gw.on_connect
        async def connect(ctx: Context, event: ConnectEvent) -> Any:
            data = parse_raw(event.data)
            return self._ask("connect", ctx, data=data, name=event.name, token=event.token)

        @gw.on_refresh
        async def refresh(ctx: Context) -> Any:
            return self._ask("refresh", ctx)

        @gw.on_send
        async def send(ctx: Context, data: Any) -> None:
            self._ask("send", ctx, data=data)

    def _channel_hooks(self, gw: Gateway) -> None:
        @gw.on_subscribe("deal:*")
        async def subscribe(ctx: Context, channel: str, data: Any) -> Any:
            return self._ask("subscribe", ctx, channel=channel, data=data)

        @gw.on_sub_refresh("deal:*")
        async def sub_refresh(ctx: Context, channel: str) -> Any:
            return self._ask("sub_refresh", ctx, channel=channel)

        @gw.on_publish("deal:*")
        async def publish(ctx: Context, channel: str, data: Any) -> Any:
            return self._ask("publish", ctx, channel=channel, data=data)

    def _rpc(self, gw: Gateway, method: str) -> None:
        @gw.rpc(method)
        async def answer(ctx: Context, data: Any) -> Any:
            return self._ask("rpc", ctx, method=method, data=data).get("data")

    # ------------------------------------------------------------------ over HTTP
    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[str]:
        """A real server; yields the endpoint, with a place for the event's name."""

        async def answer(request: Request) -> Response:
            body = await request.body()
            self.headers.append(dict(request.headers))
            decided = self.decide(request.path_params["event"], msgspec.json.decode(body))
            return JSONResponse(decided) if isinstance(decided, dict) else decided

        app = Starlette(routes=[Route("/centrifugo/{event}", answer, methods=["POST"])])
        async with serving(app) as url:
            yield f"{url}/centrifugo/{{event}}"


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """An ASGI app on a free port of its own, in the loop of the test; yields its URL."""
    port = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
