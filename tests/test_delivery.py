"""Delivery: each publication once and in order, or the subscriber is told; however bad the broker's day is.

The broker here is the real memory broker with an unreliable wire: its events wait until the test delivers,
drops, repeats or swaps them, and its answers come when the test says so. Nothing runs by time.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.brokers.base import BrokerEvents, History, HistoryFilter, PublishOptions
from gateway.brokers.memory import MemoryBroker
from gateway.client import Client
from gateway.errors import DISCONNECT_INSUFFICIENT_STATE, UpstreamError
from gateway.node import delivery
from gateway.protocol import ClientInfo, Publication, StreamPosition, encode_publication, raw
from tests.rooms import Clock, House, Phone, quiet
from tests.timing import MS, until

KEPT = PublishOptions(history_size=6, history_ttl=300.0)
OPTIONS: dict[str, Any] = {
    "history_size": 6,
    "history_ttl": 300,
    "force_recovery": True,
    "namespaces": {"plain": {}, "kept": {"history_size": 6, "history_ttl": 300}},
}
NEWS = "news"


class Wire(MemoryBroker):
    """The memory broker behind an unreliable wire.

    Attributes:
        events: publications under way to the node.
        asked, answered: histories that are still to be read, and those that are still to arrive. Both are
            queues: the node has one connection to its broker.
        straight: nothing waits.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, "n1")
        self.events: list[tuple[str, Publication, str]] = []
        self.asked: list[asyncio.Future[None]] = []
        self.answered: list[asyncio.Future[None]] = []
        self.reads = 0
        self.straight = True
        self.broken = False
        self.heard: BrokerEvents | None = None

    async def start(self, events: BrokerEvents) -> None:
        self.heard = events
        await super().start(_Catcher(self, events))

    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        await self._hold(self.asked)
        self.reads += 1
        if self.broken:
            raise UpstreamError(detail="the wire is cut")
        history = await super().history(channel, query, meta_ttl)
        await self._hold(self.answered)
        return history

    async def _hold(self, queue: list[asyncio.Future[None]]) -> None:
        if not self.straight or queue:
            queue.append(asyncio.get_running_loop().create_future())
            await queue[-1]

    def read(self, _place: int = 0) -> None:
        if self.asked:
            self.asked.pop(0).set_result(None)

    def arrive(self, _place: int = 0) -> None:
        if self.answered:
            self.answered.pop(0).set_result(None)

    def deliver(self, _place: int = 0) -> None:
        if self.events and self.heard is not None:
            self.heard.on_publication(*self.events.pop(0))

    def drop(self, place: int) -> None:
        if self.events:
            self.events.pop(place % len(self.events))

    def repeat(self, place: int) -> None:
        if self.events:
            self.events.append(self.events[place % len(self.events)])

    def swap(self, place: int) -> None:
        if self.events:
            self.events.insert(0, self.events.pop(place % len(self.events)))

    def lose_everything(self) -> None:
        """The broker lost its memory: every stream gets another epoch."""
        self._streams.clear()
        self._to_sweep.clear()

    async def top(self, channel: str) -> StreamPosition:
        return (await super().history(channel, HistoryFilter(), 300.0)).top


class _Catcher:
    """The broker's own events, put onto the wire; all but publications pass."""

    def __init__(self, wire: Wire, events: BrokerEvents) -> None:
        self._wire = wire
        self.on_join = events.on_join
        self.on_leave = events.on_leave
        self.on_control = events.on_control
        self.on_gap = events.on_gap

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        self._wire.events.append((channel, publication, epoch))
        if self._wire.straight:
            self._wire.deliver()


