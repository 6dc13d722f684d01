"""Journeys in channels, with real SDKs: publish, miss nothing, see who is there, be sent away."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway_process import GatewayProcess, token, unique
from tests.sdk.conftest import MakePhone
from tests.sdk.phone import RECONNECT_DELAY, PhoneError
from tests.sdk.proxy import Proxy


async def test_publish_and_history(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    channel = unique("chat:room")
    phones = [await make_phone(gateway.url, token=token(unique(name))) for name in ("alice", "bob")]
    for phone in phones:
        await phone.connect()
        await phone.subscribe(channel)
    said = ["hello", {"text": "早上好 🌞"}, 5, None, [1, [2]], "line\nbreak"]
    for content in said:
        await phones[0].act("publish", channel=channel, data=content)
    for phone in phones:
        heard = await phone.several(len(said), "publication", channel=channel)
        assert [each["data"] for each in heard] == said
        assert [each["offset"] for each in heard] == [1, 2, 3, 4, 5, 6]
        assert all(each["info"]["user"].startswith("alice") for each in heard)
    history = await phones[1].act("history", channel=channel, limit=4)
    assert [each["data"] for each in history["publications"]] == said[:4]
    assert history["offset"] == 6
    assert history["epoch"]


async def test_presence(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    channel, user = unique("chat:room"), unique("alice")
    phones = [await make_phone(gateway.url, token=token(user, info={"n": n})) for n in range(2)]
    clients = []
    for phone in phones:
        clients.append((await phone.connect())["client"])
        await phone.subscribe(channel)
    there = (await phones[0].act("presence", channel=channel))["clients"]
    assert set(there) == set(clients)
    assert {each["user"] for each in there.values()} == {user}
    stats = await phones[0].act("presence_stats", channel=channel)
    assert stats == {"numClients": 2, "numUsers": 1}
    await phones[1].act("disconnect")
    await phones[0].event("leave", channel=channel)
    assert set((await phones[0].act("presence", channel=channel))["clients"]) == {clients[0]}


async def test_who_joins_hears_itself_after_it_is_in(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    channel = unique("chat:room")
    alice = await make_phone(gateway.url, token=token("alice"))
    bob = await make_phone(gateway.url, token=token("bob"))
    me = (await alice.connect())["client"]
    await alice.subscribe(channel)
    assert (await alice.event("join", channel=channel))["info"]["client"] == me
    names = [event["event"] for event in alice.events if event.get("channel") == channel]
    assert names == ["subscribing", "subscribed", "join"]

    other = (await bob.connect())["client"]
    await bob.subscribe(channel)
    assert (await alice.several(2, "join", channel=channel))[1]["info"]["client"] == other
    await bob.act("unsubscribe", channel=channel)
    left = await alice.event("leave", channel=channel)
    assert left["info"] == left["info"] | {"user": "bob", "client": other}
    assert not bob.seen("leave"), "who has left hears nothing any more"


async def test_a_hard_cut_loses_nothing(gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone) -> None:
    channel = unique("news")
    phone = await make_phone(proxy.url, token=token(unique("user")))
    await phone.connect()
    await phone.subscribe(channel)
    for number in range(5):
        await gateway.publish(channel, number)
    await phone.several(5, "publication", channel=channel)

    before = len(phone.events)
    proxy.cut_off = True
    proxy.cut()
    for number in range(5, 25):
        await gateway.publish(channel, number)
    await phone.event("connecting", after=before)
    proxy.cut_off = False
    back = await phone.event("subscribed", after=before, channel=channel)
    assert back["recovered"] is True
    assert back["wasRecovering"] is True
    await gateway.publish(channel, 25)
    await phone.several(26, "publication", channel=channel)
    assert phone.data(channel) == list(range(26))


async def test_cuts_at_random_moments_lose_nothing(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone
) -> None:
    """Publications never pause; the network is cut six times."""
    channel = unique("news")
    phone = await make_phone(proxy.url, token=token(unique("user")))
    await phone.connect()
    await phone.subscribe(channel)
    for number in range(90):
        await gateway.publish(channel, number)
        if number % 15 == 7:
            proxy.cut()
    await phone.several(90, "publication", channel=channel)
    assert phone.data(channel) == list(range(90))


async def test_more_missed_than_kept_is_said(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone
) -> None:
    channel = unique("news")
    phone = await make_phone(proxy.url, token=token(unique("user")))
    await phone.connect()
    await phone.subscribe(channel)
    await gateway.publish(channel, 0)
    await phone.event("publication", channel=channel)
    before = len(phone.events)
    proxy.cut_off = True
    proxy.cut()
    commands = [{"publish": {"channel": channel, "data": number}} for number in range(1, 151)]
    await gateway.api("batch", commands=commands)
    proxy.cut_off = False
    back = await phone.event("subscribed", after=before, channel=channel)
    assert (back["wasRecovering"], back["recovered"]) == (True, False)
    await gateway.publish(channel, "live again")
    assert (await phone.event("publication", after=before, channel=channel))["data"] == "live again"


async def test_the_personal_channel_recovers_at_connect(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone
) -> None:
    user = unique("user")
    channel = f"#{user}"
    phone = await make_phone(proxy.url, token=token(user))
    await phone.connect()
    await phone.event("subscribed", server=True, channel=channel)
    await gateway.publish(channel, "one")
    await phone.event("publication", server=True, channel=channel)
    before = len(phone.events)
    proxy.cut_off = True
    proxy.cut()
    for word in ("two", "three"):
        await gateway.publish(channel, word)
    proxy.cut_off = False
    back = await phone.event("subscribed", after=before, server=True, channel=channel)
    assert back["recovered"] is True
    await gateway.publish(channel, "four")
    await phone.several(4, "publication", server=True, channel=channel)
    assert phone.data(channel) == ["one", "two", "three", "four"]


async def test_server_side_subscriptions(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    user, channel = unique("user"), unique("news")
    phone = await make_phone(gateway.url, token=token(user, channels=[first := unique("news")]))
    await phone.connect()
    await phone.event("subscribed", server=True, channel=first)
    await gateway.api("subscribe", user=user, channel=channel)
    await phone.event("subscribed", server=True, channel=channel)
    await gateway.publish(channel, 1)
    await phone.event("publication", server=True, channel=channel)
    await gateway.api("unsubscribe", user=user, channel=channel)
    await phone.event("unsubscribed", server=True, channel=channel)
    await gateway.publish(channel, 2)
    await gateway.publish(first, 3)
    await phone.event("publication", server=True, channel=first)
    assert phone.data(channel) == [1]


async def test_a_server_unsubscribe_is_final_or_not_by_its_code(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user, channel = unique("user"), unique("news")
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    await phone.subscribe(channel)
    await gateway.api("unsubscribe", user=user, channel=channel)
    assert (await phone.event("unsubscribed", channel=channel))["code"] == 2000


# ---------------------------------------------------------------------------- being sent away
@pytest.mark.parametrize("hidden", [False, True], ids=["close frame seen", "close frame never seen"])
@pytest.mark.parametrize("code", [3503, 4999])
async def test_who_is_sent_away_stays_away(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone, code: int, hidden: bool
) -> None:
    """Mini-programs never see a close code: the push before it must be enough."""
    proxy.hide_close = hidden
    user = unique("user")
    phone = await make_phone(proxy.url, token=token(user))
    await phone.connect()
    await gateway.api("disconnect", user=user, disconnect={"code": code, "reason": "away with you"})
    gone = await phone.event("disconnected")
    assert (gone["code"], gone["reason"]) == (code, "away with you")
    await asyncio.sleep(5 * RECONNECT_DELAY)
    assert len(phone.seen("connecting")) == 1


@pytest.mark.parametrize("hidden", [False, True], ids=["close frame seen", "close frame never seen"])
@pytest.mark.parametrize("code", [3001, 4000])
async def test_who_is_asked_to_come_back_comes_back(
    gateway: GatewayProcess, proxy: Proxy, make_phone: MakePhone, code: int, hidden: bool
) -> None:
    proxy.hide_close = hidden
    user = unique("user")
    phone = await make_phone(proxy.url, token=token(user))
    await phone.connect()
    before = len(phone.events)
    await gateway.api("disconnect", user=user, disconnect={"code": code, "reason": "come back"})
    assert (await phone.event("connecting", after=before))["code"] == code
    await phone.event("connected", after=before)
    assert not phone.seen("disconnected")


async def test_the_default_disconnect_is_final(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    user = unique("user")
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    await gateway.api("disconnect", user=user)
    assert (await phone.event("disconnected"))["code"] == 3503


# ---------------------------------------------------------------------------- requests
async def test_rpc(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token=token(unique("user")))
    await phone.connect()
    question = {"text": "你好", "list": [1, 2.5, None]}
    assert (await phone.act("rpc", method="echo", data=question))["data"] == question
    with pytest.raises(PhoneError) as caught:
        await phone.act("rpc", method="unknown", data={})
    assert caught.value.code == 104


@pytest.mark.parametrize(
    ("action", "fields", "code"),
    [
        ("publish", {"data": 1}, 103),
        ("history", {"limit": 1}, 108),
        ("presence", {}, 108),
        ("presence_stats", {}, 108),
    ],
)
async def test_refusals(
    gateway: GatewayProcess, make_phone: MakePhone, action: str, fields: dict[str, object], code: int
) -> None:
    phone = await make_phone(gateway.url, token=token(unique("user")))
    await phone.connect()
    with pytest.raises(PhoneError) as caught:
        await phone.act(action, channel="plain:x", **fields)
    assert caught.value.code == code
