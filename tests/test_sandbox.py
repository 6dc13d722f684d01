"""The sandbox answers as WeChat does, so that what works against it works against WeChat."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.wechat import sandbox as module
from gateway.wechat.sandbox import Login, Sandbox, sandbox_router
from tests.servers import serve_app
from tests.timing import MS

APPS = {"wx0000000000000001": "secret-one", "wx0000000000000002": "secret-two"}
APP, OTHER_APP = APPS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Phone:
    """Talks to the sandbox over HTTP, as a phone and as a server."""

    def __init__(self, http: httpx.AsyncClient, clock: Clock) -> None:
        self.http = http
        self.clock = clock

    async def login(self, user: str = "alice", **more: str) -> str:
        answer = await self.http.post("/sandbox/login", json={"user": user, **more})
        assert answer.status_code == 200, answer.text
        code = answer.json()["code"]
        assert isinstance(code, str)
        return code

    async def ask(self, **params: str) -> httpx.Response:
        return await self.http.get("/sandbox/sns/jscode2session", params=params)

    async def exchange(self, code: str, appid: str = APP) -> dict[str, Any]:
        answer = await self.ask(
            appid=appid, secret=APPS[appid], js_code=code, grant_type="authorization_code"
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        body: dict[str, Any] = answer.json()
        return body

    async def order(self, kind: str, **more: float) -> None:
        answer = await self.http.post("/sandbox/faults", json={"kind": kind, **more})
        assert answer.status_code == 204, answer.text

    async def outcomes(self) -> dict[str, int]:
        return dict((await self.http.get("/sandbox/stats")).json()["outcomes"])


@contextlib.asynccontextmanager
async def serve_sandbox() -> AsyncIterator[Phone]:
    clock = Clock()
    app = FastAPI()
    app.include_router(sandbox_router(Sandbox(APPS, now=clock)), prefix="/sandbox")
    async with serve_app(app) as base_url, httpx.AsyncClient(base_url=base_url) as http:
        yield Phone(http, clock)


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    async with serve_sandbox() as phone:
        yield phone


async def test_a_code_becomes_an_openid_a_key_and_a_unionid_without_errcode(phone: Phone) -> None:
    body = await phone.exchange(await phone.login())
    assert set(body) == {"openid", "session_key", "unionid"}
    assert re.fullmatch(r"o[A-Za-z0-9_-]{27}", body["openid"])
    assert len(base64.b64decode(body["session_key"], validate=True)) == 16


async def test_a_user_keeps_the_openid_per_app_and_the_unionid_across_apps(phone: Phone) -> None:
    first = await phone.exchange(await phone.login())
    again = await phone.exchange(await phone.login())
    there = await phone.exchange(await phone.login(appid=OTHER_APP), OTHER_APP)
    other = await phone.exchange(await phone.login("bob"))
    assert again["openid"] == first["openid"]
    assert there["openid"] != first["openid"]
    assert there["unionid"] == first["unionid"]
    assert other["openid"] != first["openid"]
    assert other["unionid"] != first["unionid"]


async def test_a_user_is_the_same_after_a_restart(phone: Phone) -> None:
    body = await phone.exchange(await phone.login())
    async with serve_sandbox() as restarted:
        assert (await restarted.exchange(await restarted.login()))["openid"] == body["openid"]


async def test_a_login_may_name_its_openid_unionid_and_session_key(phone: Phone) -> None:
    given = {"openid": "oMine", "unionid": "oUnion", "session_key": "HyVFkGl5F5OQWJZZaNzBBg=="}
    assert await phone.exchange(await phone.login(**given)) == given


async def test_an_app_outside_any_open_platform_account_gets_no_unionid(phone: Phone) -> None:
    assert "unionid" not in await phone.exchange(await phone.login(unionid=""))


async def test_login_returns_the_code_and_nothing_else(phone: Phone) -> None:
    answer = await phone.http.post("/sandbox/login", json={"user": "alice"})
    assert set(answer.json()) == {"code"}
    assert len(answer.json()["code"]) == 32


async def test_a_code_works_once(phone: Phone) -> None:
    code = await phone.login()
    await phone.exchange(code)
    assert (await phone.exchange(code))["errcode"] == 40163


async def test_a_code_lives_for_five_minutes(phone: Phone) -> None:
    early, late = await phone.login(), await phone.login()
    phone.clock.now += 299.9
    assert "openid" in await phone.exchange(early)
    phone.clock.now += 0.1
    assert (await phone.exchange(late))["errcode"] == 40029


@pytest.mark.parametrize("code", ["0a1B2c3D4e5F6g7H8i9J0kLmNoPqRsTu", "the code is a mock one"])
async def test_codes_of_the_developer_tools_sign_one_user_in(phone: Phone, code: str) -> None:
    """A project runs there against the sandbox as it is, with an AppID or without."""
    first = await phone.exchange(code)
    again = await phone.exchange("0z9Y8x7W6v5U4t3S2r1Q0pOnMlKjIhGf")
    assert first["openid"] == again["openid"]
    assert first["openid"] != (await phone.exchange(await phone.login()))["openid"]
    assert (await phone.exchange(code))["errcode"] == 40163


async def test_a_code_of_another_app_is_invalid_and_not_spent(phone: Phone) -> None:
    code = await phone.login()
    assert (await phone.exchange(code, OTHER_APP))["errcode"] == 40029
    assert "openid" in await phone.exchange(code)


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"appid": ""}, 41002),
        ({"secret": ""}, 41004),
        ({"js_code": ""}, 41008),
        ({"grant_type": "password"}, 40002),
        ({"appid": "wxUnknown"}, 40013),
        ({"secret": "wrong"}, 40125),
        ({"secret": "密码"}, 40125),
        ({"js_code": "garbage"}, 40029),
    ],
)
async def test_refusals_are_http_200_with_errcode_and_rid(
    phone: Phone, change: dict[str, str], errcode: int
) -> None:
    good = {
        "appid": APP,
        "secret": APPS[APP],
        "js_code": await phone.login(),
        "grant_type": "authorization_code",
    }
    answer = await phone.ask(**{**good, **change})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.json()["errcode"] == errcode
    assert re.search(r" rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", answer.json()["errmsg"])
    assert "openid" in (await phone.ask(**good)).json(), "a refusal spends no code"


async def test_a_young_session_key_survives_a_login_and_an_old_one_does_not(phone: Phone) -> None:
    first = (await phone.exchange(await phone.login()))["session_key"]
    phone.clock.now += module.KEY_MIN_AGE - 1
    assert (await phone.exchange(await phone.login()))["session_key"] == first
    phone.clock.now += 1
    assert (await phone.exchange(await phone.login()))["session_key"] != first


async def test_rotation_can_be_forced(phone: Phone) -> None:
    first = await phone.exchange(await phone.login())
    answer = await phone.http.post("/sandbox/rotate", json={"user": "alice"})
    assert answer.status_code == 204
    second = await phone.exchange(await phone.login())
    assert second["session_key"] != first["session_key"]
    assert second["openid"] == first["openid"]


@pytest.mark.parametrize(("kind", "errcode"), [("busy", -1), ("quota", 45011), ("blocked", 40226)])
async def test_faults_with_an_errcode_happen_as_often_as_ordered_and_spend_no_code(
    phone: Phone, kind: str, errcode: int
) -> None:
    code = await phone.login()
    await phone.order(kind, times=2)
    assert [(await phone.exchange(code))["errcode"] for _ in range(2)] == [errcode] * 2
    assert "openid" in await phone.exchange(code)
    assert await phone.outcomes() == {f"fault:{kind}": 2, "ok": 1}


@pytest.mark.parametrize(("kind", "status"), [("bad_gateway", 502), ("html", 200)])
async def test_faults_of_a_proxy_in_the_way_are_html(phone: Phone, kind: str, status: int) -> None:
    await phone.order(kind)
    answer = await phone.ask()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<html>")


async def test_a_slow_answer_is_late_but_right(phone: Phone) -> None:
    await phone.order("slow", seconds=50 * MS)
    code = await phone.login()
    started = asyncio.get_running_loop().time()
    assert "openid" in await phone.exchange(code)
    assert asyncio.get_running_loop().time() - started >= 50 * MS


async def test_silence_spends_the_code_and_ends_when_the_caller_hangs_up(phone: Phone) -> None:
    code = await phone.login()
    await phone.order("silence", seconds=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(phone.exchange(code), 50 * MS)
    assert (await phone.exchange(code))["errcode"] == 40163


async def test_silence_ends_with_an_empty_answer(phone: Phone) -> None:
    await phone.order("silence", seconds=0)
    assert (await phone.ask()).content == b""


async def test_faults_can_be_called_off(phone: Phone) -> None:
    await phone.order("busy", times=1000)
    assert (await phone.http.delete("/sandbox/faults")).status_code == 204
    assert "openid" in await phone.exchange(await phone.login())


async def test_stats_count_each_call_once(phone: Phone) -> None:
    code = await phone.login()
    await phone.order("slow", seconds=0)
    await phone.order("busy")
    for _ in range(3):
        await phone.exchange(code)
    stats = (await phone.http.get("/sandbox/stats")).json()
    assert stats["calls"] == 3
    assert stats["outcomes"] == {"fault:slow": 1, "ok": 1, "fault:busy": 1, "40163": 1}
    assert (stats["codes"], stats["users"]) == (1, 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("login", b"{}"),
        ("login", b'{"user":""}'),
        ("login", b'{"user":"' + b"x" * 65 + b'"}'),
        ("login", b'{"user":"a\\nb"}'),
        ("login", b'{"user":"\\ud800"}'),
        ("login", b'{"user":7}'),
        ("login", b'{"user":"alice","admin":true}'),
        ("login", b'{"user":"alice","appid":"wxUnknown"}'),
        ("login", b'{"user":"alice","openid":"o x"}'),
        ("login", b'{"user":"alice","openid":"' + b"o" * 65 + b'"}'),
        ("login", b'{"user":"alice","session_key":"short"}'),
        ("login", b"not json"),
        ("rotate", b'{"user":"alice","appid":"wxUnknown"}'),
        ("faults", b'{"kind":"fire"}'),
        ("faults", b'{"kind":"busy","times":0}'),
        ("faults", b'{"kind":"busy","times":1000000}'),
        ("faults", b'{"kind":"slow","seconds":-1}'),
        ("faults", b'{"kind":"slow","seconds":1e9}'),
        ("faults", b'{"kind":"slow","seconds":NaN}'),
    ],
)
async def test_bad_input_is_refused(phone: Phone, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await phone.http.post(f"/sandbox/{path}", content=body, headers=headers)
    assert answer.status_code in (400, 422)


async def test_waiting_faults_are_bounded(phone: Phone) -> None:
    for _ in range(module.MAX_FAULTS):
        await phone.order("busy")
    answer = await phone.http.post("/sandbox/faults", json={"kind": "busy"})
    assert answer.status_code == 429


def test_codes_and_users_are_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CODES", 3)
    monkeypatch.setattr(module, "MAX_USERS", 2)
    sandbox = Sandbox(APPS, now=Clock())
    codes = [sandbox.login(Login(user=f"user{number}")) for number in range(5)]
    assert (sandbox.stats().codes, sandbox.stats().users) == (3, 2)
    query = {"appid": APP, "secret": APPS[APP], "grant_type": "authorization_code"}
    assert sandbox.exchange({**query, "js_code": codes[1]})["errcode"] == 40029
    assert "openid" in sandbox.exchange({**query, "js_code": codes[4]})


def test_expired_codes_leave_the_memory() -> None:
    clock = Clock()
    sandbox = Sandbox(APPS, now=clock)
    for _ in range(10):
        sandbox.login(Login(user="alice"))
    clock.now += 300
    sandbox.login(Login(user="alice"))
    assert sandbox.stats().codes == 1


def test_a_sandbox_without_apps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one app"):
        Sandbox({}, now=Clock())
