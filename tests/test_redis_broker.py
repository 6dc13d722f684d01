"""What only the Redis broker promises: publishers of any language, several servers, commands in flight."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
import uvloop

from gateway.brokers.base import HistoryFilter, PublishOptions, PublishResult
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_keys import PUBLISH, Keys, shard_of
from gateway.brokers.redis_server import Tuning
from gateway.errors import ERROR_BAD_REQUEST, UpstreamError
from gateway.protocol import ClientInfo, Publication, raw
from tests.broker_worlds import Node, Recorder, RedisWorld, make_world
from tests.redis_server import Proxy, RedisServer, shared_cluster, shared_servers
from tests.timing import MS, until

FOREVER = 3600.0
KEPT = PublishOptions(history_size=1000, history_ttl=FOREVER)
ALL = HistoryFilter(limit=-1)


@pytest.fixture
async def world() -> AsyncIterator[RedisWorld]:
    world = RedisWorld([shared_servers()[0].url])
    yield world
    await world.close()


@pytest.fixture
def outsider() -> redis.Redis:
    """Somebody who is no gateway and shares the server."""
    return shared_servers()[0].client()


async def heard(node: Node, count: int, channel: str = "news") -> list[bytes]:
    await until(lambda: len(node.events.data(channel)) >= count, f"{count} publications of {channel}")
    return node.events.data(channel)


# ---------------------------------------------------------------------------- publishers of any language
@pytest.mark.parametrize("text", ['{"a":1}', '"text"', "3.5", "[1,2]", "null", "true", '{"名":"张"}', " 1 "])
async def test_a_plain_publish_reaches_every_subscriber(
    world: RedisWorld, outsider: redis.Redis, text: str
) -> None:
    nodes = [await world.node("a"), await world.node("b")]
    for node in nodes:
        await node.broker.subscribe("news")
    assert outsider.publish(f"{world.prefix}:broadcast:news", text) == 2
    for node in nodes:
        assert await heard(node, 1) == [text.strip().encode()]
        _, publication, epoch = node.events.publications[0]
        assert (publication.offset, epoch, publication.info) == (0, "", None)


async def test_newlines_never_reach_the_wire(world: RedisWorld, outsider: redis.Redis) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    outsider.publish(f"{world.prefix}:broadcast:news", '{\r\n  "a": [1,\n 2]\n}')
    keys = Keys(world.prefix)
    body = '{\n "data": {\n "b": "x\\ny" },\n "tags": {"k": "v"}\n}'
    outsider.eval(
        PUBLISH.source, 2, keys.meta("news"), keys.stream("news"), keys.broadcast("news"), body, 5, 60000
    )
    assert await heard(node, 2) == [b'{"a":[1,2]}', b'{"b":"x\\ny"}']
    assert node.events.publications[1][1].tags == {"k": "v"}


async def test_the_shipped_script_publishes_with_history(world: RedisWorld, outsider: redis.Redis) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    keys = Keys(world.prefix)
    words = [keys.broadcast("news"), '{"data":{"n":1}}', "10", "60000"]
    offset, epoch, suppressed = outsider.eval(
        PUBLISH.source, 2, keys.meta("news"), keys.stream("news"), *words
    )
    assert (offset, suppressed) == (1, 0)
    assert await heard(node, 1) == [b'{"n":1}']
    assert node.events.publications[0][1].offset == 1
    assert node.events.publications[0][2] == epoch.decode()
    assert await node.broker.publish("news", Publication(raw(2)), KEPT) == PublishResult(2, epoch.decode())
    assert outsider.ttl(keys.meta("news")) > 29 * 86400


MALFORMED = [
    b"",
    b" ",
    b"not json",
    b"{",
    b'{"a":1} trailing',
    b'"\xff\xfe"',
    b'"a\nb"',
    b"!",
    b"!x",
    b"!j",
    b"!j{}",
    b"!lnull",
    b"!p",
    b"!p:",
    b"!p:1:2",
    b'!p:x:e:{"data":1}',
    b'!p:-1:e:{"data":1}',
    b'!p:5:\xff:{"data":1}',
    b'!p:0::{"data":1}}',
    b"[" * 5000,
]


async def test_malformed_payloads_are_counted_logged_once_and_harm_nothing(
    world: RedisWorld, outsider: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    with caplog.at_level(logging.WARNING, "gateway.redis"):
        for payload in MALFORMED:
            outsider.publish(f"{world.prefix}:broadcast:news", payload)
        outsider.publish(f"{world.prefix}:control", b"\xff any bytes")
        outsider.publish(f"{world.prefix}:broadcast:news", '"fine"')
        await until(lambda: b'"fine"' in node.events.data("news"), "the good one")
    assert isinstance(node.broker, RedisBroker)
    assert node.broker.malformed == len(MALFORMED)
    assert len(caplog.records) == 1
    assert node.events.control == [b"\xff any bytes"]
    assert not node.events.joins
    assert not node.events.leaves
    assert node.events.data("news") == [b'"fine"']


async def test_a_malformed_item_keeps_its_place_in_the_stream(
    world: RedisWorld, outsider: redis.Redis
) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    keys = Keys(world.prefix)
    for body in ('{"data":1}', '{"data":', "no object", '{"dat":1}', '{"data":5}'):
        words = [keys.broadcast("news"), body, "10", "60000"]
        outsider.eval(PUBLISH.source, 2, keys.meta("news"), keys.stream("news"), *words)
    assert await heard(node, 5) == [b"1", b"null", b"null", b"null", b"5"]
    assert node.events.offsets("news") == [1, 2, 3, 4, 5]
    history = await node.broker.history("news", ALL, FOREVER)
    assert [bytes(item.data) for item in history.publications] == [b"1", b"null", b"null", b"null", b"5"]


async def test_an_exception_of_a_listener_stops_nothing(world: RedisWorld) -> None:
    class Clumsy(Recorder):
        def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
            super().on_publication(channel, publication, epoch)
            raise ValueError("a bug of the node")

    broker, events = RedisBroker(world.urls, world.prefix), Clumsy()
    await broker.start(events)
    await broker.subscribe("news")
    for value in (1, 2):
        await broker.publish("news", Publication(raw(value)), KEPT)
    await until(lambda: len(events.publications) == 2, "both")
    assert broker.malformed == 0
    await broker.close()


# ---------------------------------------------------------------------------- one connection, many commands
async def test_a_thousand_publications_in_flight_keep_their_order(world: RedisWorld) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    posted = [
        asyncio.ensure_future(node.broker.publish("news", Publication(raw(n)), KEPT)) for n in range(1000)
    ]
    results = await asyncio.gather(*posted)
    assert [result.offset for result in results] == list(range(1, 1001))
    assert await heard(node, 1000) == [b"%d" % n for n in range(1000)]


async def test_a_cancelled_caller_shifts_no_reply() -> None:
    async with Proxy(shared_servers()[0].port) as proxy:
        world = RedisWorld([proxy.url])
        node = await world.node()
        for number in range(40):
            await node.broker.publish(f"c{number}", Publication(raw(number)), KEPT)
        proxy.stall()
        tasks = [asyncio.create_task(node.broker.history(f"c{n}", ALL, FOREVER)) for n in range(40)]
        await asyncio.sleep(20 * MS)  # the commands leave; the proxy keeps them
        for task in tasks[::3]:
            task.cancel()
        proxy.flow()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(got):
            if number % 3 == 0:
                assert isinstance(outcome, asyncio.CancelledError)
            else:
                assert not isinstance(outcome, BaseException)
                assert [bytes(item.data) for item in outcome.publications] == [b"%d" % number]
        again = await node.broker.history("c7", ALL, FOREVER)
        assert bytes(again.publications[0].data) == b"7"
        await world.close()


async def test_a_cancelled_subscribe_leaves_nothing_behind(world: RedisWorld, outsider: redis.Redis) -> None:
    node = await world.node()
    task = asyncio.create_task(node.broker.subscribe("news"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await node.broker.subscribe("other")
    assert outsider.pubsub_numsub(f"{world.prefix}:broadcast:news")[0][1] == 0
    await node.broker.subscribe("news")
    await node.broker.publish("news", Publication(raw(1)), KEPT)
    assert await heard(node, 1) == [b"1"]


async def test_scripts_that_redis_forgot_are_sent_again(world: RedisWorld, outsider: redis.Redis) -> None:
    node = await world.node()
    outsider.script_flush()
    results = await asyncio.gather(
        *(node.broker.publish("news", Publication(raw(n)), KEPT) for n in range(20)),
    )
    assert sorted(result.offset for result in results) == list(range(1, 21))
    outsider.script_flush()
    assert len((await node.broker.history("news", ALL, FOREVER)).publications) == 20


async def test_redis_refusing_a_write_is_a_temporary_error(world: RedisWorld, outsider: redis.Redis) -> None:
    node = await world.node()
    outsider.set(Keys(world.prefix).meta("news"), "somebody else's key")
    with pytest.raises(UpstreamError, match="WRONGTYPE") as caught:
        await node.broker.publish("news", Publication(raw(1)), KEPT)
    assert caught.value.error.temporary
    assert (await node.broker.publish("other", Publication(raw(1)), KEPT)).offset == 1


async def test_a_thousand_channels_are_entered_and_left_in_few_round_trips(
    world: RedisWorld, outsider: redis.Redis
) -> None:
    node = await world.node()
    names = [f"c{n}" for n in range(1000)]
    before = outsider.info("stats")["total_commands_processed"]
    await asyncio.gather(*(node.broker.subscribe(name) for name in names))
    assert outsider.info("stats")["total_commands_processed"] - before < 50
    full = [f"{world.prefix}:broadcast:{name}" for name in names]
    assert all(count == 1 for _, count in outsider.pubsub_numsub(*full))
    await asyncio.gather(*(node.broker.unsubscribe(name) for name in names))
    await node.broker.subscribe("last")
    assert all(count == 0 for _, count in outsider.pubsub_numsub(*full))


async def test_leaving_and_entering_in_one_turn_ends_entered(world: RedisWorld) -> None:
    node = await world.node()
    await node.broker.subscribe("news")
    await asyncio.gather(node.broker.unsubscribe("news"), node.broker.subscribe("news"))
    await node.broker.publish("news", Publication(raw(1)), KEPT)
    assert await heard(node, 1) == [b"1"]


async def test_a_unix_socket(tmp_path: Any) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer("--save", "", "--unixsocket", str(path)):
        world = RedisWorld([f"unix://{path}"])
        node = await world.node()
        await node.broker.subscribe("news")
        await node.broker.publish("news", Publication(raw(1)), KEPT)
        assert await heard(node, 1) == [b"1"]
        await world.close()


def test_it_runs_on_uvloop() -> None:
    async def run() -> None:
        world = RedisWorld([shared_servers()[0].url])
        node = await world.node()
        await node.broker.subscribe("news")
        await asyncio.gather(*(node.broker.publish("news", Publication(raw(n)), KEPT) for n in range(100)))
        assert len(await heard(node, 100)) == 100
        await world.close()

    uvloop.run(run())


# ---------------------------------------------------------------------------- several servers
def test_channels_spread_evenly_and_few_move_when_a_server_is_added() -> None:
    channels = [f"channel:{n}" for n in range(2000)]
    three, four = ([shard_of(channel, count) for channel in channels] for count in (3, 4))
    assert all(abs(three.count(shard) - 667) < 120 for shard in range(3))
    moved = [new for old, new in zip(three, four, strict=True) if old != new]
    assert set(moved) == {3}
    assert abs(len(moved) - 500) < 120


async def test_several_servers_share_the_channels() -> None:
    world = RedisWorld([server.url for server in shared_servers(2)])
    node = await world.node()
    for number in range(40):
        await node.broker.publish(f"c{number}", Publication(raw(number)), KEPT)
    for index, server in enumerate(shared_servers(2)):
        found = {key.decode() for key in server.client().scan_iter(f"{world.prefix}:stream:*")}
        mine = [f"c{n}" for n in range(40) if shard_of(f"c{n}", 2) == index]
        assert found == {Keys(world.prefix).stream(channel) for channel in mine}
        assert len(mine) > 5
    await world.close()


async def test_one_of_several_servers_away_is_no_matter_to_the_channels_of_the_others() -> None:
    with RedisServer() as first, RedisServer() as second:
        world = RedisWorld([first.url, second.url], Tuning(timeout=300 * MS, connect_timeout=300 * MS))
        a, b = await world.node("a"), await world.node("b")
        names = {index: [f"c{n}" for n in range(20) if shard_of(f"c{n}", 2) == index] for index in (0, 1)}
        for channel in names[0] + names[1]:
            await a.broker.subscribe(channel)
        first.kill()
        await until(lambda: bool(a.broker.problem), "a problem")
        with pytest.raises(UpstreamError):
            await b.broker.publish(names[0][0], Publication(raw(1)), KEPT)
        assert (await b.broker.publish(names[1][0], Publication(raw(1)), KEPT)).offset == 1
        await heard(a, 1, names[1][0])
        await b.broker.publish_control(b"still heard")
        await until(lambda: a.events.control == [b"still heard"], "control through the other server")
        first.start()
        await until(lambda: len(a.events.gaps) >= len(names[0]), "gaps")
        assert sorted(str(gap) for gap in a.events.gaps) == sorted(names[0])
        await until(lambda: not a.broker.problem, "recovery")
        await world.close()


# ---------------------------------------------------------------------------- a cluster
async def test_a_plain_publish_anywhere_in_a_cluster_is_heard() -> None:
    world = make_world("redis-cluster")
    assert isinstance(world, RedisWorld)
    node = await world.node()
    for number in range(6):
        await node.broker.subscribe(f"c{number}")
    for server in shared_cluster():
        for number in range(6):
            server.client().publish(f"{world.prefix}:broadcast:c{number}", b"1")
    for number in range(6):
        assert await heard(node, 3, f"c{number}") == [b"1"] * 3
    await world.close()


async def test_a_channel_that_no_cluster_can_hold_is_refused() -> None:
    world = make_world("redis-cluster")
    node = await world.node()
    with pytest.raises(UpstreamError) as caught:
        await node.broker.publish("}x", Publication(raw(1)), KEPT)
    assert caught.value.error == ERROR_BAD_REQUEST
    await world.close()


async def test_joins_leaves_and_info_survive_the_wire_in_a_cluster() -> None:
    world = make_world("redis-cluster")
    nodes = [await world.node("a"), await world.node("b")]
    name = f"c{secrets.token_hex(3)}"
    await nodes[1].broker.subscribe(name)
    await nodes[0].broker.publish_join(name, ClientInfo("u", "c"))
    await until(lambda: bool(nodes[1].events.joins), "a join")
    await nodes[0].broker.publish_control(b"x", "b")
    await until(lambda: nodes[1].events.control == [b"x"], "control")
    assert nodes[0].events.control == []
    await world.close()
