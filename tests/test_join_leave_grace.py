"""`join_leave_grace`: who is back in a channel in time has neither left nor joined, on whichever node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from gateway.backend.base import NoBackend
from gateway.brokers.redis import RedisBroker
from gateway.config import load
from gateway.node.lingering import LeaveStore, MemoryLeaves, RedisLeaves
from gateway.protocol import ClientInfo
from gateway.server import Server
from tests.broker_worlds import WORLDS, RedisWorld, make_world
from tests.online_world import Device
from tests.redis_server import shared_servers
from tests.timing import MS, until

SECRET = "a secret that only these tests know, long enough"
GRACE = 400 * MS
ANN, AGAIN = ClientInfo("ann", "c1"), ClientInfo("ann", "c2")


def settings(**tables: Any) -> Any:
    room = {
        "presence": True,
        "join_leave": True,
        "force_push_join_leave": True,
        "join_leave_grace": f"{GRACE}s",
        "allow_subscribe_for_client": True,
        "allow_presence_for_subscriber": True,
    }
    listen = dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0")
    return load(
        None,
        {},
        {
            "listen": listen,
            "shutdown": {"drain": "0s", "timeout": "2s"},
            "client": {"token_hmac_secret": SECRET},
            "channels": {"namespaces": {"room": room}},
            "session": {"encryption_key": "00" * 32},
            **tables,
        },
    )


@pytest.fixture(params=["one node", "two nodes"])
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[list[Server]]:
    tables: dict[str, Any] = {}
    if request.param == "two nodes":
        world = RedisWorld([shared_servers(1)[0].url])
        tables = {"redis": {"url": world.urls[0], "prefix": world.prefix}}
    servers = [Server(settings(**tables), NoBackend()) for _ in range(2 if tables else 1)]
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        await server.stop()


async def enter(server: Server, user: str) -> Device:
    device = await Device.enter(server.ports["websocket"], SECRET, user)
    assert device is not None
    assert "subscribe" in await device.call("subscribe", channel="room:1")
    return device


def heard(device: Device, user: str) -> list[tuple[str, str]]:
    """What a device heard of a user: joins and leaves, and of which client."""
    return [
        (kind, push[kind]["info"]["client"])
        for push in device.pushes
        for kind in ("join", "leave")
        if kind in push and push[kind]["info"]["user"] == user
    ]


async def test_joins_and_leaves_do_not_flap_and_presence_is_true(servers: list[Server]) -> None:
    watcher = await enter(servers[0], "watcher")
    ann = await enter(servers[-1], "ann")
    await until(lambda: len(heard(watcher, "ann")) == 1)
    ((_, first),) = heard(watcher, "ann")
    for number in range(3):  # to and fro
        await ann.abort()
        await asyncio.sleep(GRACE / 4)
        ann = await enter(servers[number % len(servers)], "ann")
    await asyncio.sleep(2 * GRACE + 1_100 * MS)
    assert heard(watcher, "ann") == [("join", first)]
    present = (await watcher.call("presence", channel="room:1"))["presence"]["presence"]
    assert sorted(each["user"] for each in present.values()) == ["ann", "watcher"]
    assert first not in present, "presence names the connection that is there"
    await ann.abort()
    await until(lambda: heard(watcher, "ann") == [("join", first), ("leave", first)])
    ann = await enter(servers[0], "ann")
    await until(lambda: len(heard(watcher, "ann")) == 3)
    await ann.call("unsubscribe", channel="room:1")
    before = asyncio.get_running_loop().time()
    await until(lambda: [kind for kind, _ in heard(watcher, "ann")][2:] == ["join", "leave"])
    assert asyncio.get_running_loop().time() - before < GRACE, "who unsubscribes has left at once"
    await ann.abort()
    await watcher.abort()


async def test_a_node_that_stops_publishes_the_leaves_that_wait(servers: list[Server]) -> None:
    if len(servers) < 2:
        return
    watcher, ann = await enter(servers[0], "watcher"), await enter(servers[1], "ann")
    await until(lambda: len(heard(watcher, "ann")) == 1)
    await ann.abort()
    await servers[1].stop()
    await until(lambda: [kind for kind, _ in heard(watcher, "ann")] == ["join", "leave"])
    await watcher.abort()


@pytest.fixture(params=WORLDS)
async def leaves(request: pytest.FixtureRequest) -> AsyncIterator[LeaveStore]:
    if request.param == "memory":
        yield MemoryLeaves()
        return
    world = cast("RedisWorld", make_world(request.param))
    broker = cast("RedisBroker", (await world.node()).broker)
    yield RedisLeaves(broker.topology, world.prefix)
    await world.close()


async def test_a_leave_is_taken_once(leaves: LeaveStore) -> None:
    await leaves.push("room", ANN, 1.0)
    await leaves.push("room", AGAIN, 1.0)
    await leaves.push("other", ANN, 1.0)
    assert await leaves.pop("room", "bob") is None
    assert await leaves.pop("room", "ann") == ANN
    assert not await leaves.remove("room", ANN)
    assert await leaves.remove("room", AGAIN)
    assert await leaves.pop("room", "ann") is None
    assert await leaves.remove("other", ANN)
