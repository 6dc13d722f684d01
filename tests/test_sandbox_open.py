"""The stand-in WeChat follows the rules of stable_token, and takes nothing that WeChat would not take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.wechat.crypto import session_signature
from tests.test_sandbox import APP, APPS, OTHER_APP, Phone, serve_sandbox


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    async with serve_sandbox() as phone:
        yield phone


async def stable(phone: Phone, **change: Any) -> dict[str, Any]:
    body = {"grant_type": "client_credential", "appid": APP, "secret": APPS[APP], **change}
    answer = await phone.http.post("/sandbox/cgi-bin/stable_token", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return dict(answer.json())


async def plain(phone: Phone) -> str:
    query = {"grant_type": "client_credential", "appid": APP, "secret": APPS[APP]}
    return str((await phone.http.get("/sandbox/cgi-bin/token", params=query)).json()["access_token"])


async def works(phone: Phone, token: str) -> int:
    """0 where the token is taken: then the openid is what is wrong."""
    query = {"access_token": token, "openid": "oNobody", "sig_method": "hmac_sha256", "signature": "x"}
    errcode = (await phone.http.get("/sandbox/wxa/checksession", params=query)).json()["errcode"]
    return 0 if errcode == 40003 else int(errcode)


async def test_the_stable_token_stays_and_is_renewed_with_an_overlap(phone: Phone) -> None:
    first = await stable(phone)
    assert first["expires_in"] == 7200
    assert len(first["access_token"]) > 100
    phone.clock.now += 6899
    assert await stable(phone) == {**first, "expires_in": 301}
    phone.clock.now += 1
    second = await stable(phone)
    assert second["access_token"] != first["access_token"]
    assert second["expires_in"] == 7200
    assert await works(phone, first["access_token"]) == 0
    phone.clock.now += 300
    assert await works(phone, first["access_token"]) == 42001
    assert await works(phone, second["access_token"]) == 0


async def test_a_force_ends_the_old_token_and_is_rationed(phone: Phone) -> None:
    tokens = [(await stable(phone))["access_token"]]
    for _ in range(20):
        tokens.append((await stable(phone, force_refresh=True))["access_token"])
        assert await works(phone, tokens[-2]) == 40001
        again = (await stable(phone, force_refresh=True))["access_token"]
        assert again == tokens[-1], "within 30 s nothing is refreshed"
        phone.clock.now += 30
    assert len(set(tokens)) == 21
    assert (await stable(phone, force_refresh=True))["errcode"] == 45009


async def test_the_older_token_is_isolated_and_ends_the_one_before(phone: Phone) -> None:
    kept = (await stable(phone))["access_token"]
    first, second = await plain(phone), await plain(phone)
    assert len({kept, first, second}) == 3
    assert [await works(phone, token) for token in (kept, first, second)] == [0, 0, 0]
    phone.clock.now += 300
    assert [await works(phone, token) for token in (kept, first, second)] == [0, 42001, 0]


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"grant_type": "x"}, 40002),
        ({"appid": ""}, 41002),
        ({"appid": 7}, 41002),
        ({"appid": "wxNone"}, 40013),
        ({"secret": ""}, 41004),
        ({"secret": "密"}, 40125),
    ],
)
async def test_wrong_credentials(phone: Phone, change: dict[str, Any], errcode: int) -> None:
    assert (await stable(phone, **change))["errcode"] == errcode


async def test_bodies_that_are_no_object(phone: Phone) -> None:
    token = (await stable(phone))["access_token"]
    for path in ("cgi-bin/stable_token", f"wxa/business/getuserphonenumber?access_token={token}"):
        for body in (b"", b"{", b"[]", b"\xff", b"[" * 50_000):
            answer = await phone.http.post(f"/sandbox/{path}", content=body)
            assert answer.json()["errcode"] == 47001


async def test_a_phone_code_is_of_one_app_and_of_one_use_and_of_five_minutes(phone: Phone) -> None:
    token = (await stable(phone))["access_token"]

    async def tap(**more: str) -> str:
        body = {"user": "alice", "phone": "13800138000", **more}
        return str((await phone.http.post("/sandbox/phone", json=body)).json()["code"])

    async def number(code: str, access: str = token) -> dict[str, Any]:
        path = "/sandbox/wxa/business/getuserphonenumber"
        answer = await phone.http.post(path, params={"access_token": access}, json={"code": code})
        return dict(answer.json())

    code = await tap()
    assert (await number(code, ""))["errcode"] == 41001
    assert (await number(code, "x"))["errcode"] == 40001
    info = (await number(code))["phone_info"]
    assert (info["purePhoneNumber"], info["watermark"]["appid"]) == ("13800138000", APP)
    assert (await number(code))["errcode"] == 40029
    assert (await number(await tap(appid=OTHER_APP)))["errcode"] == 40029
    late = await tap()
    phone.clock.now += 300
    assert (await number(late))["errcode"] == 40029


async def test_calls_about_a_session_key_are_signed_with_it(phone: Phone) -> None:
    who = await phone.exchange(await phone.login())
    token = (await stable(phone))["access_token"]
    query = {"access_token": token, "openid": who["openid"], "sig_method": "hmac_sha256"}

    async def ask(path: str, key: str, **change: str) -> dict[str, Any]:
        params = {**query, "signature": session_signature(key), **change}
        return dict((await phone.http.get(f"/sandbox/wxa/{path}", params=params)).json())

    key = who["session_key"]
    assert (await ask("checksession", key))["errcode"] == 0
    assert (await ask("checksession", "another"))["errcode"] == 87009
    assert (await ask("checksession", key, signature="密"))["errcode"] == 87009
    assert (await ask("checksession", key, sig_method="md5"))["errcode"] == 87008
    assert (await ask("resetusersessionkey", "another"))["errcode"] == 87009
    fresh = (await ask("resetusersessionkey", key))["session_key"]
    assert fresh != key
    assert (await ask("checksession", key))["errcode"] == 87009
    assert (await ask("checksession", fresh))["errcode"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("phone", b'{"user":"alice"}'),
        ("phone", b'{"user":"alice","phone":"call me"}'),
        ("phone", b'{"user":"alice","phone":"12345","appid":"wxNone"}'),
        ("userinfo", b'{"user":""}'),
        ("userinfo", b'{"user":"alice","appid":"wxNone"}'),
        ("userinfo", b'{"user":"alice","info":{"a":NaN}}'),
        ("userinfo", b'{"user":"alice","info":{"a":"\\ud800"}}'),
        ("push", b'{"url":"http://127.0.0.1/"}'),
        ("push", b'{"url":"http://127.0.0.1/","token":"t","mode":"loud"}'),
        ("push", b'{"url":"http://127.0.0.1/","token":"t","mode":"safe"}'),
        ("push", b'{"url":"http://127.0.0.1/","token":"t","format":"xml","message":{"a b":1}}'),
    ],
)
async def test_bad_input_is_refused(phone: Phone, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await phone.http.post(f"/sandbox/{path}", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
