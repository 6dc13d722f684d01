"""The publishers for backends in Python, and the examples of docs/redis.md."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.brokers.base import HistoryFilter, PublishOptions, PublishResult
from gateway.brokers.redis_keys import PUBLISH, Keys
from gateway.errors import UpstreamError
from gateway.inbox.base import Bounds
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.tally import RedisTotals
from gateway.protocol import Publication, raw
from gateway.publisher import Message, Publisher
from gateway.publisher_sync import SyncPublisher
from tests.broker_worlds import Node, RedisWorld, make_world
from tests.gateway_process import free_port
from tests.redis_server import Proxy, RedisServer, shared_servers
from tests.timing import MS, until

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
ALL = HistoryFilter(limit=-1)


@pytest.fixture(params=["redis", "redis-several", "redis-cluster"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    world = make_world(request.param)
    assert isinstance(world, RedisWorld)
    yield world
    await world.close()


@pytest.fixture
async def node(world: RedisWorld) -> Node:
    node = await world.node()
    await node.broker.subscribe("news")
    return node


async def heard(node: Node, count: int) -> list[bytes]:
    await until(lambda: len(node.events.data("news")) >= count, f"{count} publications")
    return node.events.data("news")


async def test_it_publishes_what_a_node_hears(world: RedisWorld, node: Node) -> None:
    async with Publisher(world.urls, prefix=world.prefix) as publisher:
        assert await publisher.publish("news", {"名": 1}) == PublishResult()
        kept = await publisher.publish("news", [1, None], history_size=5, history_ttl=60, tags={"a": "b"})
        assert kept.offset == 1
        await publisher.publish("news", msgspec.Raw(b'{"already": "JSON"}'))
    assert await heard(node, 3) == ['{"名":1}'.encode(), b"[1,null]", b'{"already": "JSON"}']
    assert node.events.publications[1][1].tags == {"a": "b"}
    top = (await node.broker.history("news", ALL, 60)).top
    assert (top.offset, top.epoch) == (1, kept.epoch)


async def test_many_at_once_keep_their_order(world: RedisWorld, node: Node) -> None:
    async with Publisher(world.urls, prefix=world.prefix) as publisher:
        messages = [Message("news", n, history_size=2000, history_ttl=60) for n in range(1200)]
        results = await publisher.publish_many(messages)
        assert [result.offset for result in results] == list(range(1, 1201))
        assert len(await publisher.publish_many([("news", n) for n in range(1200, 1300)])) == 100
        spread = await publisher.publish_many([(f"c{n}", n) for n in range(100)])
        assert spread == [PublishResult()] * 100
    assert await heard(node, 1300) == [b"%d" % n for n in range(1300)]


async def test_idempotency_keys_and_versions(world: RedisWorld) -> None:
    async with Publisher(world.urls, prefix=world.prefix) as publisher:
        for suppressed in (False, True):
            got = await publisher.publish("a", 1, history_size=5, history_ttl=60, idempotency_key="k")
            assert (got.offset, got.suppressed) == (1, suppressed)
            versioned = await publisher.publish("b", 1, history_size=5, history_ttl=60, version=3)
            assert versioned.suppressed is suppressed


async def test_the_sync_twin_publishes_the_same(world: RedisWorld, node: Node) -> None:
    def work() -> list[PublishResult]:
        with SyncPublisher(world.urls, prefix=world.prefix) as publisher:
            publisher.publish("news", {"a": 1})
            first = publisher.publish("news", 2, history_size=9, history_ttl=60, idempotency_key="k")
            again = publisher.publish("news", 2, history_size=9, history_ttl=60, idempotency_key="k")
            many = publisher.publish_many(
                [*(Message("news", n, history_size=9, history_ttl=60) for n in (3, 4)), ("news", 5)]
            )
            publisher.publish_many([(f"c{n}", n) for n in range(30)])
            return [first, again, *many]

    first, again, third, fourth, fifth = await asyncio.to_thread(work)
    assert again == PublishResult(1, first.epoch, suppressed=True)
    assert (third.offset, fourth.offset, fifth) == (2, 3, PublishResult())
    assert await heard(node, 5) == [b'{"a":1}', b"2", b"3", b"4", b"5"]


async def test_the_sync_twin_serves_many_threads_and_a_forgetful_server() -> None:
    world = RedisWorld([shared_servers()[0].url])
    node = await world.node()

    def work() -> None:
        with SyncPublisher(world.urls, prefix=world.prefix) as publisher:
            shared_servers()[0].client().script_flush()

            def publish() -> None:
                publisher.publish_many(
                    [Message("news", n, history_size=99, history_ttl=60) for n in range(20)]
                )

            threads = [threading.Thread(target=publish) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    await asyncio.to_thread(work)
    assert (await node.broker.history("news", ALL, 60)).top.offset == 80
    await world.close()


# ---------------------------------------------------------------------------- failures
async def test_mistakes_of_the_caller(world: RedisWorld) -> None:
    async with Publisher(world.urls, prefix=world.prefix) as publisher:
        with pytest.raises(TypeError):
            await publisher.publish("news", object())
        with pytest.raises(ValueError, match="channel"):
            await publisher.publish("", 1)
        with pytest.raises(ValueError, match="malformed"):
            await publisher.publish("news", msgspec.Raw(b"{]"))


async def test_a_redis_that_is_not_there() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(UpstreamError):
        await Publisher(url).connect()


def test_a_redis_that_is_not_there_for_the_sync_twin() -> None:
    with SyncPublisher(f"redis://127.0.0.1:{free_port()}") as publisher:
        with pytest.raises(UpstreamError):
            publisher.publish("news", 1)
        with pytest.raises(UpstreamError, match="3 of 3 publications failed"):
            publisher.publish_many([("news", n) for n in range(3)])


async def test_a_redis_that_goes_away_and_comes_back() -> None:
    async with Proxy(shared_servers()[0].port) as proxy:
        world = RedisWorld([proxy.url])
        async with Publisher(proxy.url, prefix=world.prefix, timeout=200 * MS) as publisher:
            await proxy.refuse()
            with pytest.raises(UpstreamError):
                await publisher.publish("news", 1)
            with pytest.raises(UpstreamError, match="of 2 publications failed"):
                await publisher.publish_many([("news", 1), ("news", 2)])
            await proxy.open()

            async def works() -> bool:
                try:
                    await publisher.publish("news", 1)
                except UpstreamError:
                    return False
                return True

            deadline = asyncio.get_running_loop().time() + 5_000 * MS
            while not await works():
                assert asyncio.get_running_loop().time() < deadline


# ---------------------------------------------------------------------------- docs/redis.md
def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def run(*words: str, text: str = "") -> str:
    """Run a program in the root of the repository; its output. What it says on stderr fails the test."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate(text.encode())
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


