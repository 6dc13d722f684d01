"""The helper for the team's own backend, inside a real Starlette app and a real WSGI server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.auth import check as auth_check
from gateway.auth.check import CheckedSession, SessionChecker, headers_of
from gateway.errors import UpstreamError
from tests.servers import http_answer, serve_app, serve_raw
from tests.wx_world import APP, World, running


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as world:
        yield world


def told(session: CheckedSession | None) -> tuple[int, dict[str, Any]]:
    return (200, {"openid": session.openid}) if session else (401, {"error": "sign in first"})


async def test_a_starlette_app_knows_who_asks(world: World) -> None:
    checker = SessionChecker(world.base)

    async def orders(request: Request) -> JSONResponse:
        status, body = told(await checker.check_async(request.headers))
        return JSONResponse(body, status)

    phone = await world.sign_in()
    async with serve_app(Starlette(routes=[Route("/orders", orders)])) as url, httpx.AsyncClient() as http:
        for headers in ({"Authorization": f"Bearer {phone.token}"}, {"X-WX-Token": phone.token}):
            answer = await http.get(f"{url}/orders", headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"openid": phone.openid})
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer " + "A" * 43}):
            assert (await http.get(f"{url}/orders", headers=headers)).status_code == 401
    await checker.aclose()


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test has no access log."""


@contextmanager
def serve_wsgi(app: Callable[..., Iterable[bytes]]) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_a_wsgi_app_knows_who_asks(world: World) -> None:
    checker = SessionChecker(world.base)

    def orders(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, body = told(checker.check(headers_of(environ)))
        start_response(f"{status} x", [("Content-Type", "text/plain")])
        return [str(body).encode()]

    phone = await world.sign_in()
    with serve_wsgi(orders) as url:
        async with httpx.AsyncClient() as http:
            answer = await http.get(url, headers=phone.headers)
            assert (answer.status_code, answer.text) == (200, str({"openid": phone.openid}))
            assert (await http.get(url, headers={"X-WX-Token": phone.token})).status_code == 200
            assert (await http.get(url)).status_code == 401
            await phone.post("/wx/logout")
            assert (await http.get(url, headers=phone.headers)).status_code == 200, "for moments"
    checker.close()


async def test_it_asks_once_in_a_while_and_never_remembers_a_no(world: World) -> None:
    clock = Clock()
    checker = SessionChecker(world.base, remember=5, now=clock)
    phone = await world.sign_in()
    session = await checker.check_async(phone.token)
    assert session is not None
    assert (session.openid, session.appid) == (phone.openid, APP)
    await phone.post("/wx/logout")
    clock.now += 4.9
    assert await checker.check_async(phone.token) == session
    clock.now += 0.1
    assert await checker.check_async(phone.token) is None
    assert phone.token not in repr(checker) + repr(vars(checker))
    await checker.aclose()


async def test_what_it_remembers_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_check, "MAX_REMEMBERED", 2)
    checker = SessionChecker(world.base)
    for user in ("a", "b", "c"):
        await checker.check_async((await world.sign_in(user)).token)
    assert len(checker._known) == 2
    await checker.aclose()


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 43, "\ud800", "A" * 10_000, "A" * 42 + "\n"])
async def test_what_is_no_token_is_not_asked_about(token: str) -> None:
    checker = SessionChecker("http://127.0.0.1:9")
    for credentials in (token, {"Authorization": f"Bearer {token}"}, {"x-wx-token": token}):
        assert await checker.check_async(credentials) is None
        assert checker.check(credentials) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("500 X", b"{}"),
        ("200 OK", b"<html>"),
        ("200 OK", b"[]"),
        ("200 OK", b'{"openid":"o"}'),
        ("302 X", b""),
    ],
)
async def test_a_gateway_in_trouble_is_no_sign_out(status: str, body: bytes) -> None:
    async with serve_raw(http_answer(body, status=status)) as url:
        checker = SessionChecker(url)
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await checker.check_async("A" * 43)
        with pytest.raises(UpstreamError):
            await asyncio.to_thread(checker.check, "A" * 43)
        await checker.aclose()
    checker = SessionChecker(url, timeout=0.5)
    with pytest.raises(UpstreamError):
        await checker.check_async("A" * 43)
    await checker.aclose()
