"""What both counters of windows promise; and in Redis, that none outlives its window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway.auth.windows import MemoryWindows, RedisWindows, Windows
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_keys import Request
from gateway.node.lingering import KEPT_BEYOND, RedisLeaves
from gateway.protocol import ClientInfo
from tests.broker_worlds import WORLDS, RedisWorld, make_world


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_040.0  # a minute begins

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=WORLDS)
async def windows(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Windows]:
    if request.param == "memory":
        yield MemoryWindows(clock)
        return
    world = cast("RedisWorld", make_world(request.param))
    broker = cast("RedisBroker", (await world.node()).broker)
    yield RedisWindows(broker.topology, world.prefix, clock)
    await world.close()


async def test_each_window_counts_from_one(windows: Windows, clock: Clock) -> None:
    assert [await windows.hit("a", 60) for _ in range(3)] == [1, 2, 3]
    assert await windows.hit("b", 60) == 1, "names count apart"
    assert await windows.hit("a", 86_400) == 1, "and so do lengths"
    clock.now += 59.9
    assert await windows.hit("a", 60) == 4
    clock.now += 0.1
    assert await windows.hit("a", 60) == 1


async def test_hits_at_the_same_time_are_all_counted(windows: Windows) -> None:
    assert sorted(await asyncio.gather(*(windows.hit("a", 60) for _ in range(50)))) == list(range(1, 51))


@pytest.mark.parametrize("kind", [kind for kind in WORLDS if kind != "memory"])
async def test_nothing_in_redis_outlives_the_node_that_wrote_it(kind: str, clock: Clock) -> None:
    world = cast("RedisWorld", make_world(kind))
    topology = cast("RedisBroker", (await world.node()).broker).topology
    await RedisWindows(topology, world.prefix, clock).hit("a", 60)
    await RedisLeaves(topology, world.prefix).push("room", ClientInfo("ann", "c1"), 2.0)
    counter = f"{world.prefix}:window:{{a}}:60:{int(clock.now // 60)}"
    assert 60_000 < await topology.call("a", Request(("PTTL", counter))) <= 120_000
    left = await topology.call("room", Request(("PTTL", f"{world.prefix}:leaves:{{room}}:ann")))
    assert 0 < left <= (KEPT_BEYOND + 2.0) * 1000
    await world.close()
