"""Journeys of signing in and staying signed in, with real SDKs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess, token, unique
from tests.sdk.conftest import MakePhone
from tests.sdk.proxy import Proxy
from tests.timing import MS

EXPIRED_FOR_GOOD = 1_600 * MS
"""After the refresh: past the first token's expiry and the grace of the gateway under test."""


async def test_a_code_once_and_the_token_ever_after(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone
) -> None:
    """Sign in by code, lose the socket, come back by token, although the SDK still sends the spent code."""
    code, calls = await gateway.code(unique("user")), await gateway.wechat_calls()
    phone = await make_phone(proxy.url, data={"code": code})
    me = (await phone.connect())["data"]
    assert set(me) >= {"token", "openid"}
    assert await gateway.wechat_calls() == calls + 1

    await phone.act("set_token", token=me["token"])
    before = len(phone.events)
    proxy.cut()
    again = (await phone.event("connected", after=before))["data"] or {}
    assert again.get("openid", me["openid"]) == me["openid"]

    other = await make_phone(gateway.url, token=me["token"])
    await other.connect()
    await gateway.publish(f"#{me['openid']}", "for you")
    for each in (phone, other):
        assert (await each.event("publication", server=True))["data"] == "for you"
    assert await gateway.wechat_calls() == calls + 1, "a token needs no call to WeChat"


async def test_a_used_code_is_answered_with_the_wish_for_a_new_one(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    """109 makes an SDK ask for a new credential; this app has none, so it ends there, and did not loop."""
    code = await gateway.code(unique("user"))
    first = await make_phone(gateway.url, data={"code": code})
    await first.connect()
    second = await make_phone(gateway.url, data={"code": code})
    await second.act("connect")
    await second.event("disconnected")
    assert second.seen("error", code=109)
    assert not second.seen("connected")


async def test_an_expired_token_is_replaced_before_anything_else(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user = unique("user")
    phone = await make_phone(gateway.url, token=token(user, ttl=-60), tokens=[token(user)])
    await phone.connect()
    assert phone.seen("error", code=109)
    assert len(phone.seen("token_asked")) == 1


async def test_a_token_is_refreshed_before_it_expires_and_nobody_notices(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user = unique("user")
    phone = await make_phone(gateway.url, token=token(user, ttl=1), tokens=[token(user)])
    await phone.connect()
    await phone.subscribe(channel := unique("news"))
    await phone.event("token_asked")
    await asyncio.sleep(EXPIRED_FOR_GOOD)
    await gateway.publish(channel, "still here")
    assert (await phone.event("publication", channel=channel))["data"] == "still here"
    assert len(phone.seen("connecting")) == 1
    assert not phone.seen("disconnected")


async def test_no_token_left_to_refresh_is_the_end(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token=token(unique("user"), ttl=1), tokens=[])
    await phone.connect()
    await phone.event("disconnected")


async def test_an_invalid_token_is_final(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token="no.such.token", tokens=["not", "asked"])
    await phone.act("connect")
    assert (await phone.event("disconnected"))["code"] == 3500
    assert not phone.seen("token_asked")


async def test_without_credentials_nobody_gets_in(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url)
    await phone.act("connect")
    assert (await phone.event("disconnected"))["code"] == 3501


async def test_subscription_tokens(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    user, channel = unique("user"), unique("secret:room")
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    await phone.subscribe(channel, token=token(user, channel=channel))
    await phone.act("publish", channel=channel, data="psst")
    assert (await phone.event("publication", channel=channel))["data"] == "psst"


async def test_no_subscription_token_no_subscription(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token=token(unique("user")))
    await phone.connect()
    await phone.act("subscribe", channel=(channel := unique("secret:room")))
    assert (await phone.event("unsubscribed", channel=channel))["code"] == 103


async def test_an_expired_subscription_token_is_replaced(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user, channel = unique("user"), unique("secret:room")
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    fresh = token(user, channel=channel)
    await phone.subscribe(channel, token=token(user, channel=channel, ttl=-5), tokens=[fresh])
    assert len(phone.seen("token_asked")) == 1


async def test_a_subscription_token_is_refreshed_before_it_expires(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user, channel = unique("user"), unique("secret:room")
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    short, fresh = token(user, channel=channel, ttl=1), token(user, channel=channel)
    await phone.subscribe(channel, token=short, tokens=[fresh])
    await phone.event("token_asked")
    await asyncio.sleep(EXPIRED_FOR_GOOD)
    await gateway.publish(channel, "still here")
    await phone.event("publication", channel=channel)
    assert not phone.seen("unsubscribed")
    assert len(phone.seen("subscribing", channel=channel)) == 1


async def test_channels_that_name_their_users(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    alice, bob, mallory = unique("alice"), unique("bob"), unique("mallory")
    channel = f"team:room#{alice},{bob}"
    for user, code in ((alice, None), (bob, None), (mallory, 103)):
        phone = await make_phone(gateway.url, token=token(user))
        await phone.connect()
        await phone.act("subscribe", channel=channel)
        if code is None:
            await phone.event("subscribed", channel=channel)
        else:
            assert (await phone.event("unsubscribed", channel=channel))["code"] == code


@pytest.mark.parametrize("kind", ["busy", "quota"])
async def test_a_busy_wechat_is_not_hammered(
    gateway: GatewayProcess, make_phone: MakePhone, kind: str
) -> None:
    """The error is temporary, so the SDK tries again; whether WeChat spent the code is unknown, so the same
    code is not sent there a second time, but answered with the wish for a new one."""
    calls = await gateway.wechat_calls()
    await gateway.order_fault(kind)
    phone = await make_phone(gateway.url, data={"code": await gateway.code(unique("user"))})
    await phone.act("connect")
    await phone.event("disconnected")
    assert [each["code"] for each in phone.seen("error")][:2] == [400, 109]
    assert await gateway.wechat_calls() == calls + 1


async def test_a_restart_is_survived(tmp_path: Path, make_phone: MakePhone) -> None:
    """SIGTERM: everybody is told 3001, the process ends with 0, and the SDKs come back to the next one."""
    gateway = GatewayProcess(tmp_path)
    await asyncio.to_thread(gateway.start)
    phone = await make_phone(gateway.url, token=token(unique("user")))
    await phone.connect()
    before = len(phone.events)
    await asyncio.to_thread(gateway.stop)
    assert (await phone.event("connecting", after=before))["code"] == 3001
    await asyncio.to_thread(gateway.start)
    await phone.event("connected", after=before)
    await phone.stop()
    await asyncio.to_thread(gateway.stop)
