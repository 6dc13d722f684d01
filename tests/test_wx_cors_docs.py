"""Browsers: H5 builds from other origins, and the page that documents the API."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.http.docs_page import ASSETS, STATIC
from tests.wx_world import World, running

ALLOWED = ("https://h5.example.com", "https://*.apps.example.com", "http://localhost:10086")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(http={"allowed_origins": list(ALLOWED)}) as world:
        yield world


async def preflight(world: World, origin: str, method: str = "POST", headers: str = "") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return await world.http.options("/wx/login", headers=asked)


@pytest.mark.parametrize(
    "origin",
    [
        "https://h5.example.com",
        "https://H5.example.com",
        "https://a.b.apps.example.com",
        "http://localhost:10086",
    ],
)
async def test_an_allowed_page_gets_its_own_origin_back(world: World, origin: str) -> None:
    asked = "authorization,content-type,x-wx-code,x-wx-token,upload-offset,tus-resumable,range"
    answer = await preflight(world, origin, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert set(answer.headers["access-control-allow-headers"].lower().split(",")) == set(asked.split(","))
    assert "Origin" in answer.headers["vary"]
    simple = await world.http.get("/wx/session", headers={"Origin": origin})
    assert simple.status_code == 401
    assert simple.headers["access-control-allow-origin"] == origin
    assert "Upload-Offset" in simple.headers["access-control-expose-headers"]
    assert "Origin" in simple.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://h5.example.com", "https://h5.example.com.evil", "https://h5xexample.com",
     "https://apps.example.com", "https://evil/.apps.example.com", "https://h5.example.com:444", "null", ""],
)  # fmt: skip
async def test_another_page_gets_nothing(world: World, origin: str) -> None:
    answer = await preflight(world, origin)
    assert "access-control-allow-origin" not in answer.headers
    if origin:
        assert (answer.status_code, answer.json()["code"]) == (403, 103)
    simple = await world.http.get("/wx/session", headers={"Origin": origin})
    assert "access-control-allow-origin" not in simple.headers


async def test_errors_of_any_kind_can_be_read_by_the_page(world: World) -> None:
    origin = {"Origin": ALLOWED[0]}
    answers = [
        await world.http.get("/nothing", headers=origin),
        await world.http.put("/wx/login", headers=origin),
        await world.http.post("/wx/login", content=b"{", headers=origin),
        await world.http.post("/wx/login", content=b"x" * 1_100_000, headers=origin),
    ]
    assert [answer.status_code for answer in answers] == [404, 405, 400, 413]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == ALLOWED[0]
        assert set(answer.json()) == {"code", "message"}


async def test_a_bug_is_an_answer_that_the_page_can_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = world.server._parts
    assert parts is not None

    def broken(token: str) -> Any:
        raise RuntimeError("a bug with a secret-thing in it")

    monkeypatch.setattr(parts.who.sign_in, "by_token", broken)
    headers = {"Origin": ALLOWED[0], "Authorization": "Bearer x", "Accept-Language": "zh"}
    answer = await world.http.get("/wx/session", headers=headers)
    assert (answer.status_code, answer.json()) == (500, {"code": 100, "message": "服务器内部错误"})
    assert answer.headers["access-control-allow-origin"] == ALLOWED[0]


async def test_by_default_no_page_may() -> None:
    async with running() as world:
        assert (await preflight(world, "https://h5.example.com")).status_code == 405
        answer = await world.http.get("/wx/session", headers={"Origin": "https://h5.example.com"})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_any_page_may_where_it_says_so() -> None:
    async with running(http={"allowed_origins": ["*"]}) as world:
        for origin in ("https://any.example", "null"):
            answer = await preflight(world, origin)
            assert answer.headers["access-control-allow-origin"] == origin


# ---------------------------------------------------------------------------- the page
async def test_the_page_needs_nothing_from_elsewhere(world: World) -> None:
    page = await world.http.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    links = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert {"docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/docs.js"} == set(links)
    for name, kind in ASSETS.items():
        asset = await world.http.get(f"/docs/{name}")
        assert (asset.status_code, asset.headers["content-type"]) == (200, kind)
        assert asset.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert (await world.http.get("/docs/..%2fapp.py")).status_code == 404
    assert {path.name for path in STATIC.iterdir()} == {*ASSETS, "docs.html"}


async def test_the_document_says_what_errors_look_like(world: World) -> None:
    document = (await world.http.get("/openapi.json")).json()
    operations = [
        (path, operation)
        for path, methods in document["paths"].items()
        if path.startswith("/wx")
        for operation in methods.values()
    ]
    assert {"/wx/login", "/wx/session", "/wx/userinfo", "/wx/callback/{appid}"} <= {
        path for path, _ in operations
    }
    for path, operation in operations:
        assert "422" not in operation["responses"], path
        assert "Problem" in str(operation["responses"]["400"]), path
    assert {"HTTPBearer", "APIKeyHeader"} == set(document["components"]["securitySchemes"])


async def test_the_page_can_be_turned_off() -> None:
    async with running(http={"docs": False}) as world:
        for path in ("/docs", "/openapi.json", "/docs/docs.js"):
            assert (await world.http.get(path)).status_code == 404
