"""The contract with the team's backend: one test file over both of its implementations, with real sockets."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway import ConnectAnswer, Context, Disconnect, Gateway, SyncContext
from gateway.auth.token_maker import make_token
from gateway.backend.base import NoBackend
from gateway.brokers.base import HistoryFilter
from gateway.node.node import Node
from tests.backend_team import Team
from tests.gateway_process import HMAC_SECRET, token
from tests.raw_ws import Json, RawSocket, text
from tests.timing import MS, until
from tests.wx_world import World, running

CHANNELS: dict[str, Any] = {
    "history_size": 100,
    "history_ttl": "1m",
    "allow_subscribe_for_client": True,
    "allow_publish_for_subscriber": True,
}
DEAL: dict[str, Any] = {
    **CHANNELS,
    "allow_publish_for_subscriber": False,
    "allow_subscribe_for_client": False,
}


@dataclass
class Shop:
    """A gateway and its team."""

    team: Team
    world: World

    @property
    def port(self) -> int:
        return self.world.server.ports["websocket"]

    @property
    def node(self) -> Node:
        parts = self.world.server._parts
        assert parts is not None
        return parts.node

    async def open(self, **headers: str) -> RawSocket:
        return await RawSocket.open(self.port, **headers)

    @contextlib.asynccontextmanager
    async def phone(self, user: str = "ann") -> AsyncIterator[RawSocket]:
        """One that has connected with a JWT."""
        async with await self.open() as socket:
            await socket.connect(token(user))
            yield socket


@contextlib.asynccontextmanager
async def shop_of(
    kind: str, *, client: Json | None = None, backend: Json | None = None
) -> AsyncIterator[Shop]:
    team = Team()
    async with contextlib.AsyncExitStack() as stack:
        deal, section = dict(DEAL), dict(backend or {})
        handlers = None
        if kind == "python":
            handlers = team.gateway()
        else:
            endpoint = await stack.enter_async_context(team.http())
            section |= dict.fromkeys(("connect", "refresh", "rpc", "send"), "shop")
            section["proxies"] = [{"name": "shop", "endpoint": endpoint, "timeout": "2s"}]
            deal |= dict.fromkeys(("subscribe_proxy", "sub_refresh_proxy", "publish_proxy"), "shop")
        world = await stack.enter_async_context(
            running(
                handlers,
                client={
                    "token_hmac_secret": HMAC_SECRET,
                    "expired_close_delay": "200ms",
                    "ping_interval": "5s",
                    "pong_timeout": "3s",
                },
                channels={**CHANNELS, "namespaces": {"deal": deal, "chat": {**CHANNELS, "presence": True}}},
                backend=section,
            )
        )
        yield Shop(team, world)


@pytest.fixture(params=["python", "http"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    async with shop_of(request.param) as running_shop:
        yield running_shop


def code_of(reply: Json) -> int:
    assert "error" in reply, reply
    return int(reply["error"]["code"])


# ---------------------------------------------------------------------------- connect
async def test_a_client_that_brings_nothing_is_whom_the_connect_hook_says(shop: Shop) -> None:
    shop.team.say(
        "connect",
        {
            "result": {
                "user": "ann",
                "info": {"name": "安"},
                "data": {"hello": 1},
                "meta": {"level": 3},
                "channels": ["chat:a"],
                "subs": {"deal:b": {"data": {"price": 1}, "override": {"presence": {"value": True}}}},
            }
        },
    )
    async with await shop.open() as socket:
        reply = (await socket.call("connect", data={"cookie": "x"}, name="js"))["connect"]
        assert reply["data"] == {"hello": 1}
        assert set(reply["subs"]) == {"chat:a", "deal:b", "#ann"}
        assert reply["subs"]["deal:b"]["data"] == {"price": 1}
        assert "expires" not in reply
        asked = shop.team.seen("connect")[0]
        assert (asked["data"], asked["name"]) == ({"cookie": "x"}, "js")
        presence = await shop.node.presence("chat:a")
        assert [bytes(each.conn_info) for each in presence.values()] == ['{"name":"安"}'.encode()]
        await socket.call("rpc", method="echo", data=1)
        assert shop.team.seen("rpc")[0]["meta"] == {"level": 3}


async def test_the_connect_hook_sees_who_signed_in_and_adds_to_it(shop: Shop) -> None:
    shop.team.say("connect", {"result": {"data": {"cart": 2, "token": "forged"}}})
    async with await shop.open() as socket:
        code = await shop.world.code("alice")
        reply = (await socket.call("connect", data={"code": code, "page": "home"}))["connect"]
        asked = shop.team.seen("connect")[0]
        assert asked["user"] == reply["data"]["openid"]
        assert asked["data"] == {"page": "home"}, "the code is nobody else's business"
        assert reply["data"]["cart"] == 2
        assert reply["data"]["token"] != "forged"
        assert reply["expires"] is True


async def test_the_connect_hook_cannot_rename_who_signed_in(shop: Shop) -> None:
    shop.team.say("connect", {"result": {"user": "bob"}})
    async with await shop.open() as socket:
        assert code_of(await socket.call("connect", token=token("ann"))) == 100
    assert not shop.node.hub.clients


async def test_the_connect_hook_refuses_in_each_way(shop: Shop) -> None:
    shop.team.say("connect", {"error": {"code": 1001, "message": "没有权限", "temporary": False}})
    async with await shop.open() as socket:
        reply = await socket.call("connect", token=token("ann"))
        assert reply["error"] == {"code": 1001, "message": "没有权限"}
    shop.team.say("connect", {"disconnect": {"code": 4500, "reason": "banned"}})
    async with await shop.open() as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("ann")}}))
        await socket.closed_with(4500)


async def test_more_subscriptions_than_allowed_are_too_many_from_a_hook_too(shop: Shop) -> None:
    shop.team.say("connect", {"result": {"channels": [f"chat:{n}" for n in range(200)]}})
    async with await shop.open() as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("ann")}}))
        await socket.closed_with(3505)


async def test_a_foreign_token_is_the_hooks_to_judge_where_it_is_configured() -> None:
    async with shop_of("python", backend={"foreign_tokens": True}) as shop:
        shop.team.say("connect", lambda asked: {"result": {"user": f"h5-{asked['token']}"}})
        async with await shop.open() as socket:
            reply = (await socket.call("connect", token="cookie17"))["connect"]
            assert set(reply["subs"]) == {"#h5-cookie17"}
        async with await shop.open() as socket:  # a JWT is still ours to judge
            forged = make_token("another secret, which is long enough too", {"sub": "x"})
            await socket.send(text({"id": 1, "connect": {"token": forged}}))
            await socket.closed_with(3500)


async def test_a_foreign_token_is_refused_where_it_is_not(shop: Shop) -> None:
    async with await shop.open() as socket:
        await socket.send(text({"id": 1, "connect": {"token": "cookie17"}}))
        await socket.closed_with(3500)
    assert not shop.team.seen("connect")


# ---------------------------------------------------------------------------- refresh
async def test_at_its_expiry_a_connection_goes_on_as_the_hook_says(shop: Shop) -> None:
    shop.team.say("connect", lambda _: {"result": {"user": "ann", "expire_at": time.time() + 1000 * MS}})
    shop.team.say("refresh", lambda _: {"result": {"expire_at": int(time.time()) + 600, "meta": {"n": 2}}})
    async with await shop.open() as socket:
        reply = (await socket.call("connect"))["connect"]
        assert "expires" not in reply, "it is not the client's to renew"
        await until(lambda: bool(shop.team.seen("refresh")))
        assert shop.team.seen("refresh")[0]["user"] == "ann"
        client = next(iter(shop.node.hub.clients.values()))
        await until(lambda: bool(client.meta))
        assert "rpc" in await socket.call("rpc", method="echo")
        assert shop.team.seen("rpc")[0]["meta"] == {"n": 2}
        assert 500 < client.expires_at - time.monotonic() < 601


@pytest.mark.parametrize(
    "answer", [{"result": {"expired": True}}, {"error": {"code": 1000, "message": "no"}}]
)
async def test_at_its_expiry_a_connection_ends_where_the_hook_says_so(shop: Shop, answer: Json) -> None:
    shop.team.say("connect", lambda _: {"result": {"user": "ann", "expire_at": time.time() + 1000 * MS}})
    shop.team.say("refresh", answer)
    async with await shop.open() as socket:
        await socket.call("connect")
        await socket.closed_with(3005)


async def test_a_backend_that_cannot_be_asked_signs_nobody_out(shop: Shop) -> None:
    shop.team.say("connect", lambda _: {"result": {"user": "ann", "expire_at": time.time() + 700 * MS}})

    def fail(_asked: Json) -> Json:
        raise ConnectionError("the database is away")

    shop.team.say("refresh", fail)
    async with await shop.open() as socket:
        await socket.call("connect")
        client = next(iter(shop.node.hub.clients.values()))
        await until(lambda: bool(shop.team.seen("refresh")) and client.expires_at < math.inf)
        assert 25 < client.expires_at - time.monotonic() < 61, "it is asked again within a minute"
        assert "rpc" in await socket.call("rpc", method="echo")


# ---------------------------------------------------------------------------- subscribe
async def test_the_subscribe_hook_lets_in_and_adds_to_it(shop: Shop) -> None:
    shop.team.say("subscribe", {"result": {"data": {"price": 3}, "info": {"seat": 1}, "expire_at": 0}})
    async with shop.phone() as socket:
        reply = await socket.call("subscribe", channel="deal:1", data={"from": "list"})
        assert reply["subscribe"]["data"] == {"price": 3}
        assert "expires" not in reply["subscribe"]
        asked = shop.team.seen("subscribe")[0]
        assert (asked["user"], asked["channel"], asked["data"]) == ("ann", "deal:1", {"from": "list"})


async def test_the_subscribe_hook_refuses(shop: Shop) -> None:
    shop.team.say("subscribe", {"error": {"code": 1003, "message": "not yours"}})
    async with shop.phone() as socket:
        assert code_of(await socket.call("subscribe", channel="deal:1")) == 1003
        assert "subscribe" in await socket.call("subscribe", channel="chat:1"), "another namespace"


async def test_names_of_channels_go_before_the_subscribe_hook(shop: Shop) -> None:
    """The order of permissions: private and personal channels are decided by their names."""
    async with shop.phone() as socket:
        assert code_of(await socket.call("subscribe", channel="$deal:1")) == 103
        assert code_of(await socket.call("subscribe", channel="deal:#bob")) == 103
        assert not shop.team.seen("subscribe")
        assert "subscribe" in await socket.call(
            "subscribe", channel="deal:1", token=token("ann", channel="deal:1")
        )
        assert not shop.team.seen("subscribe"), "a token decides alone"


async def test_at_its_expiry_a_subscription_goes_on_or_ends(shop: Shop) -> None:
    shop.team.say("subscribe", lambda _: {"result": {"expire_at": time.time() + 1000 * MS}})

    def decide(_asked: Json) -> Json:
        if len(shop.team.seen("sub_refresh")) == 1:
            return {"result": {"expire_at": time.time() + 700 * MS}}
        return {"result": {"expired": True}}

    shop.team.say("sub_refresh", decide)
    async with shop.phone() as socket:
        await socket.call("subscribe", channel="deal:1")
        push = (await socket.reply())["push"]
        assert (push["channel"], push["unsubscribe"]["code"]) == ("deal:1", 2501)
        assert [asked["channel"] for asked in shop.team.seen("sub_refresh")] == ["deal:1", "deal:1"]


# ---------------------------------------------------------------------------- publish
async def test_the_publish_hook_replaces_what_is_published(shop: Shop) -> None:
    def decide(asked: Json) -> Json:
        return {"result": {"data": {"bid": asked["data"]["bid"], "by": "ann"}, "tags": {"k": "v"}}}

    shop.team.say("publish", decide)
    async with shop.phone() as socket:
        await socket.call("subscribe", channel="deal:1")
        await socket.send(text({"id": 9, "publish": {"channel": "deal:1", "data": {"bid": 7}}}))
        seen = [await socket.reply(), await socket.reply()]
        publication = next(each["push"]["pub"] for each in seen if "push" in each)
        assert publication["data"] == {"bid": 7, "by": "ann"}
        assert publication["tags"] == {"k": "v"}
        assert publication["info"]["user"] == "ann"
        assert {"id": 9, "publish": {}} in seen


async def test_the_publish_hook_refuses_and_may_skip_history(shop: Shop) -> None:
    async with shop.phone() as socket:
        shop.team.say("publish", {"error": {"code": 103, "message": "permission denied"}})
        assert code_of(await socket.call("publish", channel="deal:1", data=1)) == 103
        shop.team.say("publish", {"result": {"skip_history": True}})
        assert "publish" in await socket.call("publish", channel="deal:1", data=2)
        shop.team.say("publish", {"result": {}})
        assert "publish" in await socket.call("publish", channel="deal:1", data=3)
    node = shop.node
    history = await node.history("deal:1", HistoryFilter(limit=10))
    assert [bytes(each.data) for each in history.publications] == [b"3"]


async def test_a_personal_channel_of_another_is_refused_before_the_hook(shop: Shop) -> None:
    async with shop.phone() as socket:
        assert code_of(await socket.call("publish", channel="deal:#bob", data=1)) == 103
    assert not shop.team.seen("publish")


# ---------------------------------------------------------------------------- rpc and send
async def test_an_rpc_is_answered_with_a_result_an_error_or_the_end(shop: Shop) -> None:
    shop.team.say("rpc", lambda asked: {"result": {"data": {"got": asked["data"]}}})
    async with shop.phone() as socket:
        assert (await socket.call("rpc", method="echo", data=["茶"]))["rpc"] == {"data": {"got": ["茶"]}}
        shop.team.say("rpc", {"error": {"code": 1000, "message": "售罄", "temporary": True}})
        reply = await socket.call("rpc", method="order.pay")
        assert reply["error"] == {"code": 1000, "message": "售罄", "temporary": True}
        shop.team.say("rpc", {"disconnect": {"code": 4000, "reason": "come back"}})
        await socket.send(text({"id": 8, "rpc": {"method": "gone"}}))
        await socket.closed_with(4000)


async def test_a_message_without_an_answer_arrives(shop: Shop) -> None:
    async with shop.phone() as socket:
        await socket.send(text({"send": {"data": {"page": "home"}}}))
        await until(lambda: bool(shop.team.seen("send")))
        assert shop.team.seen("send")[0]["data"] == {"page": "home"}
        assert "rpc" in await socket.call("rpc", method="echo")


async def test_a_message_that_the_backend_fails_at_does_not_cost_the_connection(shop: Shop) -> None:
    """Closing it would have the phone come back and send the same again."""

    def fail(_request: Json) -> Json:
        raise ValueError("a bug of the team's")

    shop.team.say("send", fail)
    async with shop.phone() as socket:
        await socket.send(text({"send": {"data": 1}}))
        await until(lambda: bool(shop.team.seen("send")))
        assert "rpc" in await socket.call("rpc", method="echo")


async def test_handlers_publish_disconnect_and_link_files_for_real(tmp_path: Path) -> None:
    gw = Gateway()

    @gw.rpc("announce")
    async def announce(ctx: Context, data: Any) -> Any:
        results = await ctx.broadcast(["news", "chat:1"], data, tags={"a": "b"})
        return [results[0].offset, ctx.files.link("0" * 32, 60), await ctx.files.delete("0" * 32)]

    @gw.rpc("leave")
    def leave(ctx: SyncContext, data: Any) -> int:
        ctx.disconnect(Disconnect(4501, "as you wish"))
        return ctx.publish("news", data).offset

    async with running(
        gw,
        client={"token_hmac_secret": HMAC_SECRET},
        channels={**CHANNELS, "namespaces": {"chat": CHANNELS}},
        files={"directory": str(tmp_path)},
    ) as world:
        async with await RawSocket.open(world.server.ports["websocket"]) as socket:
            await socket.connect(token("ann"))
            await socket.call("subscribe", channel="news")
            await socket.send(text({"id": 9, "rpc": {"method": "announce", "data": "hello"}}))
            seen = [await socket.reply(), await socket.reply()]
            publication = next(each["push"]["pub"] for each in seen if "push" in each)
            assert (publication["data"], publication["tags"]) == ("hello", {"a": "b"})
            offset, link, deleted = next(each["rpc"]["data"] for each in seen if "rpc" in each)
            assert (offset, deleted) == (1, False)
            assert f"/files/{'0' * 32}?" in link
            await socket.send(text({"id": 10, "rpc": {"method": "leave", "data": "bye"}}))
            await socket.closed_with(4501)


# ---------------------------------------------------------------------------- what is not there
async def test_without_a_backend_everything_is_as_the_options_say() -> None:
    async with running(
        NoBackend(),
        client={"token_hmac_secret": HMAC_SECRET},
        channels={"namespaces": {"chat": CHANNELS}},
    ) as world:
        async with await RawSocket.open(world.server.ports["websocket"]) as socket:
            await socket.connect(token("ann"))
            assert "subscribe" in await socket.call("subscribe", channel="chat:1")
            assert "publish" in await socket.call("publish", channel="chat:1", data=1)
            assert code_of(await socket.call("rpc", method="echo")) == 108
            await socket.send(text({"send": {"data": 1}}))
            await socket.closed_with(3508)


async def test_an_expiry_that_nobody_renews_ends_the_connection() -> None:
    gw = Gateway()
    gw.on_connect(lambda ctx: ConnectAnswer(user="ann", expire_at=time.time() + 1000 * MS))
    async with running(gw) as world:
        async with await RawSocket.open(world.server.ports["websocket"]) as socket:
            await socket.call("connect")
            await socket.closed_with(3005)