@pytest.fixture
async def reader() -> AsyncIterator[Node]:
    """A node with the prefix of the page, on a server of its own."""
    with RedisServer() as server:
        world = RedisWorld([server.url])
        world.prefix = "wxgw"
        node = await world.node()
        await node.broker.subscribe("news")
        yield node
        await world.close()


def port_of(node: Node) -> int:
    broker = node.broker
    return int(broker.topology.servers[0].endpoint.port)  # type: ignore[attr-defined]


async def test_the_shell_examples_of_the_page(reader: Node) -> None:
    script = "\n".join(examples("sh")).replace("redis-cli", f"redis-cli -p {port_of(reader)}")
    assert script.count("redis-cli") == 2
    output = await run("sh", "-e", text=script)
    assert output.split()[:2] == ["1", "1"], shlex.quote(output)
    assert await heard(reader, 2) == [b'{"title":"Hello"}'] * 2
    assert reader.events.offsets("news") == [0, 1]
    assert (
        await reader.broker.publish("news", Publication(raw(1)), PublishOptions(100, 300)) != PublishResult()
    )


@pytest.mark.parametrize(("index", "count"), [(0, 1011), (1, 1001), (2, 2)])
async def test_the_python_examples_of_the_page(reader: Node, index: int, count: int) -> None:
    code = examples("python")[index].replace("redis://localhost", f"redis://127.0.0.1:{port_of(reader)}")
    await run(sys.executable, "-", text=code)
    await heard(reader, count)
    assert len(reader.events.publications) == count


def test_the_page_names_what_the_code_names() -> None:
    assert len(examples("python")) == 3
    for language in ("js", "go", "php", "java"):
        (example,) = examples(language)
        assert "wxgw:broadcast:news" in example
        assert "wxgw:meta:{news}" in example
        assert "wxgw:stream:{news}" in example
    for argument in range(1, 9):
        assert f"ARGV[{argument}]" in PAGE
        assert f"ARGV[{argument}]" in PUBLISH.source


async def test_a_letter_through_redis_waits_in_the_inbox(world: RedisWorld) -> None:
    user, channel = "oAlice", "#oAlice"
    node = await world.node("n2")
    await node.broker.subscribe(channel)
    topology = node.broker.topology  # type: ignore[attr-defined]
    store = RedisInboxStore(topology, Bounds(messages=2, size=1000), time.time)
    limits: dict[str, Any] = {"ack": True, "inbox_messages": 2, "inbox_size": 1000}

    def from_a_thread() -> tuple[PublishResult, PublishResult]:
        with SyncPublisher(world.urls, prefix=world.prefix) as sync:
            again = sync.publish(channel, 0, idempotency_key="1", **limits)
            [second] = sync.publish_many([Message(channel, 2, **limits)])
            with pytest.raises(UpstreamError, match="acknowledgement"):
                sync.publish(channel, 3, **limits)
            return again, second

    async with Publisher(world.urls, prefix=world.prefix) as publisher:
        first = await publisher.publish(channel, {"n": 1}, idempotency_key="1", **limits)
        again, second = await asyncio.to_thread(from_a_thread)
        with pytest.raises(UpstreamError, match="acknowledgement"):
            await publisher.publish(channel, 3, **limits)
        with pytest.raises(UpstreamError, match="acknowledgement"):
            await publisher.publish_many([Message(channel, 3, **limits)])
    assert (again.id, again.suppressed, first.suppressed) == (first.id, True, False)
    await until(lambda: len(node.events.publications) == 2, "two letters")
    assert [each.publication.tags for each in await store.read(channel, 0, 1000)] == [
        {"ack": first.id},
        {"ack": second.id},
    ]
    assert first.id.endswith(f".{user}")
    total = await RedisTotals(topology).add(0, {})
    assert total == len(b'{"n":1}') + len(b"2")


@pytest.mark.parametrize("channel", ["news", "#", "#a,b", "room#alice"])
def test_a_letter_is_for_one_user(channel: str) -> None:
    with pytest.raises(ValueError, match="personal channel"):
        Message(channel, 1, ack=True).posting(Keys("wxgw"))