class Reader:
    """What an SDK makes of the messages of one channel, and what it complains about.

    Attributes:
        state: "out" (never was in), "joining", "live", or "told" that its position is lost.
        got: (epoch, offset, data) of every publication, recovered ones included.
    """

    def __init__(self, house: House, number: int, *, server_side: bool = False) -> None:
        self.house = house
        self.server_side = server_side
        self.client: Client
        self.phone: Phone
        self.number = number
        self.state = "out"
        self.offset, self.epoch = 0, ""
        self.got: list[tuple[str, int, object]] = []
        self.task: asyncio.Task[None] | None = None
        self.connect()

    def connect(self) -> None:
        self.number += 100
        self.client, self.phone = self.house.client(f"c{self.number}")
        self.read = 0

    def subscribe(self) -> None:
        """Come, or come back from where it stood."""
        if self.state in ("joining", "live"):
            return
        if self.phone.ended is not None:
            self.connect()
        since = StreamPosition(self.offset, self.epoch) if self.state == "told" and self.epoch else None
        order = self.house.order(NEWS, since=since, server_side=self.server_side)
        self.state = "joining"
        self.task = asyncio.ensure_future(self.house.subscribe(self.client, order))

    def catch_up(self) -> None:
        """Apply what has arrived."""
        while self.read < len(self.phone.received):
            message = self.phone.received[self.read]
            self.read += 1
            if "subscribe" in message:
                self._joined(message["subscribe"])
            elif "pub" in message["push"]:
                self._apply(message["push"]["pub"])
            elif "unsubscribe" in message["push"]:
                assert message["push"]["unsubscribe"]["code"] == 2500
                self.state = "told"
            else:
                assert message["push"]["disconnect"]["code"] == DISCONNECT_INSUFFICIENT_STATE.code
                self.state = "told"

    def _joined(self, result: dict[str, Any]) -> None:
        assert self.state == "joining"
        assert result["positioned"]
        if result.get("recovered"):
            assert (result.get("offset", 0), result["epoch"]) == (self.offset, self.epoch)
        self.offset, self.epoch = result.get("offset", 0), result["epoch"]
        self.state = "live"
        for publication in result.get("publications", []):
            self._apply(publication)

    def _apply(self, publication: dict[str, Any]) -> None:
        assert self.state == "live", f"a publication came while {self.state}"
        assert publication["offset"] == self.offset + 1, f"{publication['offset']} after {self.offset}"
        self.offset = publication["offset"]
        self.got.append((self.epoch, self.offset, publication["data"]))


class Scene:
    def __init__(self, readers: int) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.house = House(self.wire, clock=self.clock, channels=OPTIONS)
        self.readers = [Reader(self.house, n, server_side=n % 2 == 1) for n in range(readers)]
        self.published: dict[tuple[str, int], int] = {}
        self.number = 0

    async def step(self, what: str, place: int) -> None:
        """One of the methods below, or one of the wire's."""
        act = getattr(self, what, None) or getattr(self.wire, what)
        done = act(place)
        if done is not None:
            await done

    async def publish(self, _place: int) -> None:
        self.number += 1
        result = await self.wire.publish(NEWS, Publication(raw(self.number)), KEPT)
        self.published[result.epoch, result.offset] = self.number

    def _reader(self, place: int) -> Reader:
        return self.readers[place % len(self.readers)]

    def subscribe(self, place: int) -> None:
        self._reader(place).subscribe()

    async def leave(self, place: int) -> None:
        reader = self._reader(place)
        if reader.state == "live":
            self.house.membership.end(reader.client.subscriptions[NEWS])
            await quiet()
            reader.catch_up()
            reader.state = "told"

    def lose(self, _place: int) -> None:
        self.wire.lose_everything()

    def check(self, _place: int) -> None:
        self.clock.now += 100
        self.house.node.spawn(self.house.node._delivery.check_positions(self.clock.now))

    def gap(self, _place: int) -> None:
        self.house.node.on_gap(NEWS)

    async def settle(self) -> None:
        """Everything that is under way arrives."""
        self.wire.straight = True
        for _ in range(200):
            while self.wire.events:
                self.wire.deliver()
            self.wire.read()
            self.wire.arrive()
            await quiet()
            if not (self.wire.events or self.wire.asked or self.wire.answered):
                return
        raise AssertionError("it never settles")

    async def finish(self) -> None:
        await self.settle()
        for reader in self.readers:
            reader.catch_up()
        # What the periodic comparison of positions finds is found now.
        self.clock.now += 100
        await self.house.node._delivery.check_positions(self.clock.now)
        await self.settle()
        top = await self.wire.top(NEWS)
        for reader in self.readers:
            reader.catch_up()
            if reader.task is not None:
                await asyncio.wait({reader.task})
                error = reader.task.exception()
                assert error is None or reader.phone.ended is not None, error
            if reader.state == "live":
                assert StreamPosition(reader.offset, reader.epoch) == top, "behind, and nobody told it"
            else:
                assert reader.state in ("out", "told") or reader.phone.ended is not None
            for epoch, offset, data in reader.got:
                assert self.published[epoch, offset] == data
        channel = self.house.hub.channels.get(NEWS)
        if channel is not None:
            assert channel.missed is None
            assert channel.positioned == sum(each.positioned for each in channel.subscriptions())
            assert all(each.client.subscriptions[NEWS] is each for each in channel.subscriptions())


