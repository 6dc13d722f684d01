"""What every store of notifications promises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.notify.base import NotifyStore
from gateway.notify.memory import MemoryNotifyStore
from gateway.notify.redis import RedisNotifyStore
from tests.inbox_worlds import STORES, Clock, World, inbox_world


@dataclass
class Place:
    store: NotifyStore
    clock: Clock
    world: World

    @property
    def now(self) -> int:
        return round(self.clock.now * 1000)


@contextlib.asynccontextmanager
async def place_in(name: str) -> AsyncIterator[Place]:
    async with inbox_world(name) as world:
        if name == "memory":
            yield Place(MemoryNotifyStore(world.clock), world.clock, world)
            return
        store = RedisNotifyStore(world.broker.topology)  # type: ignore[union-attr]
        await store.check()
        yield Place(store, world.clock, world)


@pytest.fixture(params=STORES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place_in(request.param) as place:
        yield place


async def taken(place: Place, count: int = 10, lease: int = 1000) -> list[tuple[str, bytes]]:
    return await place.store.take(place.now, lease, count)


async def test_a_job_is_taken_when_it_is_due_by_one_node_at_a_time(place: Place) -> None:
    assert await place.store.schedule("a.u", place.now + 5000, b"job", 10) == "scheduled"
    assert await taken(place) == []
    place.clock.now += 5
    assert await taken(place) == [("a.u", b"job")]
    assert await taken(place) == []
    place.clock.now += 1
    assert await taken(place) == [("a.u", b"job")], "whoever had it did not drop it within its lease"
    await place.store.drop(["a.u", "unknown"])
    place.clock.now += 1
    assert await taken(place) == []
    assert await place.store.waiting() == 0


async def test_nodes_that_take_at_once_share_what_is_due(place: Place) -> None:
    for number in range(30):
        await place.store.schedule(f"{number}.u", place.now, b"{}", 100)
    shares = await asyncio.gather(*(taken(place, 10) for _ in range(5)))
    found = [delivery for share in shares for delivery, _ in share]
    assert sorted(found) == sorted(f"{number}.u" for number in range(30))
    assert max(map(len, shares)) == 10


async def test_a_known_job_is_not_scheduled_twice(place: Place) -> None:
    await place.store.schedule("a.u", place.now, b"one", 10)
    assert await place.store.schedule("a.u", place.now + 9000, b"two", 10) == "known"
    assert await taken(place) == [("a.u", b"one")]


async def test_jobs_are_bounded(place: Place) -> None:
    for number in range(3):
        assert await place.store.schedule(f"{number}.u", place.now, b"{}", 3) == "scheduled"
    assert await place.store.schedule("more.u", place.now, b"{}", 3) == "full"
    assert await place.store.schedule("0.u", place.now, b"{}", 3) == "known"
    await place.store.drop(["0.u"])
    assert await place.store.schedule("more.u", place.now, b"{}", 3) == "scheduled"


async def test_a_moved_job_is_due_later_and_a_dropped_one_never(place: Place) -> None:
    for name in ("a.u", "b.u"):
        await place.store.schedule(name, place.now, name.encode(), 10)
    await taken(place)
    await place.store.move("a.u", place.now + 500)
    await place.store.drop(["b.u"])
    await place.store.move("b.u", place.now)
    place.clock.now += 2
    assert await taken(place) == [("a.u", b"a.u")]


async def test_counts_add_up_by_day(place: Place) -> None:
    await place.store.count(20_000, {"sent": 2, "no_grant": 1})
    await place.store.count(20_000, {"sent": 1})
    await place.store.count(20_001, {"sent": 5})
    assert await place.store.counts([20_001, 20_000, 19_999]) == [{"sent": 5}, {"sent": 3, "no_grant": 1}, {}]


async def test_an_app_is_stopped_for_a_while(place: Place) -> None:
    await place.store.stop("wx1", 60.0)
    assert await place.store.stopped("wx1")
    assert not await place.store.stopped("wx2")
