"""The places in which the inbox contract is tested: one world per implementation, and a clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from gateway.brokers.memory import MemoryBroker
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_server import Tuning
from gateway.inbox.base import Bounds, Entry, InboxStore
from gateway.inbox.memory import MemoryInboxStore
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.tally import MemoryTotals, RedisTotals, Totals
from gateway.protocol import Publication, raw
from tests.broker_worlds import Recorder, RedisWorld
from tests.redis_server import shared_cluster, shared_servers
from tests.timing import MS

BOUNDS = Bounds(messages=5, size=1000, kept=600.0)
USER = "o9AgO5Kd5ggOC-bXrbNODIiE3bGY"
CHANNEL = f"#{USER}"


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A store, its clock, what nodes heard, and Redis itself where there is one."""

    store: InboxStore
    totals: Totals
    clock: Clock
    events: Recorder
    subscribe: Callable[[str], object]
    broker: MemoryBroker | RedisBroker
    prefix: str = ""
    urls: list[str] = field(default_factory=list)


async def _memory(bounds: Bounds) -> World:
    broker, events, clock = MemoryBroker(), Recorder(), Clock()
    await broker.start(events)
    store = MemoryInboxStore(broker, bounds, clock)
    return World(store, MemoryTotals(), clock, events, broker.subscribe, broker)


async def _redis(urls: list[str], bounds: Bounds) -> World:
    place, events, clock = RedisWorld(urls), Recorder(), Clock()
    broker = RedisBroker(urls, place.prefix, "n1", Tuning(timeout=2_000 * MS, connect_timeout=2_000 * MS))
    await broker.start(events)
    store = RedisInboxStore(broker.topology, bounds, clock)
    await store.check()
    totals = RedisTotals(broker.topology)
    return World(store, totals, clock, events, broker.subscribe, broker, place.prefix, urls)


STORES = ["memory", "redis", "redis-several", "redis-cluster"]


@contextlib.asynccontextmanager
async def inbox_world(name: str, bounds: Bounds = BOUNDS) -> AsyncIterator[World]:
    """One of STORES; servers are started when they are first needed."""
    if name == "memory":
        world = await _memory(bounds)
    elif name == "redis-cluster":
        world = await _redis([f"redis+cluster://127.0.0.1:{shared_cluster()[0].port}"], bounds)
    else:
        world = await _redis([server.url for server in shared_servers(1 if name == "redis" else 2)], bounds)
    try:
        yield world
    finally:
        await world.broker.close()


def letter(word: str, data: object = None, ttl: float = 60.0, **more: object) -> Entry:
    """A publication with the tag of its id."""
    tags = {"ack": f"{word}.{USER}"}
    return Entry(word, Publication(raw(data or {"n": word}), tags=tags), ttl, **more)  # type: ignore[arg-type]
