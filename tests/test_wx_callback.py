"""What WeChat's servers push: real messages once, everything else never, and an answer at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.backend.app import Gateway
from gateway.brokers.base import HistoryFilter
from gateway.http import callback as desk_module
from gateway.wechat.callback import (
    MAX_AGE,
    MAX_AHEAD,
    CallbackApp,
    WeChatEvent,
    check_question,
    open_push,
)
from gateway.wechat.crypto import BadPush, PushCipher, push_signature
from tests.test_wx_crypto import PUSH_APP, PUSH_ENCRYPT, PUSH_KEY, PUSH_TOKEN
from tests.timing import MS, until
from tests.wx_world import AES_KEY, APP, APPS, CALLBACK_TOKEN, OTHER_APP, World, running

DENIED = {"code": 103, "message": "permission denied"}


class Team:
    """The team's backend: keeps what it is told, and may hang or fail."""

    def __init__(self) -> None:
        self.gateway = Gateway(timeout=200 * MS)
        self.events: list[WeChatEvent] = []
        self.mood = "well"
        self.gateway.on_wechat_event(self.pushed)

    async def pushed(self, event: WeChatEvent) -> None:
        self.events.append(event)
        if self.mood == "hangs":
            await asyncio.sleep(60)
        if self.mood == "fails":
            raise RuntimeError("the database is away")


@pytest.fixture
def team() -> Team:
    return Team()


@pytest.fixture
async def world(team: Team) -> AsyncIterator[World]:
    async with running(team.gateway) as world:
        yield world


async def publications(world: World) -> list[dict[str, Any]]:
    parts = world.server._parts
    assert parts is not None
    history = await parts.node.history("wechat", HistoryFilter(limit=-1))
    return [json.loads(bytes(publication.data)) for publication in history.publications]


def refused_or_not(world: World) -> dict[str, int]:
    parts = world.server._parts
    assert parts is not None
    return parts.metrics._callbacks


# ---------------------------------------------------------------------------- what is real
async def test_the_url_is_verified(world: World) -> None:
    status, body = await world.push("verify")
    assert status == 200
    assert body.isdigit()


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("mode", ["plain", "compatible", "safe"])
async def test_a_message_reaches_backend_and_channel(world: World, team: Team, mode: str, form: str) -> None:
    message = {
        "ToUserName": "gh_97417a04a28d",
        "FromUserName": "oAlice",
        "CreateTime": 1714112445,
        "MsgType": "event",
        "Event": "wxa_media_check",
        "trace_id": "<![CDATA[]]>& 密",
        "result": {"suggest": "pass", "label": 100},
    }
    assert await world.push(mode, format=form, message=message) == (200, "success")
    await until(lambda: len(team.events) == 1)
    event = team.events[0]
    assert (event.appid, event.type, event.event) == (APP, "event", "wxa_media_check")
    assert (event.openid, event.created_at) == ("oAlice", 1714112445)
    assert event.data["trace_id"] == "<![CDATA[]]>& 密"
    assert event.data["result"]["suggest"] == "pass"
    assert "Encrypt" not in event.data
    assert (await publications(world))[0]["data"] == event.data


async def test_several_apps_have_a_url_each(team: Team) -> None:
    other = {"appid": OTHER_APP, "secret": "x", "callback_token": "other-token"}
    async with running(team.gateway, wechat={"sandbox": True, "apps": [*APPS, other]}) as world:
        assert (await world.push())[0] == 403, "whose message is it?"
        assert (await world.push(url=f"{world.base}/wx/callback/{APP}"))[0] == 200
        url = f"{world.base}/wx/callback/{OTHER_APP}"
        assert (await world.push("plain", url=url))[0] == 403, "signed with the other token"
        assert (await world.push("plain", url=url, token="other-token"))[0] == 200
        assert (await world.push("verify", url=url, token="other-token"))[0] == 200
        assert (await world.push("safe", url=url, token="other-token"))[0] == 403, "it has no key"
        assert (await world.push("plain", url=f"{world.base}/wx/callback/wxNobody"))[0] == 403
        await until(lambda: [event.appid for event in team.events] == [APP, OTHER_APP])


