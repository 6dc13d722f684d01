"""The figures for the dashboard: counters per node, and the delivery latency that is sampled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.metrics import Metrics
from gateway.node import latency, stats
from gateway.node.latency import LatencySampler
from gateway.outbox import APPENDS_PER_TURN, Outboxes
from tests.gateway_process import GatewayProcess, token, unique
from tests.http_world import World, running_world
from tests.rooms import Clock
from tests.sdk.python_phone import PythonPhone
from tests.test_outbox import Socket, Turns
from tests.timing import MS


class Timers:
    """`call_later` that runs when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, object]] = []

    def __call__(self, delay: float, function: object) -> None:
        self.due.append((delay, function))

    def run(self) -> None:
        for _, function in self.due:
            assert callable(function)
            function()
        self.due.clear()


class Bench:
    """A sampler over real outboxes; writing to a socket takes a known time."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.timers = Timers()
        self.metrics = Metrics()
        self.outboxes = Outboxes(self.turns.call_soon, self.turns.clock, self.metrics)
        self.sampler = LatencySampler(self.outboxes, self.metrics, self.turns.clock)
        self.sampler.start(self.timers)

    def publish(self, subscribers: list[Socket], data: bytes = b"1", *, broker: float = 0.0) -> None:
        """As the node and its delivery do it."""
        if self.sampler.wanted:
            self.sampler.published("news", data)
        self.turns.now += broker
        self.deliver(subscribers, data)

    def deliver(self, subscribers: list[Socket], data: bytes = b"1", channel: str = "news") -> None:
        self.outboxes.fan_out(dict.fromkeys(subscribers), data)
        if self.sampler.wanted:
            self.sampler.handed_on(channel, data)


def test_a_sample_ends_when_the_last_subscriber_was_written_to() -> None:
    bench = Bench()
    bench.publish([Socket(bench.turns, 0.25) for _ in range(4)], broker=0.5)
    bench.turns.run()
    assert bench.sampler.recent() == [1.5]


def test_a_sample_of_a_fan_out_that_has_to_wait_waits_with_it() -> None:
    bench = Bench()
    crowd = [Socket(bench.turns) for _ in range(APPENDS_PER_TURN)]
    bench.outboxes.fan_out(dict.fromkeys(crowd), b"before")
    slow = [Socket(bench.turns, 2.0)]
    bench.publish(slow)
    bench.turns.run()
    assert slow[0].got == [b"1"]
    assert bench.sampler.recent() == [2.0]
    assert bench.metrics.publications_delivered == APPENDS_PER_TURN + 1, "a mark is no delivery"


def test_between_two_samples_there_is_a_pause() -> None:
    bench = Bench()
    for _ in range(1000):
        bench.publish([Socket(bench.turns)])
        bench.turns.run()
    assert len(bench.sampler.recent()) == 1
    assert [delay for delay, _ in bench.timers.due] == [latency.PAUSE]
    bench.timers.run()
    bench.publish([Socket(bench.turns)])
    bench.turns.run()
    assert len(bench.sampler.recent()) == 2


def test_another_publication_does_not_end_the_sample_of_the_one_that_is_followed() -> None:
    bench = Bench()
    bench.sampler.published("news", b"mine")
    bench.turns.now += 0.5
    bench.deliver([Socket(bench.turns)], b"other", channel="weather")
    bench.deliver([Socket(bench.turns)], b"other")
    bench.turns.now += 0.25
    bench.deliver([Socket(bench.turns)], b"mine")
    bench.turns.run()
    assert bench.sampler.recent() == [0.75]


def test_a_publication_that_never_comes_back_is_given_up() -> None:
    bench = Bench()
    bench.sampler.published("news", b"lost")
    bench.turns.now += latency.PATIENCE + 1
    bench.deliver([Socket(bench.turns, 0.5)], b"other")
    bench.turns.run()
    assert bench.sampler.recent() == [0.5]


def test_old_samples_do_not_count() -> None:
    clock = Clock()
    sampler = LatencySampler(Outboxes(lambda _: None, clock, Metrics()), Metrics(), clock)
    sampler.written(clock.now - 1)
    assert sampler.recent() == [1.0]
    clock.now += latency.WINDOW + 1
    assert sampler.recent() == []


# ---------------------------------------------------------------------------- over the server API
@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as running:
        yield running


async def test_a_quiet_node_has_figures_and_no_latency(world: World) -> None:
    before = time.time() * 1000
    (node,) = (await world.result("stats"))["nodes"]
    assert before - 1 <= node.pop("at") <= time.time() * 1000
    assert node.pop("loop_lag") >= 0
    assert (node["uid"], node["name"], node["draining"]) == ("node-1", "test", False)
    assert (node["connections"], node["messages_out"], node["errors"], node["latency"]) == (0, 0, {}, None)


async def test_ten_dashboards_count_the_waiting_bytes_once(world: World) -> None:
    looks = 0

    class Reader:
        """A connection that reads slowly; the looks at it are counted."""

        @property
        def sink(self) -> Reader:
            return self

        @property
        def waiting_bytes(self) -> int:
            nonlocal looks
            looks += 1
            return 3

    count = 2 * stats.SLICE + 1
    world.node.hub.clients.update({str(number): Reader() for number in range(count)})  # type: ignore[misc]
    try:
        answers = await asyncio.gather(*(world.result("stats") for _ in range(10)))
    finally:
        world.node.hub.clients.clear()
    assert {answer["nodes"][0]["waiting_bytes"] for answer in answers} == {3 * count}
    assert looks == count


async def test_what_a_phone_causes_is_in_the_figures(gateway: GatewayProcess) -> None:
    async def figures() -> dict[str, object]:
        (node,) = (await gateway.api("stats"))["result"]["nodes"]
        return dict(node)

    before = await figures()
    channel = unique("stats")
    phone = PythonPhone()
    await phone.start(gateway.url, token=token("alice"))
    try:
        await phone.connect()
        await phone.subscribe(channel)
        for number in range(3):
            await gateway.publish(channel, number)
            await asyncio.sleep(latency.PAUSE + 50 * MS)
        after = await figures()
    finally:
        await phone.stop()
    assert after["connections"] == int(str(before["connections"])) + 1
    assert int(str(after["messages_out"])) >= int(str(before["messages_out"])) + 3
    assert int(str(after["messages_in"])) > int(str(before["messages_in"]))
    seen = after["latency"]
    assert isinstance(seen, dict)
    assert seen["samples"] >= 1
    assert 0 < seen["p50"] <= seen["p99"] < 5
