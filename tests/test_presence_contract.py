"""The sentences of the presence contract, over every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.brokers.base import PresenceStats
from gateway.protocol import ClientInfo, raw
from tests.broker_worlds import WORLDS, World, make_world

TTL = 5
"""The life of an entry, in units of the world."""


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = make_world(request.param)
    yield world
    await world.close()


def info(user: str, client: str) -> ClientInfo:
    return ClientInfo(user, client, conn_info=raw({"of": user}))


async def test_an_empty_channel_has_nobody(world: World) -> None:
    store = await world.presence(60)
    assert await store.get("news") == {}
    assert await store.stats("news") == PresenceStats(0, 0)


async def test_who_was_added_is_there_by_client_id(world: World) -> None:
    store = await world.presence(60)
    await store.add("news", "c1", info("u1", "c1"))
    await store.add("news", "c2", info("u1", "c2"))
    await store.add("other", "c3", info("u3", "c3"))
    got = await store.get("news")
    assert {client: entry.user for client, entry in got.items()} == {"c1": "u1", "c2": "u1"}
    assert bytes(got["c1"].conn_info) == b'{"of":"u1"}'


async def test_stats_count_clients_and_users(world: World) -> None:
    store = await world.presence(60)
    for client, user in (("c1", "u1"), ("c2", "u1"), ("c3", "u2"), ("c4", "")):
        await store.add("news", client, info(user, client))
    assert await store.stats("news") == PresenceStats(4, 3)
    await store.remove("news", "c2", "u1")
    assert await store.stats("news") == PresenceStats(3, 3)
    await store.remove("news", "c1", "u1")
    assert await store.stats("news") == PresenceStats(2, 2)


async def test_adding_again_refreshes_and_counts_once(world: World) -> None:
    store = await world.presence(60)
    for _ in range(3):
        await store.add("news", "c1", info("u1", "c1"))
    assert await store.stats("news") == PresenceStats(1, 1)


async def test_the_newest_info_of_a_client_counts(world: World) -> None:
    store = await world.presence(60)
    await store.add("news", "c1", info("u1", "c1"))
    await store.add("news", "c1", info("u2", "c1"))
    assert (await store.get("news"))["c1"].user == "u2"
    assert await store.stats("news") == PresenceStats(1, 1)
    await store.remove("news", "c1", "u2")
    assert await store.stats("news") == PresenceStats(0, 0)


async def test_removing_twice_or_the_unknown_is_nothing(world: World) -> None:
    store = await world.presence(60)
    await store.add("news", "c1", info("u1", "c1"))
    await store.add("news", "c2", info("u1", "c2"))
    for _ in range(2):
        await store.remove("news", "c1", "u1")
    await store.remove("news", "ghost", "u1")
    assert await store.stats("news") == PresenceStats(1, 1)
    assert set(await store.get("news")) == {"c2"}


async def test_entries_that_are_not_refreshed_age_out(world: World) -> None:
    unit = world.unit
    store = await world.presence(TTL * unit)
    await store.add("news", "stays", info("u1", "stays"))
    await store.add("news", "goes", info("u2", "goes"))
    await world.pass_time((TTL - 2) * unit)
    await store.add("news", "stays", info("u1", "stays"))
    await world.pass_time(3 * unit)
    assert set(await store.get("news")) == {"stays"}
    assert await store.stats("news") == PresenceStats(1, 1)
    await world.pass_time(TTL * unit)
    assert await store.stats("news") == PresenceStats(0, 0)
    assert await store.get("news") == {}


async def test_an_aged_out_user_is_counted_again_when_it_returns(world: World) -> None:
    store = await world.presence(TTL * world.unit)
    await store.add("news", "c1", info("u1", "c1"))
    await world.pass_time((TTL + 1) * world.unit)
    await store.add("news", "c2", info("u1", "c2"))
    assert await store.stats("news") == PresenceStats(1, 1)
    await store.remove("news", "c2", "u1")
    assert await store.stats("news") == PresenceStats(0, 0)
