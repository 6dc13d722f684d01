"""WeChat's API in tests: called over HTTP, against the sandbox or against any answer at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.upstream.breaker import Breaker
from gateway.wechat.api import App, Outcome, WeChatAPI, WeChatError
from gateway.wechat.sandbox import Sandbox, sandbox_router
from tests.servers import RawHandler, http_answer, serve_app, serve_raw
from tests.timing import MS

APPID = "wx0000000000000001"
SECRET = "the-app/secret+0123456789"
CODE = "0a1B2c-the-code"
RID = "5f8d0e0a-1c2b3d4e-5f6a7b8c"
OPENID = "o9AgO5Kd5ggOC-bXrbNODIiE3bGY"
GOOD = {"openid": OPENID, "session_key": "HyVFkGl5F5OQWJZZaNzBBg=="}
TIMEOUT = 2000 * MS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """The API under test, with its clock and what its observer saw."""

    def __init__(self, base_url: str, http: httpx.AsyncClient, timeout: float, breaker: Breaker) -> None:
        self.clock = Clock()
        self.seen: list[tuple[Outcome, float]] = []
        self.api = WeChatAPI(
            App(APPID, SECRET, base_url),
            timeout,
            http,
            breaker=breaker,
            on_call=lambda outcome, seconds: self.seen.append((outcome, seconds)),
            now=self.clock,
        )

    @property
    def outcomes(self) -> list[str]:
        return [outcome for outcome, _ in self.seen]

    async def fail(self, code: str = CODE) -> WeChatError:
        with pytest.raises(WeChatError) as caught:
            await self.api.code_to_session(code)
        return caught.value


@contextlib.asynccontextmanager
async def calling(
    handler: RawHandler, timeout: float = TIMEOUT, breaker: Breaker | None = None
) -> AsyncIterator[Caller]:
    async with serve_raw(handler) as base_url, httpx.AsyncClient() as http:
        yield Caller(base_url, http, timeout, breaker or Breaker(5, 3))


def answering(body: Any, **more: Any) -> RawHandler:
    return http_answer(json.dumps(body).encode(), **more)


@contextlib.asynccontextmanager
async def calling_sandbox() -> AsyncIterator[tuple[Caller, Sandbox]]:
    clock = Clock()
    sandbox = Sandbox({APPID: SECRET}, now=clock)
    app = FastAPI()
    app.include_router(sandbox_router(sandbox), prefix="/sandbox")
    async with serve_app(app) as base_url, httpx.AsyncClient() as http:
        yield Caller(f"{base_url}/sandbox/", http, TIMEOUT, Breaker(5, 3)), sandbox