def play(steps: list[tuple[str, int]], readers: int = 3) -> None:
    async def scenario() -> None:
        scene = Scene(readers)
        await scene.house.start()
        scene.wire.straight = False
        try:
            for what, place in steps:
                await scene.step(what, place)
                await quiet(6)
                for reader in scene.readers:
                    reader.catch_up()
            await scene.finish()
        finally:
            await scene.house.close()

    asyncio.run(scenario())


def steps_of(*names: str, size: int = 40) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 5)), max_size=size)


GOOD = ("publish", "publish", "deliver", "deliver", "subscribe", "read", "arrive")
THOROUGH = settings(max_examples=150, deadline=None)


@THOROUGH
@given(steps_of(*GOOD, "leave"))
def test_on_a_slow_wire_everybody_gets_everything_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    play(steps)


@THOROUGH
@given(steps_of(*GOOD, "drop", "repeat", "swap", "check", "gap", "leave"))
def test_on_a_bad_wire_everybody_gets_everything_or_is_told(steps: list[tuple[str, int]]) -> None:
    play(steps)


@THOROUGH
@given(steps_of(*GOOD, "drop", "lose", "check", "gap", "leave"))
@example(  # the history is lost while a newcomer's question is under way, and publishing goes on
    [("subscribe", 0), ("read", 0), ("arrive", 0), ("publish", 0), ("deliver", 0), ("lose", 0)]
    + [("publish", 0)] * 3
    + [("subscribe", 1), ("read", 0), ("arrive", 0), ("publish", 0), ("read", 0), ("arrive", 0)]
)
def test_when_the_history_is_lost_nobody_is_left_behind_unknowing(steps: list[tuple[str, int]]) -> None:
    play(steps)


@pytest.mark.parametrize("read", [False, True])
def test_what_was_buffered_of_a_lost_stream_is_not_delivered_as_the_new_ones(read: bool) -> None:
    """A publication is under way, somebody joins, the history is lost: offset 1 exists twice."""
    steps = [("subscribe", 0), ("publish", 0), ("lose", 0)]
    play([*steps, ("read", 0), ("publish", 0)] if read else steps, readers=1)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("between", range(4))
@pytest.mark.parametrize("late", [False, True], ids=["events first", "answers first"])
def test_a_join_at_every_point_between_publications(before: int, between: int, late: bool) -> None:
    """A publication before the question, while it is under way, while the answer is, and after it."""
    turn: list[tuple[str, int]] = [("subscribe", 0)]
    steps = [("publish", 0)] * before + turn
    for way in ("read", "arrive"):
        steps += [("publish", 0)] * between
        steps += [] if late else [("deliver", 0)] * between
        steps += [(way, 0)]
    steps += [("publish", 0)] * 2
    play(steps, readers=1)
    play([*steps, ("deliver", 0), ("subscribe", 1), ("publish", 0), ("read", 0), ("arrive", 0)], readers=2)


def test_a_publication_lost_while_somebody_joins_is_noticed() -> None:
    """The answer holds nothing yet, the first event is lost, the second one is buffered."""
    play(
        [
            ("subscribe", 0),
            ("read", 0),  # the stream is empty
            ("publish", 0),
            ("publish", 0),
            ("drop", 0),
            ("deliver", 0),
            ("arrive", 0),
        ],
        readers=1,
    )


def test_a_gap_that_opens_while_positions_are_compared_is_closed_once() -> None:
    ways = ["subscribe", "read", "arrive", "publish", "publish", "drop", "drop", "check", "read", "publish"]
    play([(way, 0) for way in [*ways, "deliver", "arrive", "read", "arrive", "read", "arrive"]], readers=1)


