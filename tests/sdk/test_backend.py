"""What real clients make of the answers of a backend: results, refusals, failures that pass or do not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import ConnectAnswer, Context, Gateway, SubscribeAnswer, Subscription
from tests.sdk.conftest import MakePhone
from tests.sdk.phone import PhoneError
from tests.timing import MS, until
from tests.wx_world import World, running

OPEN = {"allow_subscribe_for_client": True, "history_size": 10, "history_ttl": "1m"}


class Shop:
    """Handlers whose mood the test sets."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.asked = 0
        self.gateway = gw = Gateway()

        @gw.on_connect
        async def connect(ctx: Context, data: Any = None) -> ConnectAnswer:
            self._ask()
            subs = {"deal:1": Subscription(data={"price": 3})}
            return ConnectAnswer(user="ann", data={"cart": data}, subs=subs)

        @gw.on_subscribe("chat:*")
        async def subscribe(ctx: Context, channel: str) -> SubscribeAnswer:
            self._ask()
            return SubscribeAnswer(data={"topic": channel})

        @gw.rpc("order.pay")
        def pay(data: dict[str, int]) -> int:
            self._ask()
            return data["order"] + 1

    def _ask(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble


@contextlib.asynccontextmanager
async def open_shop(shop: Shop) -> AsyncIterator[World]:
    async with running(shop.gateway, channels={"namespaces": {"deal": OPEN, "chat": OPEN}}) as world:
        yield world


async def test_a_phone_gets_what_the_hooks_answer(make_phone: MakePhone) -> None:
    async with open_shop(Shop()) as world:
        phone = await make_phone(world.socket, data={"page": "home"})
        connected = await phone.connect()
        assert connected["data"] == {"cart": {"page": "home"}}
        await phone.event("subscribed", channel="deal:1")
        subscribed = await phone.subscribe("chat:7")
        assert subscribed["data"] == {"topic": "chat:7"}
        answer = await phone.act("rpc", method="order.pay", data={"order": 16})
        assert answer["data"] == 17
        with pytest.raises(PhoneError) as refused:
            await phone.act("rpc", method="order.pay", data={"order": "x"})
        assert refused.value.code == 107
        assert "data[...]" in str(refused.value) or "data.order" in str(refused.value)
        await phone.stop()


async def test_a_bug_in_a_handler_is_not_asked_for_again(make_phone: MakePhone) -> None:
    shop = Shop()
    async with open_shop(shop) as world:
        phone = await make_phone(world.socket)
        await phone.connect()
        shop.trouble, shop.asked = ValueError("a bug"), 0
        with pytest.raises(PhoneError) as refused:
            await phone.act("rpc", method="order.pay", data={"order": 1})
        assert refused.value.code == 450
        await phone.act("subscribe", channel="chat:1")
        ended = await phone.event("unsubscribed", channel="chat:1")
        assert ended["code"] == 450
        assert shop.asked == 2
        await phone.stop()


async def test_what_passes_is_asked_for_again(make_phone: MakePhone) -> None:
    """A database that is away for a moment: neither connecting nor a subscription is given up."""
    shop = Shop()
    async with open_shop(shop) as world:
        shop.trouble = ConnectionRefusedError("the database is away")
        phone = await make_phone(world.socket)
        await phone.act("connect")
        await until(lambda: shop.asked >= 2, within=10_000 * MS)
        shop.trouble = None
        await phone.event("connected")
        shop.trouble, shop.asked = ConnectionRefusedError("away again"), 0
        await phone.act("subscribe", channel="chat:1")
        await until(lambda: shop.asked >= 2, within=10_000 * MS)
        shop.trouble = None
        await phone.event("subscribed", channel="chat:1")
        await phone.stop()
