"""Redis goes away in every way we know of: what was accepted with a position is kept, nobody waits for ever.

The broker's part is to say `on_gap` when it hears again, and to have in the history what it did not hear.
What the node makes of it is tested with the node.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import pairwise

import pytest

from gateway.brokers.base import HistoryFilter, PublishOptions
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_server import Tuning
from gateway.errors import UpstreamError
from gateway.protocol import Publication, raw
from tests.broker_worlds import Node, Recorder, RedisWorld
from tests.redis_server import Proxy, RedisServer
from tests.timing import MS, until

FOREVER = 3600.0
KEPT = PublishOptions(history_size=10_000, history_ttl=FOREVER)
ALL = HistoryFilter(limit=-1)
TUNING = Tuning(
    timeout=250 * MS, connect_timeout=250 * MS, canary_interval=100 * MS, backoff=10 * MS, backoff_max=50 * MS
)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that forgets nothing when it is killed."""
    with RedisServer("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def node(proxy: Proxy) -> AsyncIterator[Node]:
    """A node behind the proxy, that listens to `news`."""
    world = RedisWorld([proxy.url], TUNING)
    node = await world.node("a")
    await node.broker.subscribe("news")
    yield node
    await world.close()


@pytest.fixture
async def other(server: RedisServer, node: Node) -> AsyncIterator[RedisBroker]:
    """A node with a straight way to Redis: it publishes what the first one cannot hear."""
    assert isinstance(node.broker, RedisBroker)
    broker = RedisBroker([server.url], node.broker.topology.keys.prefix, "b", TUNING)
    await broker.start(Recorder())
    yield broker
    await broker.close()


async def publish(broker: object, value: int, options: PublishOptions = KEPT) -> int:
    assert isinstance(broker, RedisBroker)
    return (await broker.publish("news", Publication(raw(value)), options)).offset


async def nothing_is_lost(node: Node, accepted: list[int]) -> None:
    """A gap was told, and history and live publications together hold what was accepted, in order."""
    await until(lambda: None in node.events.gaps, "a gap")
    await until(lambda: not node.broker.problem, f"recovery from: {node.broker.problem}")
    history = await node.broker.history("news", ALL, FOREVER)
    stored = [int(bytes(item.data)) for item in history.publications]
    assert [value for value in stored if value in set(accepted)] == accepted
    assert [item.offset for item in history.publications] == list(range(1, len(stored) + 1))
    count = len(node.events.offsets("news"))
    marker = await publish(node.broker, -1)
    await until(lambda: len(node.events.offsets("news")) > count, "live publications")
    assert node.events.offsets("news")[-1] == marker
    assert node.events.offsets("news") == sorted(set(node.events.offsets("news")))


# ---------------------------------------------------------------------------- ways to go away
async def test_killed_and_restarted(server: RedisServer, node: Node) -> None:
    accepted = []
    for value in range(200):
        if value == 50:
            server.kill()
        if value == 60:
            server.start()
        with suppress(UpstreamError):
            await publish(node.broker, value)
            accepted.append(value)
    assert len(accepted) > 120
    await nothing_is_lost(node, accepted)


async def test_a_restarted_redis_that_forgot_everything_has_a_new_epoch(
    node: Node, server: RedisServer
) -> None:
    await publish(node.broker, 1)
    before = (await node.broker.history("news", ALL, FOREVER)).top
    server.kill()
    for path in server.directory.rglob("*.aof"):
        path.unlink()
    for path in server.directory.rglob("*.manifest"):
        path.unlink()
    server.start()
    await until(lambda: None in node.events.gaps, "a gap")
    after = (await node.broker.history("news", ALL, FOREVER)).top
    assert after.offset == 0
    assert after.epoch != before.epoch


async def test_a_cut_connection(node: Node, proxy: Proxy, other: RedisBroker) -> None:
    for value in range(300):
        if value % 100 == 50:
            proxy.cut()
        await publish(other, value)
    await nothing_is_lost(node, list(range(300)))


async def test_a_subscription_that_goes_deaf_is_found_by_its_canary(
    node: Node, proxy: Proxy, other: RedisBroker
) -> None:
    await publish(other, 0)
    await until(lambda: node.events.offsets("news") == [1], "the first")
    started = time.monotonic()
    proxy.deafen()
    for value in range(1, 20):
        await publish(other, value)
    await until(lambda: None in node.events.gaps, "a gap")
    assert time.monotonic() - started < 5 * TUNING.canary_interval
    await nothing_is_lost(node, list(range(20)))


async def test_a_half_open_connection(node: Node, proxy: Proxy, other: RedisBroker) -> None:
    """Everything stalls, and the connections never end by themselves."""
    proxy.stall()
    for value in range(20):
        await publish(other, value)
    started = time.monotonic()
    with pytest.raises(UpstreamError):
        await publish(node.broker, 99)
    assert time.monotonic() - started < 3 * TUNING.timeout
    await until(lambda: bool(node.broker.problem), "a problem")
    proxy.cut()  # what was on its way is gone; new connections pass
    proxy.flow()
    await nothing_is_lost(node, list(range(20)))


async def test_a_paused_redis(node: Node, server: RedisServer) -> None:
    await publish(node.broker, 0)
    server.client().client_pause(round(1500 * MS * 1000))
    started = time.monotonic()
    with pytest.raises(UpstreamError, match="no answer") as caught:
        await publish(node.broker, 1)
    assert caught.value.error.temporary
    assert time.monotonic() - started < 2.5 * TUNING.timeout
    await until(lambda: bool(node.broker.problem), "a problem")
    await until(lambda: not node.broker.problem, "recovery")
    for value in range(2, 12):
        await publish(node.broker, value)
    await until(lambda: node.events.data("news")[-1] == b"11", "the last one")
    assert node.events.offsets("news") == list(range(1, len(node.events.offsets("news")) + 1))
    history = await node.broker.history("news", ALL, FOREVER)
    assert [bytes(item.data) for item in history.publications] == node.events.data("news")


async def test_an_output_buffer_limit_that_was_hit(
    node: Node, server: RedisServer, proxy: Proxy, other: RedisBroker
) -> None:
    server.client().config_set("client-output-buffer-limit", "pubsub 100kb 0 0")
    proxy.stall()
    big = Publication(raw("x" * 50_000))
    for _ in range(200):
        await other.publish("news", big, PublishOptions(history_size=3, history_ttl=FOREVER))
    assert len(server.client().client_list("pubsub")) == 1, "only the other node is left"
    proxy.flow()
    await until(lambda: None in node.events.gaps, "a gap")
    top = (await node.broker.history("news", HistoryFilter(), FOREVER)).top
    assert top.offset == 200
    offsets = node.events.offsets("news")
    assert offsets == list(range(1, len(offsets) + 1)), "what was heard before the kill is in order"


async def test_a_subscription_that_the_server_killed(
    node: Node, server: RedisServer, other: RedisBroker
) -> None:
    for value in range(100):
        if value == 30:
            server.client().client_kill_filter(_type="pubsub")
        await publish(other, value)
    await nothing_is_lost(node, list(range(100)))


# ---------------------------------------------------------------------------- while it is away
async def test_while_redis_is_away_everything_fails_in_bounded_time_and_says_why(
    node: Node, proxy: Proxy
) -> None:
    await proxy.refuse()
    await until(lambda: bool(node.broker.problem), "a problem")
    assert "\n" not in node.broker.problem
    for operation in (
        lambda: publish(node.broker, 1),
        lambda: node.broker.history("news", ALL, FOREVER),
        lambda: node.broker.subscribe("more"),
        lambda: node.broker.remove_history("news"),
        lambda: node.broker.publish_control(b"x"),
    ):
        started = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            await operation()
        assert caught.value.error.temporary
        assert "away" in str(caught.value)
        assert time.monotonic() - started < 2 * TUNING.timeout
    await node.broker.unsubscribe("news")
    await proxy.open()
    await until(lambda: not node.broker.problem, "recovery")


async def test_a_short_absence_is_waited_out(node: Node, proxy: Proxy) -> None:
    """What was not sent yet is sent when Redis is back, within the timeout."""
    await proxy.refuse()
    await until(lambda: "lost" in node.broker.problem or "Redis" in node.broker.problem, "a problem")
    waiting = asyncio.create_task(publish(node.broker, 7))
    entering = asyncio.create_task(node.broker.subscribe("more"))
    await asyncio.sleep(20 * MS)
    await proxy.open()
    assert await waiting == 1
    await entering
    assert node.events.gaps == [None]


async def test_with_an_idempotency_key_a_lost_reply_is_no_matter(node: Node, proxy: Proxy) -> None:
    options = PublishOptions(history_size=10, history_ttl=FOREVER, idempotency_key="once")
    for attempt in range(5):
        proxy.stall()
        task = asyncio.create_task(publish(node.broker, attempt, options))
        await asyncio.sleep(5 * MS)
        proxy.cut()
        proxy.flow()
        assert await task == 1
    history = await node.broker.history("news", ALL, FOREVER)
    assert len(history.publications) == 1


async def test_without_one_a_lost_reply_is_an_error_at_once(node: Node, proxy: Proxy) -> None:
    proxy.stall()
    task = asyncio.create_task(publish(node.broker, 1))
    await asyncio.sleep(5 * MS)
    proxy.cut()
    proxy.flow()
    with pytest.raises(UpstreamError):
        await task


# ---------------------------------------------------------------------------- coming back
async def test_everything_is_subscribed_again_before_the_gap_is_told(
    node: Node, proxy: Proxy, other: RedisBroker
) -> None:
    names = [f"c{n}" for n in range(1200)]
    await asyncio.gather(*(node.broker.subscribe(name) for name in names))
    proxy.cut()
    await until(lambda: None in node.events.gaps, "a gap")
    for name in names[::100]:
        await other.publish(name, Publication(raw(1)), PublishOptions())
    await until(lambda: all(node.events.data(name) for name in names[::100]), "all channels")


async def test_nothing_is_heard_between_the_loss_and_the_gap(
    node: Node, proxy: Proxy, other: RedisBroker
) -> None:
    """A node that heard 12 after 9 before it knew of a gap would have to take it for a loss."""
    order: list[str] = []
    events = node.events
    hear, gap = events.on_publication, events.on_gap

    def on_publication(channel: str, publication: Publication, epoch: str) -> None:
        order.append("pub")
        hear(channel, publication, epoch)

    def on_gap(channel: str | None) -> None:
        order.append("gap")
        gap(channel)

    events.on_publication = on_publication  # type: ignore[method-assign]
    events.on_gap = on_gap  # type: ignore[method-assign]
    stop = asyncio.Event()

    async def flood() -> None:
        value = 0
        while not stop.is_set():
            await publish(other, value)
            value += 1

    flooding = asyncio.create_task(flood())
    try:
        for round_ in range(1, 4):
            await until(lambda: order[-1:] == ["pub"], "live publications")
            proxy.cut()
            await until(lambda round_=round_: order.count("gap") == round_, "a gap")
    finally:
        stop.set()
        await flooding
    offsets = iter(events.offsets("news"))
    last = next(offsets)
    for before, now in pairwise(order[: len(events.offsets("news")) + order.count("gap")]):
        if now == "pub":
            offset = next(offsets)
            assert offset == last + 1 or (before == "gap" and offset > last)
            last = offset


async def test_reconnecting_is_spread_out_and_never_stops(server: RedisServer, node: Node) -> None:
    server.kill()
    await until(lambda: bool(node.broker.problem), "a problem")
    await asyncio.sleep(20 * TUNING.backoff_max)
    server.start()
    await until(lambda: not node.broker.problem, "recovery")


async def test_closing_while_redis_is_away(proxy: Proxy) -> None:
    world = RedisWorld([proxy.url], TUNING)
    node = await world.node()
    await proxy.refuse()
    await until(lambda: bool(node.broker.problem), "a problem")
    await world.close()


async def test_every_operation_that_redis_did_not_do_is_counted(server: RedisServer) -> None:
    counted: Counter[str] = Counter()

    def count(operation: str) -> None:
        counted[operation] += 1

    broker = RedisBroker([server.url], f"counted{server.port}", "c", TUNING, count)
    await broker.start(Recorder())
    try:
        await publish(broker, 1)
        assert not counted
        server.kill()
        with pytest.raises(UpstreamError):
            await publish(broker, 2)
        with pytest.raises(UpstreamError):
            await broker.subscribe("late")
        await until(lambda: counted["connect"] > 0, "an attempt to connect")
        assert counted["command"] == counted["subscribe"] == 1
    finally:
        await broker.close()
