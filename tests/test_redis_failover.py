"""Another server takes over: Sentinel failover, and a Cluster whose slots and masters change."""

from __future__ import annotations

import pytest

from gateway.brokers.base import HistoryFilter, PublishOptions
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_server import Tuning
from gateway.errors import UpstreamError
from gateway.protocol import Publication, raw
from tests.broker_worlds import Node, Recorder, RedisWorld
from tests.gateway_process import free_port
from tests.redis_server import RedisServer, cluster_nodes, join_cluster
from tests.timing import MS, until

FOREVER = 3600.0
KEPT = PublishOptions(history_size=100, history_ttl=FOREVER)
ALL = HistoryFilter(limit=-1)
TUNING = Tuning(
    timeout=250 * MS, connect_timeout=250 * MS, canary_interval=100 * MS, backoff=10 * MS, backoff_max=50 * MS
)


async def publish(node: Node, value: int) -> int:
    return (await node.broker.publish("news", Publication(raw(value)), KEPT)).offset


# ---------------------------------------------------------------------------- Sentinel
async def test_a_sentinel_failover() -> None:
    with (
        RedisServer("--save", "", "--repl-diskless-sync-delay", "0") as master,
        RedisServer("--save", "", "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        sentinel = RedisServer("--sentinel")
        (sentinel.directory / "redis.conf").write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
        )
        with sentinel:
            info = sentinel.client(decode_responses=True)
            await until(
                lambda: bool(info.sentinel_slaves("main")), "the Sentinel to know the replica", 15_000 * MS
            )
            world = RedisWorld(
                [f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main"], TUNING
            )
            node = await world.node()
            await node.broker.subscribe("news")
            assert await publish(node, 1) == 1
            await until(lambda: len(replica.client().keys("*:stream:{news}")) == 1, "a copy")
            master.kill()
            await until(lambda: bool(node.broker.problem), "a problem")
            await until(lambda: not node.broker.problem, "the new master", 15_000 * MS)
            assert await publish(node, 2) == 2
            await until(lambda: node.events.data("news") == [b"1", b"2"], "the second publication")
            assert node.events.gaps == [None]
            await world.close()


async def test_sentinels_that_know_no_such_master() -> None:
    sentinel = RedisServer("--sentinel")
    (sentinel.directory / "redis.conf").write_text("")
    with sentinel, pytest.raises(UpstreamError, match="knows no master 'nobody'"):
        broker = RedisBroker([f"redis+sentinel://127.0.0.1:{sentinel.port}/nobody"], tuning=TUNING)
        await broker.start(Recorder())


# ---------------------------------------------------------------------------- Cluster
async def test_a_slot_that_moves_takes_its_channels_along() -> None:
    servers = cluster_nodes(2)
    try:
        join_cluster(servers)
        world = RedisWorld([f"redis+cluster://127.0.0.1:{servers[0].port}"], TUNING)
        node = await world.node()
        await node.broker.subscribe("news")
        assert await publish(node, 1) == 1
        slot = servers[0].command("CLUSTER KEYSLOT", "{news}")
        source, target = servers if slot < 8192 else reversed(servers)
        begin_move(slot, source, target)
        # The keys are there, the slot is still here: the old node sends each command on, once.
        assert await publish(node, 2) == 2
        end_move(slot, target, servers)
        await until(lambda: bool(node.events.gaps), "a gap")
        assert await publish(node, 3) == 3
        await until(lambda: node.events.data("news")[-1:] == [b"3"], "the third publication")
        assert [item.offset for item in (await node.broker.history("news", ALL, FOREVER)).publications] == [
            1,
            2,
            3,
        ]
        await world.close()
    finally:
        for server in servers:
            server.close()


async def test_a_master_of_a_cluster_that_dies_is_replaced_by_its_replica() -> None:
    servers = cluster_nodes(4, node_timeout=500)
    masters, replica = servers[:3], servers[3]
    try:
        join_cluster(masters)
        world = RedisWorld([f"redis+cluster://127.0.0.1:{masters[1].port}"], TUNING)
        node = await world.node()
        await node.broker.subscribe("news")
        assert await publish(node, 1) == 1
        slot = masters[0].command("CLUSTER KEYSLOT", "{news}")
        doomed = masters[slot // 5462]
        replica.command("CLUSTER MEET", "127.0.0.1", doomed.port, doomed.bus_port)
        await until(
            lambda: doomed.command("CLUSTER MYID") in str(replica.command("CLUSTER NODES")), "it knows"
        )
        await until(lambda: replica.command("CLUSTER INFO")["cluster_known_nodes"] == "4", "it knows all")
        replica.command("CLUSTER REPLICATE", doomed.command("CLUSTER MYID"))
        await until(lambda: len(replica.client().keys("*:stream:{news}")) == 1, "a copy", 15_000 * MS)
        for master in masters:
            await until(lambda m=master: "slave" in str(m.command("CLUSTER NODES")), "all know the replica")
        doomed.kill()
        await until(lambda: bool(node.broker.problem), "a problem")
        await until(lambda: not node.broker.problem, "the new master", 15_000 * MS)
        assert await publish(node, 2) == 2
        await until(lambda: bool(node.events.gaps), "a gap")
        assert await publish(node, 3) == 3
        await until(lambda: node.events.data("news")[-1] == b"3", "the third publication")
        history = await node.broker.history("news", ALL, FOREVER)
        assert [bytes(item.data) for item in history.publications] == [b"1", b"2", b"3"]
        await world.close()
    finally:
        for server in servers:
            server.close()


def begin_move(slot: int, source: RedisServer, target: RedisServer) -> None:
    """What `redis-cli --cluster reshard` does for one slot, up to the point where its keys have moved."""
    target.command("CLUSTER SETSLOT", slot, "IMPORTING", source.command("CLUSTER MYID"))
    source.command("CLUSTER SETSLOT", slot, "MIGRATING", target.command("CLUSTER MYID"))
    while keys := source.command("CLUSTER GETKEYSINSLOT", slot, 100):
        source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)


def end_move(slot: int, target: RedisServer, servers: list[RedisServer]) -> None:
    """Tells everybody."""
    for server in servers:
        server.command("CLUSTER SETSLOT", slot, "NODE", target.command("CLUSTER MYID"))