# ---------------------------------------------------------------------------- one by one
class Stage:
    """A house whose wire does as it is told, for the tests of single promises."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.house = House(self.wire, clock=self.clock, channels=OPTIONS)

    async def __aenter__(self) -> Stage:
        await self.house.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wire.broken = False
        await self.house.close()

    async def subscriber(self, name: str, channel: str = NEWS, **wishes: Any) -> Phone:
        client, phone = self.house.client(name)
        await self.house.subscribe(client, self.house.order(channel, **wishes))
        await quiet()
        phone.received.clear()
        return phone

    async def publish(self, *numbers: int, channel: str = NEWS) -> None:
        options = PublishOptions() if channel.startswith("plain") else KEPT
        for number in numbers:
            await self.wire.publish(channel, Publication(raw(number)), options)
        await quiet()


def data(phone: Phone) -> list[Any]:
    return [message["push"]["pub"]["data"] for message in phone.received if "pub" in message["push"]]


async def test_everybody_gets_one_encoding_of_a_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = 0

    def counting(channel: str, publication: Publication) -> bytes:
        nonlocal encoded
        encoded += 1
        return encode_publication(channel, publication)

    monkeypatch.setattr(delivery, "encode_publication", counting)
    async with Stage() as stage:
        phones = [await stage.subscriber(f"c{n}") for n in range(1000)]
        await stage.publish(7)
        await until(lambda: all(data(phone) == [7] for phone in phones), "everybody to have it")
        assert encoded == 1
        assert stage.house.metrics.publications_received == 1
        assert stage.house.metrics.publications_delivered == 1000


async def test_a_channel_without_history_is_delivered_as_it_comes() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1", "plain:x")
        await stage.publish(1, 2, 3, channel="plain:x")
        assert data(phone) == [1, 2, 3]


async def test_what_nobody_here_listens_to_is_ignored() -> None:
    async with Stage() as stage:
        stage.house.node.on_publication("other", Publication(raw(1), offset=9), "e")
        stage.house.node.on_join("other", ClientInfo("u", "c"))
        stage.house.node.on_gap("other")
        assert stage.house.metrics.publications_received == 0


async def test_a_gap_is_closed_from_the_history_in_order() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2, 3, 4)
        stage.wire.events = stage.wire.events[3:]
        stage.wire.straight = True
        stage.wire.deliver()
        await quiet()
        assert data(phone) == [1, 2, 3, 4]
        assert stage.house.metrics.broker_gaps == 1
        await stage.publish(5)
        assert data(phone) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("server_side", [False, True])
async def test_who_missed_what_the_history_no_longer_has_is_told(server_side: bool) -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1", server_side=server_side)
        stage.wire.straight = False
        await stage.publish(*range(10))
        stage.wire.events = stage.wire.events[9:]
        stage.wire.straight = True
        stage.wire.deliver()
        await quiet()
        assert data(phone) == []
        if server_side:
            assert phone.ended is DISCONNECT_INSUFFICIENT_STATE
        else:
            assert phone.received[-1]["push"]["unsubscribe"]["code"] == 2500
            assert phone.ended is None


async def test_who_has_no_position_is_told_nothing_and_hears_what_comes() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1", "kept:x")
        await stage.publish(1, channel="kept:x")
        stage.wire.lose_everything()
        await stage.publish(2, channel="kept:x")
        assert data(phone) == [1, 2]


async def test_a_gap_that_the_broker_cannot_close_yet_is_closed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "RETRY_AFTER", 5 * MS)
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2, 3)
        stage.wire.events.pop(0)
        stage.wire.straight, stage.wire.broken = True, True
        stage.wire.deliver()
        stage.wire.deliver()
        await stage.publish(4)
        assert data(phone) == [], "nothing may overtake what is missing"
        stage.wire.broken = False
        await until(lambda: data(phone) == [1, 2, 3, 4], "the gap to be closed")


async def test_more_than_can_wait_behind_a_gap_is_read_from_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "MISSED_LIMIT", 3)
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2)
        stage.wire.events.pop(0)
        stage.wire.deliver()
        await quiet()
        stage.wire.read()
        await stage.publish(3, 4, 5, 6)
        for _ in range(4):
            stage.wire.deliver()
        stage.wire.straight = True
        stage.wire.arrive()
        await quiet(30)
        assert data(phone) == [1, 2, 3, 4, 5, 6]


async def test_a_lost_last_publication_is_found_by_comparing_positions() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2)
        stage.wire.events.clear()
        stage.wire.straight = True
        check = stage.house.node._delivery.check_positions
        await check(stage.clock.now)
        assert data(phone) == [], "the channel was not silent for long enough"
        stage.clock.now += 41
        await check(stage.clock.now - 40)
        await quiet()
        assert data(phone) == [1, 2]


async def test_a_late_publication_of_a_lost_stream_is_dropped() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        before = stage.wire.reads
        stage.house.node.on_publication(NEWS, Publication(raw("late"), offset=7), "another epoch")
        await quiet(100)
        assert stage.wire.reads == before + 1, "the history is asked again and again"
        await stage.publish(2)
        assert data(phone) == [2]


@pytest.mark.parametrize("channel", [NEWS, None])
async def test_after_the_broker_was_away_what_was_missed_is_read(channel: str | None) -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2)
        stage.wire.events.clear()
        stage.wire.straight = True
        stage.house.node.on_gap(channel)
        await quiet()
        assert data(phone) == [1, 2]


async def test_a_comparison_that_the_broker_cannot_make_changes_nothing() -> None:
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.broken = True
        stage.house.node.on_gap(None)
        await quiet()
        stage.wire.broken = False
        await stage.publish(1)
        assert data(phone) == [1]


async def test_large_publications_are_compressed_for_those_who_can_read_it() -> None:
    async with Stage() as stage:
        plain = await stage.subscriber("c1")
        client, phone = stage.house.client("c2")
        client.deflate = True
        frames: list[bytes] = []

        def flush() -> None:
            frames.extend(phone.outbox)
            phone.outbox.clear()

        phone.flush = flush  # type: ignore[method-assign]
        await stage.house.subscribe(client, stage.house.order(NEWS))
        await quiet()
        frames.clear()
        await stage.wire.publish(NEWS, Publication(raw("short")), KEPT)
        await stage.wire.publish(NEWS, Publication(raw("long" * 500)), KEPT)
        await quiet()
        assert [frame[0] for frame in frames] == [0x81, 0xC1]
        assert len(frames[1]) < 200
        assert data(plain) == ["short", "long" * 500]


async def test_joins_and_leaves_go_to_those_who_want_them() -> None:
    async with Stage() as stage:
        wants, does_not = await stage.subscriber("c1"), await stage.subscriber("c2")
        [subscription] = [
            each for each in stage.house.hub.channels[NEWS].plain.values() if each.client.id == "c1"
        ]
        subscription.wants_joins = True
        info = ClientInfo("ann", "c9", Raw(b'{"a":1}'))
        await stage.wire.publish_join(NEWS, info)
        await stage.wire.publish_leave(NEWS, info)
        await quiet()
        body = {"info": json.loads('{"user":"ann","client":"c9","conn_info":{"a":1}}')}
        assert [message["push"] for message in wants.received] == [
            {"channel": NEWS, "join": body},
            {"channel": NEWS, "leave": body},
        ]
        assert does_not.received == []


async def test_a_subscription_that_ended_before_its_reply_does_not_go_live() -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        order = stage.house.order(NEWS, server_side=True)
        subscription, _ = await stage.house.membership.prepare(client, order)
        stage.house.membership.end(subscription)
        stage.house.membership.activate(subscription)
        assert len(stage.house.hub.channels[NEWS]) == 0
        await stage.publish(1)
        assert phone.received == []


async def test_one_who_waits_for_its_reply_when_the_history_is_lost_is_told() -> None:
    """A connect with several channels: the first was answered, the others are still asked for."""
    async with Stage() as stage:
        await stage.subscriber("c1")
        client, phone = stage.house.client("c2")
        order = stage.house.order(NEWS, server_side=True)
        subscription, result = await stage.house.membership.prepare(client, order)
        stage.wire.straight = False
        await stage.publish(*range(10))
        stage.wire.events = stage.wire.events[9:]
        stage.wire.straight = True
        stage.wire.deliver()
        await quiet()
        stage.house.membership.activate(subscription)
        await quiet()
        assert result.offset == 0
        assert phone.ended is DISCONNECT_INSUFFICIENT_STATE
