"""Sign-in over HTTP: the socket's session, by other doors; and what is refused there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway.errors import ERRORS
from gateway.http.problems import CHINESE, speaks_chinese
from gateway.wechat.sandbox import CODE_LIFETIME
from tests.timing import MS
from tests.wx_world import APP, APPS, OTHER_APP, SECRET, World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as world:
        yield world


async def test_a_code_becomes_a_session_and_the_key_stays(world: World) -> None:
    answer = await world.http.post("/wx/login", json={"code": await world.code(), "appid": APP})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"token", "openid", "unionid", "expires_in"}
    assert body["expires_in"] > 600_000
    assert answer.headers["cache-control"] == "no-store"
    assert await world.session_key() not in answer.text


async def test_the_unionid_is_left_out_where_there_is_none(world: World) -> None:
    answer = await world.http.post("/wx/login", json={"code": await world.code(unionid="")})
    assert set(answer.json()) == {"token", "openid", "expires_in"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_wafer_sends_the_code_in_a_header(world: World, method: str) -> None:
    headers = {"X-WX-Code": await world.code(), "X-WX-Encrypted-Data": "x", "X-WX-IV": "y"}
    answer = await world.http.request(method, "/wx/login", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token"]


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-WX-Token", "x-wx-token"])
async def test_a_session_is_found_by_either_header(world: World, name: str) -> None:
    phone = await world.sign_in()
    value = f"Bearer {phone.token}" if name.lower() == "authorization" else phone.token
    answer = await world.http.get("/wx/session", headers={name: value})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["openid"], body["appid"]) == (phone.openid, APP)
    assert set(body) == {"openid", "appid", "unionid", "expires_in", "session_id"}
    assert phone.token not in answer.text


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 101),
        ({"Authorization": ""}, 101),
        ({"Authorization": "Basic YTpi"}, 101),
        ({"Authorization": "Bearer"}, 101),
        ({"Authorization": "Bearer x"}, 109),
        ({"Authorization": "Bearer " + "A" * 43}, 109),
        ({"Authorization": "Bearer " + "A" * 5000}, 109),
        ({"X-WX-Token": "é".encode()}, 109),
        ({"X-WX-Token": "a.b.c"}, 109),
    ],
)
async def test_without_a_good_token_there_is_401(world: World, headers: dict[str, Any], code: int) -> None:
    for method, path in (("GET", "/wx/session"), ("POST", "/wx/logout"), ("POST", "/wx/check")):
        answer = await world.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code), answer.text
        assert set(answer.json()) == {"code", "message"}


async def test_one_token_serves_socket_and_http_and_logout_ends_both(world: World) -> None:
    phone, other = await world.sign_in(), await world.sign_in()
    async with connect(world.socket) as ended, connect(world.socket) as stays:
        for socket, token in ((ended, phone.token), (stays, other.token)):
            await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
            assert "connect" in json.loads(await socket.recv())
        assert (await phone.post("/wx/logout")).json() == {}
        async with asyncio.timeout(2000 * MS):
            pushed = json.loads(await ended.recv())
        assert pushed["push"]["disconnect"]["code"] == 4501
        assert (await world.http.get("/wx/session", headers=phone.headers)).status_code == 401
        assert (await phone.post("/wx/logout")).status_code == 401
        assert (await world.http.get("/wx/session", headers=other.headers)).status_code == 200
        await stays.send(json.dumps({"id": 2, "rpc": {"method": "none"}}))
        assert "error" in json.loads(await stays.recv())


async def test_a_code_reaches_wechat_once_by_http_and_by_socket(world: World) -> None:
    code = await world.code()
    before = (await world.http.get("/sandbox/stats")).json()["calls"]
    await world.sandbox("faults", {"kind": "slow", "seconds": 200 * MS})
    answers = await asyncio.gather(*(world.http.post("/wx/login", json={"code": code}) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["token"] for answer in answers}) == 1
    async with connect(world.socket) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"data": {"code": code}}}))
        assert json.loads(await socket.recv())["error"]["code"] == 109
    again = await world.http.post("/wx/login", json={"code": code})
    assert (again.status_code, again.json()["code"]) == (401, 109)
    assert (await world.http.get("/sandbox/stats")).json()["calls"] == before + 1
    assert CODE_LIFETIME == 300


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("busy", 503, 400), ("blocked", 403, 401), ("quota", 503, 400), ("html", 503, 400)],
)
async def test_what_wechat_says_becomes_a_status(world: World, kind: str, status: int, code: int) -> None:
    await world.sandbox("faults", {"kind": kind})
    answer = await world.http.post("/wx/login", json={"code": await world.code()})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


BAD_BODIES: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"code"',
    b"{}",
    b'{"code":null}',
    b'{"code":7}',
    b'{"code":""}',
    b'{"code":[]}',
    b'{"code":{"a":1}}',
    b'{"code":"a\tb"}',
    b'{"code":"\xff"}',
    b'{"code":"\\ud800"}',
    b'{"code":"\\u0000"}',
    b'{"code":NaN}',
    b'{"code":' + b"9" * 5000 + b"}",
    b'{"code":"' + b"x" * 257 + b'"}',
    b'{"code":"good","appid":7}',
    b'{"code":"good","appid":"wxUnknown"}',
    b'{"code":"good","appid":"' + b"x" * 65 + b'"}',
    b"[" * 100_000,
    b'{"code":' + b"[" * 50_000,
    "代码".encode(),
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_input_is_400_with_a_code_in_both_languages(world: World, body: bytes) -> None:
    for language in ("en", "zh-CN,zh;q=0.9"):
        headers = {"Content-Type": "application/json", "Accept-Language": language}
        answer = await world.http.post("/wx/login", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"code", "message"}
        assert answer.json()["code"] in (107, 403)
        assert answer.json()["message"].isascii() == (language == "en")


async def test_other_keys_are_the_teams(world: World) -> None:
    answer = await world.http.post("/wx/login", json={"code": await world.code(), "invited_by": "bob"})
    assert answer.status_code == 200


async def test_a_body_that_is_too_large_is_413(world: World) -> None:
    body = b'{"code":"' + b"x" * 2_000_000 + b'"}'
    headers = {"Content-Type": "application/json", "Accept-Language": "zh"}
    answer = await world.http.post("/wx/login", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (413, {"code": 404, "message": CHINESE[404]})


async def test_several_apps_need_an_appid() -> None:
    apps = [*APPS, {"appid": OTHER_APP, "secret": "other"}]
    async with running(wechat={"sandbox": True, "apps": apps}) as world:
        code = await world.code(appid=OTHER_APP)
        assert (await world.http.post("/wx/login", json={"code": code})).json()["code"] == 107
        answer = await world.http.post("/wx/login", json={"code": code, "appid": OTHER_APP})
        assert answer.status_code == 200
        headers = {"X-WX-Code": await world.code(appid=OTHER_APP), "X-WX-AppId": OTHER_APP}
        assert (await world.http.post("/wx/login", headers=headers)).status_code == 200


async def test_the_limit_per_address_believes_only_our_proxies() -> None:
    wechat = {"sandbox": True, "apps": APPS, "max_sign_ins_per_ip": 1}
    async with running(wechat=wechat) as world:
        await world.sandbox("faults", {"kind": "slow", "times": 4, "seconds": 100 * MS})
        codes = [await world.code(f"user{number}") for number in range(4)]

        async def login(code: str, address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return (await world.http.post("/wx/login", json={"code": code}, headers=headers)).status_code

        addresses = ["203.0.113.7", "203.0.113.7", "203.0.113.8", "junk, 203.0.113.9"]
        statuses = await asyncio.gather(*map(login, codes, addresses))
        assert sorted(statuses) == [200, 200, 200, 429]


async def test_no_secret_reaches_a_log_or_an_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    phone = await world.sign_in()
    key, code = await world.session_key(), await world.code()
    texts = [(await world.http.get("/wx/session", headers=phone.headers)).text]
    texts.append((await phone.post("/wx/check")).text)
    texts.append((await phone.post("/wx/userinfo", await phone.open_data())).text)
    texts.append((await world.http.post("/wx/login", json={"code": code, "appid": "wxNone"})).text)
    for kind in ("bad_gateway", "token_invalid", "html"):
        await world.sandbox("faults", {"kind": kind, "api": "checksession", "times": 2})
        texts.append((await phone.post("/wx/check")).text)
    await world.sandbox("faults", {"kind": "token_invalid", "times": 1})
    texts.append((await world.http.post("/wx/login", json={"code": await world.code()})).text)
    # The access log is off; only the test itself hears it.
    lines = [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]
    seen = "".join(lines) + repr(world.logged) + "".join(texts)
    parts = world.server._parts
    assert parts is not None
    tokens = [api.tokens._token for api in parts.wx.services.open_data.apis.values()]
    access = [token.value for token in tokens if token]
    assert access
    for secret in (SECRET, key, code, phone.token, *access):
        assert secret not in seen


# ---------------------------------------------------------------------------- languages
def test_every_error_has_a_chinese_text() -> None:
    assert set(CHINESE) == set(ERRORS)
    assert not [code for code, text in CHINESE.items() if text.isascii()]


@pytest.mark.parametrize(
    ("header", "chinese"),
    [
        ("", False),
        ("zh", True),
        ("zh-CN", True),
        ("zh-Hant-TW,en;q=0.8", True),
        ("en-US,en;q=0.9,zh;q=0.8", False),
        ("en;q=0.1, zh;q=0.2", True),
        ("fr, zh;q=0.5", True),
        ("fr", False),
        ("*", False),
        ("zh;q=0", False),
        ("zh;q=nonsense", False),
        (";;;,,,zh", True),
        ("zh" * 10_000, False),
        ("密", False),
    ],
)
def test_the_language_is_the_one_that_is_preferred(header: str, chinese: bool) -> None:
    assert speaks_chinese(header) == chinese