# ---------------------------------------------------------------------------- twice
async def test_what_wechat_sends_again_is_answered_and_handled_once(world: World, team: Team) -> None:
    message = {"FromUserName": "oAlice", "MsgId": 2**63 + 5, "MsgType": "text", "Content": "hello"}
    for mode in ("safe", "safe", "plain"):
        assert await world.push(mode, message=message) == (200, "success")
    event = {"FromUserName": "oAlice", "CreateTime": 7, "MsgType": "event", "Event": "a"}
    for _ in range(3):
        assert await world.push(message=event) == (200, "success")
    await world.push(message={**event, "Event": "b"})
    await until(lambda: len(team.events) == 3)
    await asyncio.sleep(20 * MS)
    assert [event.event for event in team.events] == ["", "a", "b"]
    assert refused_or_not(world)["duplicate"] == 4


async def test_a_replayed_nonce_is_refused_unless_it_is_the_very_same(world: World, team: Team) -> None:
    again: dict[str, Any] = {"nonce": "nonce1", "timestamp": int(time.time())}
    message = {"FromUserName": "oAlice", "CreateTime": 1, "MsgType": "text"}
    assert await world.push("plain", message=message, **again) == (200, "success")
    assert await world.push("plain", message=message, **again) == (200, "success")
    forged = {**message, "FromUserName": "oMallory"}
    status, body = await world.push("plain", message=forged, **again)
    assert (status, json.loads(body)) == (403, DENIED)
    assert len(team.events) == 1


# ---------------------------------------------------------------------------- who is not WeChat
@pytest.mark.parametrize(
    "change",
    [
        {"token": "wrong"},
        {"signature": "0" * 40},
        {"signature": ""},
        {"signature": "密"},
        {"timestamp": 0},
        {"timestamp": int(time.time()) - int(MAX_AGE) - 60},
        {"timestamp": int(time.time()) + int(MAX_AHEAD) + 600},
        {"encoding_aes_key": "z" * 43},
        {"appid": "wxSomebodyElse"},
    ],
)
async def test_all_that_is_wrong_has_one_answer(world: World, team: Team, change: dict[str, Any]) -> None:
    if change == {"signature": ""}:
        change = {"signature": "x"}
    status, body = await world.push(**change)
    assert (status, json.loads(body)) == (403, DENIED)
    if "encoding_aes_key" not in change and "appid" not in change:
        for mode in ("plain", "verify"):
            status, body = await world.push(mode, **change)
            assert (status, json.loads(body)) == (403, DENIED), mode
    assert team.events == []


def signed(**more: str) -> dict[str, str]:
    now = str(int(time.time()))
    nonce = more.pop("nonce", str(time.perf_counter_ns()))
    return {"timestamp": now, "nonce": nonce, "signature": push_signature(CALLBACK_TOKEN, now, nonce), **more}


