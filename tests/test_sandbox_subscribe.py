"""The stand-in WeChat takes subscribe messages as WeChat does: grants, quota, errcodes and their words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.test_sandbox import APP, APPS, OTHER_APP, Phone, serve_sandbox

TEMPLATE = "tmpl-1"


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    async with serve_sandbox() as phone:
        yield phone


async def token(phone: Phone, appid: str = APP) -> str:
    body = {"grant_type": "client_credential", "appid": appid, "secret": APPS[appid]}
    return str((await phone.http.post("/sandbox/cgi-bin/stable_token", json=body)).json()["access_token"])


async def answer(phone: Phone, result: str = "accept", user: str = "alice") -> int:
    asked = {"user": user, "template_id": TEMPLATE, "result": result}
    said = await phone.http.post("/sandbox/subscribe", json=asked)
    assert said.status_code == 200, said.text
    return int(said.json()["grants"])


async def send(phone: Phone, access_token: str = "", **change: Any) -> dict[str, Any]:
    openid = (await phone.exchange(await phone.login()))["openid"]
    body = {"touser": openid, "template_id": TEMPLATE, "data": {"thing1": {"value": "tea"}}, **change}
    said = await phone.http.post(
        "/sandbox/cgi-bin/message/subscribe/send",
        params={"access_token": access_token or await token(phone)},
        json={name: value for name, value in body.items() if value is not None},
    )
    assert said.status_code == 200
    assert said.headers["content-type"].startswith("text/plain")
    return dict(said.json())


async def messages(phone: Phone, user: str = "alice") -> list[dict[str, Any]]:
    return list((await phone.http.get("/sandbox/messages", params={"user": user})).json())


async def test_one_accept_is_one_message(phone: Phone) -> None:
    assert [await answer(phone), await answer(phone), await answer(phone, "reject")] == [1, 2, 2]
    for _ in range(2):
        sent = await send(phone, page="pages/a", miniprogram_state="trial")
        assert (sent["errcode"], sent["errmsg"]) == (0, "ok")
    refused = await send(phone)
    assert refused["errcode"] == 43101
    assert refused["errmsg"].startswith("user refuse to accept the msg, rid: ")
    first, second = await messages(phone)
    assert first == second
    assert (first["page"], first["miniprogram_state"], first["lang"]) == ("pages/a", "trial", "zh_CN")
    assert await messages(phone, "bob") == []


async def test_a_ban_takes_all_grants(phone: Phone) -> None:
    await answer(phone)
    assert await answer(phone, "ban") == 0
    assert (await send(phone))["errcode"] == 43101
    assert await answer(phone) == 1


@pytest.mark.parametrize(
    ("change", "errcode", "words"),
    [
        ({"touser": "oNobody"}, 40003, "invalid openid"),
        ({"touser": 7}, 40003, "invalid openid"),
        ({"template_id": "unknown"}, 40037, "invalid template_id"),
        ({"template_id": None}, 40037, "invalid template_id"),
        ({"data": None}, 47003, "argument invalid! data is empty"),
        ({"data": {"thing1": {"value": ""}}}, 47003, "argument invalid! data.thing1.value is empty"),
        ({"data": {"thing1": "tea"}}, 47003, "argument invalid! data.thing1.value is empty"),
        ({"data": {"thing1": {"value": "茶" * 21}}}, 47003, "argument invalid! data.thing1.value invalid"),
        ({"data": {"phrase2": {"value": "已经支付完成"}}}, 47003, "argument invalid! data.phrase2.value"),
        ({"page": "https://example.com"}, 41030, "invalid page"),
    ],
)
async def test_refusals_have_wechats_codes_and_spend_nothing(
    phone: Phone, change: dict[str, Any], errcode: int, words: str
) -> None:
    await answer(phone)
    refused = await send(phone, **change)
    assert refused["errcode"] == errcode
    assert refused["errmsg"].startswith(words)
    assert " rid: " in refused["errmsg"]
    assert (await send(phone))["errcode"] == 0


async def test_a_token_of_nobody_or_of_another_app(phone: Phone) -> None:
    await answer(phone)
    assert (await send(phone, "x"))["errcode"] == 40001
    assert (await send(phone, await token(phone, OTHER_APP)))["errcode"] == 40003


async def test_the_quota_of_a_day(phone: Phone) -> None:
    for _ in range(3):
        await answer(phone)
    assert (await phone.http.post("/sandbox/subscribe/quota", json={"left": 1})).status_code == 204
    assert [(await send(phone))["errcode"] for _ in range(2)] == [0, 45009]
    phone.clock.now += 86_400
    assert (await send(phone))["errcode"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("subscribe", {"user": "alice", "template_id": "no template"}),
        ("subscribe", {"user": "alice", "template_id": "t", "result": "maybe"}),
        ("subscribe", {"user": "", "template_id": "t"}),
        ("subscribe/quota", {"left": -1}),
    ],
)
async def test_bad_input_is_refused(phone: Phone, path: str, body: dict[str, Any]) -> None:
    assert (await phone.http.post(f"/sandbox/{path}", json=body)).status_code == 422
    unknown = await phone.http.post(
        "/sandbox/subscribe", json={"user": "a", "template_id": "t", "appid": "wxunknown"}
    )
    assert unknown.status_code == 400
