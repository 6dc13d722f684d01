"""Credentials that are none: each has the outcome that tells an SDK what to do next."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.gateway_process import HMAC_SECRET, GatewayProcess, token, unique
from tests.raw_ws import RawSocket, text


# ---------------------------------------------------------------------------- tokens
def _unsigned(alg: str, signature: str = "") -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': alg, 'typ': 'JWT'})}.{part({'sub': 'mallory', 'exp': 9_999_999_999})}.{signature}"


def _signed(header: dict[str, Any], payload: bytes) -> str:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    head = part(json.dumps(header).encode()) + b"." + part(payload)
    return (head + b"." + part(hmac.new(HMAC_SECRET.encode(), head, hashlib.sha256).digest())).decode()


GOOD = token("mallory")
BAD_TOKENS: dict[str, str] = {
    "a word": "secret",
    "43 characters of no session": "A" * 43,
    "truncated": GOOD[:-5],
    "without signature": GOOD.rpartition(".")[0] + ".",
    "two parts": GOOD.rpartition(".")[0],
    "of another key": token("mallory", secret="another secret, just as long as the first"),
    "changed payload": GOOD.replace(GOOD.split(".")[1], _unsigned("HS256").split(".")[1]),
    "alg none": _unsigned("none"),
    "alg None": _unsigned("None"),
    "alg none, signed": _unsigned("none", GOOD.rpartition(".")[2]),
    "alg unknown": _unsigned("HS999", "AAAA"),
    "alg RS256, no key": _unsigned("RS256", "AAAA"),
    "alg is a list": _signed({"alg": ["HS256"]}, b'{"sub":"mallory"}'),
    "payload is no JSON": _signed({"alg": "HS256"}, b"mallory"),
    "payload is a list": _signed({"alg": "HS256"}, b"[]"),
    "payload is deep": _signed({"alg": "HS256"}, b"[" * 5_000),
    "sub is a number": _signed({"alg": "HS256"}, b'{"sub":1}'),
    "exp is a text": _signed({"alg": "HS256"}, b'{"sub":"m","exp":"soon"}'),
    "exp is negative": _signed({"alg": "HS256"}, b'{"sub":"m","exp":-1}'),
    "exp is huge": _signed({"alg": "HS256"}, b'{"sub":"m","exp":1e300}'),
    "a subscription token": token("mallory", channel="plain:x"),
    "10,000 characters": "x" * 10_000,
    "dots": "...",
    "non-ASCII": "密钥.密钥.密钥",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token(gateway: GatewayProcess, name: str) -> None:
    """An invalid token is final, 3500. A session token that is not known may have expired: error 109."""
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"token": BAD_TOKENS[name]}}))
        if name == "43 characters of no session":
            assert (await socket.reply())["error"]["code"] == 109
        else:
            await socket.closed_with(3500)


@pytest.mark.parametrize("ttl", [-1, -86_400, -(10**9)])
async def test_an_expired_token(gateway: GatewayProcess, ttl: int) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("late", ttl=ttl)}}))
        assert (await socket.reply())["error"]["code"] == 109


async def test_a_token_from_the_future(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("early", nbf=9_999_999_999)}}))
        assert (await socket.reply())["error"]["code"] == 109


async def test_who_does_not_refresh_in_time_is_ended(gateway: GatewayProcess) -> None:
    """A subscription and a connection, both with a grace after the expiry of their tokens."""
    user, channel = unique("user"), unique("secret:room")
    async with (
        await RawSocket.open(gateway.websocket_port) as stays,
        await RawSocket.open(gateway.websocket_port) as goes,
    ):
        await stays.connect(token(user))
        result = await stays.call("subscribe", channel=channel, token=token(user, channel=channel, ttl=1))
        assert (result["subscribe"]["expires"], result["subscribe"]["ttl"]) == (True, 1)
        connected = await goes.connect(token(user, ttl=1))
        assert (connected["expires"], connected["ttl"]) == (True, 1)
        assert (await stays.reply())["push"]["unsubscribe"]["code"] == 2501
        await goes.closed_with(3005)
        assert "subscribe" in await stays.call("subscribe", channel=unique("news")), "the connection is kept"


@pytest.mark.parametrize("empty", [{}, {"token": ""}, {"data": {}}, {"data": None}, {"data": {"code": None}}])
async def test_no_credentials(gateway: GatewayProcess, empty: dict[str, Any]) -> None:
    """Anonymous clients are not let in here."""
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": empty}))
        await socket.closed_with(3501)


async def test_a_token_of_nobody(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("")}}))
        await socket.closed_with(3507)


# ---------------------------------------------------------------------------- codes
@pytest.mark.parametrize("code", ["", "x" * 10_000, "a\tb", "\x00", "代码", 5, True, [], {}, 1.5])
async def test_a_code_that_cannot_be_one_costs_no_call(gateway: GatewayProcess, code: object) -> None:
    before = await gateway.wechat_calls()
    async with await RawSocket.open(gateway.websocket_port) as socket:
        assert (await socket.call("connect", data={"code": code}))["error"]["code"] == 107
    assert await gateway.wechat_calls() == before


@pytest.mark.parametrize("data", [5, "code", [], [{"code": "x"}], True])
async def test_connect_data_of_another_shape(gateway: GatewayProcess, data: object) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"data": data}}))
        end = await socket.closing()
        refused = any(reply.get("error", {}).get("code") == 107 for reply in end.replies)
        assert refused or end.code == 3501, end


async def test_a_code_that_wechat_does_not_know(gateway: GatewayProcess) -> None:
    """109: what makes an SDK fetch a new code; the text says what happened."""
    async with await RawSocket.open(gateway.websocket_port) as socket:
        error = (await socket.call("connect", data={"code": "0unknown"}))["error"]
        assert error["code"] == 109
        assert "refused this code" in error["message"]
        assert "wx.login" in error["message"]


async def test_a_code_for_an_app_that_is_not_configured(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        reply = await socket.call("connect", data={"code": "0x", "appid": "wxnobody"})
        assert reply["error"]["code"] == 403


@pytest.mark.parametrize(
    ("kind", "code", "temporary"),
    [
        ("busy", 400, True),
        ("quota", 400, True),
        ("bad_gateway", 400, True),
        ("html", 400, True),
        ("silence", 400, True),
        ("blocked", 401, False),
    ],
)
async def test_what_wechat_may_answer(gateway: GatewayProcess, kind: str, code: int, temporary: bool) -> None:
    await gateway.order_fault(kind)
    async with await RawSocket.open(gateway.websocket_port) as socket:
        reply = await socket.call("connect", data={"code": await gateway.code(unique("user"))})
        assert (reply["error"]["code"], reply["error"].get("temporary", False)) == (code, temporary), reply


async def test_ten_sockets_with_one_code_cost_one_call(gateway: GatewayProcess) -> None:
    code, before = await gateway.code(unique("user")), await gateway.wechat_calls()

    async def connect() -> dict[str, Any]:
        async with await RawSocket.open(gateway.websocket_port) as socket:
            return await socket.call("connect", data={"code": code})

    replies = await asyncio.gather(*(connect() for _ in range(10)))
    assert await gateway.wechat_calls() == before + 1
    openids = {reply["connect"]["data"]["openid"] for reply in replies if "connect" in reply}
    assert len(openids) == 1
    assert all(reply["error"]["code"] == 109 for reply in replies if "error" in reply)