BAD_XML = [
    b"<xml>",
    b"<",
    b"<xml><a></b></xml>",
    b"\xff\xfe<xml/>",
    b'<?xml version="1.0" encoding="klingon"?><xml><a>1</a></xml>',
    b"<xml>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</xml>",
    b'<!DOCTYPE x [<!ENTITY a "b">]><xml><MsgType>&a;</MsgType></xml>',
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><MsgType>&a;</MsgType></xml>',
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><xml>&b;</xml>',
    b"<xml>text</xml>",
]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{" * 9000, b"\xff", b" ", *BAD_XML])
async def test_a_body_that_is_no_message_is_refused(world: World, team: Team, body: bytes) -> None:
    for query in (signed(), signed(encrypt_type="aes", msg_signature="x")):
        answer = await world.http.post("/wx/callback", params=query, content=body)
        assert (answer.status_code, answer.json()) == (403, DENIED)
    assert team.events == []


@pytest.mark.parametrize("encrypted", ["", "AAAA", "*", PUSH_ENCRYPT, 7, None, [], "A" * 64, "密"])
async def test_a_ciphertext_that_is_none_is_refused(world: World, team: Team, encrypted: Any) -> None:
    now, nonce = str(int(time.time())), "nonce2"
    signature = push_signature(CALLBACK_TOKEN, now, nonce, str(encrypted))
    query = {"timestamp": now, "nonce": nonce, "encrypt_type": "aes", "msg_signature": signature}
    answer = await world.http.post("/wx/callback", params=query, json={"Encrypt": encrypted})
    assert (answer.status_code, answer.json()) == (403, DENIED)
    assert team.events == []


@pytest.mark.parametrize("cut", [1, 4, 24, 44])
async def test_a_truncated_ciphertext_is_refused(world: World, team: Team, cut: int) -> None:
    sealed = PushCipher(AES_KEY, APP).encrypt(b'{"MsgType":"text"}')[:-cut]
    now = str(int(time.time()))
    signature = push_signature(CALLBACK_TOKEN, now, "n", sealed)
    query = {"timestamp": now, "nonce": "n", "encrypt_type": "aes", "msg_signature": signature}
    answer = await world.http.post("/wx/callback", params=query, json={"Encrypt": sealed})
    assert (answer.status_code, answer.json()) == (403, DENIED)
    assert team.events == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"timestamp": "x"},
        {"timestamp": "١٢٣"},
        {"timestamp": "9" * 400},
        {"timestamp": "-1"},
        {"nonce": ""},
        {"nonce": "x" * 500},
        {"signature": "x" * 5000},
        {"echostr": "é"},
        {"echostr": "x" * 600},
        {"echostr": ""},
        {"echostr": "a\r\nb"},
    ],
)
async def test_queries_that_are_wrong_are_refused(world: World, query: dict[str, str]) -> None:
    params = {**signed(echostr="123"), **query} if query else {}
    answer = await world.http.get("/wx/callback", params=params)
    assert (answer.status_code, answer.json()) == (403, DENIED)
    assert answer.headers["content-type"] == "application/json"


async def test_without_a_token_nobody_gets_in() -> None:
    async with running(wechat={"sandbox": True, "apps": [{"appid": APP, "secret": "x"}]}) as world:
        for mode in ("verify", "plain", "safe"):
            assert (await world.push(mode))[0] == 403


async def test_refusals_are_told_to_the_operator_once_a_minute_without_a_secret(world: World) -> None:
    for _ in range(5):
        await world.push(token="wrong-token")
    lines = [str(call) for call in world.logged if "was refused" in str(call)]
    assert len(lines) == 1
    for secret in (CALLBACK_TOKEN, AES_KEY, "wrong-token"):
        assert secret not in repr(world.logged)
    assert refused_or_not(world)["refused"] == 5


# ---------------------------------------------------------------------------- a backend in trouble
@pytest.mark.parametrize("mood", ["hangs", "fails"])
async def test_the_answer_does_not_wait_for_the_backend(world: World, team: Team, mood: str) -> None:
    team.mood = mood
    answer = await world.sandbox(
        "push",
        {
            "url": f"{world.base}/wx/callback",
            "token": CALLBACK_TOKEN,
            "encoding_aes_key": AES_KEY,
            "appid": APP,
            "mode": "safe",
        },
    )
    assert (answer["status"], answer["body"]) == (200, "success")
    assert answer["seconds"] < 2
    await until(lambda: any("was not handled" in str(call) for call in world.logged))
    assert len(await publications(world)) == 1


