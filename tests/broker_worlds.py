"""The places in which the broker and presence contracts are tested: one world per implementation.

A world starts nodes, makes time pass, and hears what nodes hear. Durations of the contract tests are
multiples of `world.unit`: seconds of a clock that is moved by hand, or a few milliseconds of a real one.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Protocol

from gateway.brokers.base import Broker, PresenceStore
from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_presence import RedisPresenceStore
from gateway.brokers.redis_server import Tuning
from gateway.protocol import ClientInfo, Publication
from tests.redis_server import shared_cluster, shared_servers
from tests.timing import MS


class Recorder:
    """BrokerEvents that keeps what it was told."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication, str]] = []
        self.joins: list[tuple[str, ClientInfo]] = []
        self.leaves: list[tuple[str, ClientInfo]] = []
        self.control: list[bytes] = []
        self.gaps: list[str | None] = []

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        self.publications.append((channel, publication, epoch))

    def on_join(self, channel: str, info: ClientInfo) -> None:
        self.joins.append((channel, info))

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        self.leaves.append((channel, info))

    def on_control(self, message: bytes) -> None:
        self.control.append(message)

    def on_gap(self, channel: str | None) -> None:
        self.gaps.append(channel)

    def data(self, channel: str) -> list[bytes]:
        return [bytes(publication.data) for name, publication, _ in self.publications if name == channel]

    def offsets(self, channel: str) -> list[int]:
        return [publication.offset for name, publication, _ in self.publications if name == channel]


class Node:
    """One broker and what it said."""

    def __init__(self, broker: Broker, events: Recorder) -> None:
        self.broker = broker
        self.events = events


class World(Protocol):
    unit: float
    """Seconds: the grain of time of this world."""

    many_nodes: bool
    """Whether two nodes of this world hear each other."""

    async def node(self, node_id: str = "n1") -> Node: ...

    async def presence(self, ttl: float) -> PresenceStore: ...

    async def pass_time(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class MemoryWorld:
    unit = 1.0
    many_nodes = False

    def __init__(self) -> None:
        self.clock = 1000.0
        self.brokers: list[MemoryBroker] = []
        self.stores: list[MemoryPresenceStore] = []

    async def node(self, node_id: str = "n1") -> Node:
        broker, events = MemoryBroker(lambda: self.clock, node_id), Recorder()
        await broker.start(events)
        self.brokers.append(broker)
        return Node(broker, events)

    async def presence(self, ttl: float) -> PresenceStore:
        self.stores.append(MemoryPresenceStore(ttl, lambda: self.clock))
        return self.stores[-1]

    async def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        for broker in self.brokers:
            broker.sweep(self.clock)
        for store in self.stores:
            store.sweep(self.clock)

    async def close(self) -> None:
        for broker in self.brokers:
            await broker.close()


class RedisWorld:
    """Nodes that share one prefix in real servers."""

    unit = 40 * MS
    many_nodes = True

    def __init__(self, urls: list[str], tuning: Tuning | None = None) -> None:
        self.urls = urls
        self.prefix = f"t{secrets.token_hex(4)}"
        self._tuning = tuning or Tuning(timeout=2_000 * MS, connect_timeout=2_000 * MS)
        self.brokers: list[RedisBroker] = []

    async def node(self, node_id: str = "n1") -> Node:
        broker, events = RedisBroker(self.urls, self.prefix, node_id, self._tuning), Recorder()
        self.brokers.append(broker)
        await broker.start(events)
        return Node(broker, events)

    async def presence(self, ttl: float) -> PresenceStore:
        await self.node(f"n{len(self.brokers)}")
        return RedisPresenceStore(self.brokers[-1], ttl)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        for broker in self.brokers:
            await broker.close()


WORLDS = ["memory", "redis", "redis-several", "redis-cluster"]


def make_world(name: str) -> World:
    """One of WORLDS; servers are started when they are first needed."""
    if name == "memory":
        return MemoryWorld()
    if name == "redis":
        return RedisWorld([server.url for server in shared_servers(1)])
    if name == "redis-several":
        return RedisWorld([server.url for server in shared_servers(2)])
    return RedisWorld([f"redis+cluster://127.0.0.1:{shared_cluster()[0].port}"])
