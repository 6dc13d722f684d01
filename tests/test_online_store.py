"""The store of users over every place it can be in: memory, one Redis, several, a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway.backend.base import USER_EVENTS
from gateway.brokers.redis import RedisBroker
from gateway.online.contract import Change, Outcome, Rules
from gateway.online.store import MemoryOnlineStore, OnlineStore, RedisOnlineStore
from tests.broker_worlds import WORLDS, make_world
from tests.timing import MS

RULES = Rules(
    frozenset(USER_EVENTS),
    lease=10_000,
    claim=round(200 * MS * 1000),
    user_limit=16,
    total_limit=1000,
    event_ttl=60_000,
    grace=0,
)
USERS = [f"用户 {number}" for number in range(60)]


@pytest.fixture(params=WORLDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OnlineStore]:
    if request.param == "memory":
        yield MemoryOnlineStore(RULES)
        return
    world = make_world(request.param)
    broker = cast("RedisBroker", (await world.node()).broker)
    store = RedisOnlineStore(broker.topology, RULES)
    await store.check()
    yield store
    await world.close()


async def put(store: OnlineStore, user: str, flag: str, node: str = "n1") -> None:
    change = Change(user, "", flag, "lost", 0)  # type: ignore[arg-type]
    await store.put(store.partition_of(user), node, [change], 0)


async def test_every_user_is_found_by_name_and_page_by_page(store: OnlineStore) -> None:
    positions = [await store.mark(each, 0) for each in range(store.partitions)]
    for number, user in enumerate(USERS):
        await put(store, user, "h" if number % 3 == 0 else "f")
    found: dict[str, str] = {}
    for partition in range(store.partitions):
        cursor = ""
        while True:
            cursor, page = await store.page(partition, cursor, 2)
            for each in page:
                assert store.partition_of(each.user) == partition
                assert each.id > positions[partition]
                found[each.user] = each.state
            if not cursor:
                break
    assert found == {user: "background" if number % 3 == 0 else "online" for number, user in enumerate(USERS)}
    asked = await store.states(store.partition_of(USERS[0]), [USERS[0]])
    assert [(each.user, each.state) for each in asked] == [(USERS[0], "background")]


async def test_an_event_belongs_to_who_took_it_until_the_claim_is_over(store: OnlineStore) -> None:
    user = USERS[0]
    partition = store.partition_of(user)
    await put(store, user, "f")
    await put(store, user, "")
    (first,) = await store.take(partition, 10)
    assert (first.event.event, first.event.user) == ("online", user)
    assert await store.take(partition, 10) == []
    await asyncio.sleep(RULES.claim / 1000 + 20 * MS)
    (again,) = await store.take(partition, 10)
    assert again == first
    assert await store.settle(partition, [Outcome(user, first.event.id, ok=True)]) == (0, 1)
    assert await store.settle(partition, [Outcome(user, first.event.id, ok=True)]) == (0, 1), "twice is once"
    kinds = []
    while taken := await store.take(partition, 10):
        kinds.append(taken[0].event.event)
        await store.settle(partition, [Outcome(user, taken[0].event.id, ok=True)])
    assert kinds == ["background", "disconnect"]
    assert await store.page(partition, "", 100) == ("", [])


async def test_no_id_is_below_what_a_node_has_seen(store: OnlineStore) -> None:
    """A Redis that lost its data, and whose clock is behind, gives no generation twice."""
    user, ahead = USERS[1], 9_000_000_000_000
    await store.put(store.partition_of(user), "n1", [Change(user, "", "f")], ahead)
    (state,) = await store.states(store.partition_of(user), [user])
    assert state.generation > ahead