async def test_too_many_at_once_are_sent_back_to_wechat(
    world: World, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MAX_EVENTS", 2)
    team.mood = "hangs"
    statuses = [(await world.push(openid=f"o{number}"))[0] for number in range(3)]
    assert statuses == [200, 200, 429]
    await until(lambda: sum("was not handled" in str(call) for call in world.logged) == 2)
    assert (await world.push(openid="o2"))[0] == 200, "it was not remembered as handled"


async def test_a_handler_that_blocks_runs_beside_the_loop() -> None:
    gateway, seen = Gateway(), []

    @gateway.on_wechat_event
    def pushed(event: WeChatEvent) -> None:
        time.sleep(20 * MS)
        seen.append(event.openid)

    async with running(gateway) as world:
        await world.push(openid="oBlocking")
        await until(lambda: seen == ["oBlocking"])


async def test_without_a_backend_it_is_published_all_the_same() -> None:
    async with running() as world:
        assert (await world.push())[0] == 200
        async with asyncio.timeout(2000 * MS):
            while not await publications(world):
                await asyncio.sleep(5 * MS)


# ---------------------------------------------------------------------------- pure
def documented(**more: Any) -> CallbackApp:
    return CallbackApp(PUSH_APP, PUSH_TOKEN, PushCipher(PUSH_KEY, PUSH_APP), "")


def test_the_examples_of_the_documentation() -> None:
    query = {
        "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
        "echostr": "4375120948345356249",
        "timestamp": "1714036504",
        "nonce": "1514711492",
    }
    assert check_question(documented(), query, 1714036504) == "4375120948345356249"
    query = {
        "signature": "6c5c811b55cc85e0e1b54100749188c20beb3f5d",
        "timestamp": "1714112445",
        "nonce": "415670741",
        "openid": "o9AgO5Kd5ggOC-bXrbNODIiE3bGY",
        "encrypt_type": "aes",
        "msg_signature": "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
    }
    for body in (
        json.dumps({"ToUserName": "gh_97417a04a28d", "Encrypt": PUSH_ENCRYPT}).encode(),
        f"<xml><ToUserName>gh</ToUserName><Encrypt><![CDATA[{PUSH_ENCRYPT}]]></Encrypt></xml>".encode(),
    ):
        event = open_push(documented(), query, body, 1714112446).event
        assert (event.event, event.data["debug_str"]) == ("debug_demo", "hello world")
    with pytest.raises(BadPush):
        open_push(documented(), query, body, 1714112445 + MAX_AGE + 1)
    assert PUSH_TOKEN not in repr(documented())


def test_xml_with_names_that_occur_again_becomes_lists() -> None:
    now, nonce = "1714112445", "1"
    query = {"timestamp": now, "nonce": nonce, "signature": push_signature(PUSH_TOKEN, now, nonce)}
    body = b"<xml><MsgType>event</MsgType><List><Id>1</Id><Id>2</Id><Id>3</Id></List><Empty/></xml>"
    event = open_push(documented(), query, body, 1714112445).event
    assert event.data == {"MsgType": "event", "List": {"Id": ["1", "2", "3"]}, "Empty": ""}


async def test_the_stand_in_pushes_to_this_machine_only(world: World) -> None:
    for url in (
        "http://example.com/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "http://127.0.0.1.evil/",
        "",
        "x",
    ):
        answer = await world.http.post("/sandbox/push", json={"url": url, "token": "t"})
        assert answer.status_code == 400, url
    nobody = {"url": "http://127.0.0.1:9/", "token": "t"}
    assert (await world.http.post("/sandbox/push", json=nobody)).json()["status"] == 0
    assert isinstance(world.http, httpx.AsyncClient)


@pytest.mark.parametrize(
    "mode", [{}, {"encrypt_type": "aes", "msg_signature": "0" * 40}], ids=["plain", "safe"]
)
async def test_nothing_is_parsed_before_the_signature_is_right(
    world: World, mode: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of XML costs a hundred times what reading it does, and anybody can send it."""

    def parse(_content: bytes) -> dict[str, Any]:
        raise AssertionError("it was parsed")

    monkeypatch.setattr("gateway.wechat.callback._read", parse)
    query = {"timestamp": str(int(time.time())), "nonce": "n", "signature": "0" * 40, **mode}
    answer = await world.http.post("/wx/callback", params=query, content=b"<xml>" + b"<a>" * 1000)
    assert answer.status_code == 403


async def test_a_message_that_is_too_large_is_refused_though_it_is_signed(world: World) -> None:
    timestamp, nonce = str(int(time.time())), "large"
    query = {
        "timestamp": timestamp,
        "nonce": nonce,
        "signature": push_signature(CALLBACK_TOKEN, timestamp, nonce),
    }
    body = json.dumps({"Event": "x", "pad": "x" * 70_000})
    assert (await world.http.post("/wx/callback", params=query, content=body)).status_code == 403
