"""Nodes among themselves: who is alive, what all of them know, and messages that nobody understands."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.brokers.memory import MemoryBroker
from gateway.errors import UpstreamError
from gateway.node import cluster
from gateway.node.cluster import (
    NODE_TTL,
    Cluster,
    DisconnectUser,
    Message,
    MessageAll,
    NodeInfo,
    RefreshUser,
    SubscribeUser,
    Target,
    UnsubscribeUser,
)
from gateway.protocol import ClientInfo, Publication, raw
from tests.rooms import Clock, quiet
from tests.timing import MS


class Bus:
    """Control messages among brokers: to all of them, or to one. `lost` nodes hear and say nothing."""

    def __init__(self) -> None:
        self.brokers: dict[str, BusBroker] = {}
        self.lost: set[str] = set()


class BusBroker(MemoryBroker):
    """The memory broker, with a control channel that reaches the other nodes of its bus."""

    def __init__(self, clock: Clock, node_id: str, bus: Bus) -> None:
        super().__init__(clock, node_id)
        self.node_id = node_id
        self.bus = bus
        bus.brokers[node_id] = self

    async def publish_control(self, message: bytes, node: str = "") -> None:
        if self.node_id in self.bus.lost:
            raise UpstreamError(detail="the bus is away")
        for node_id, broker in list(self.bus.brokers.items()):
            if node in ("", node_id) and node_id not in self.bus.lost:
                await MemoryBroker.publish_control(broker, message)


class Member:
    """A node's place in the cluster: the `BrokerEvents` that hand control messages on."""

    def __init__(self, node_id: str, bus: Bus, clock: Clock) -> None:
        self.node_id = node_id
        self.clients = 0
        self.acted: list[Message] = []
        self.asked: list[tuple[str, str]] = []
        self.broker = BusBroker(clock, node_id, bus)
        self.cluster = Cluster(
            node_id, self.broker, clock, describe=self.describe, answer=self.answer, act=self.acted.append
        )
        self.on_control = self.cluster.on_control

    def describe(self) -> NodeInfo:
        return NodeInfo(self.node_id, f"name of {self.node_id}", "1", self.clients, 0, 0, 0, 0)

    async def answer(self, question: str, argument: str) -> bytes:
        self.asked.append((question, argument))
        return msgspec.json.encode({self.node_id: argument})

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None: ...

    def on_join(self, channel: str, info: ClientInfo) -> None: ...

    def on_leave(self, channel: str, info: ClientInfo) -> None: ...

    def on_gap(self, channel: str | None) -> None: ...

    def sees(self) -> list[str]:
        return [info.uid for info in self.cluster.nodes()]


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = Bus()

    async def members(self, *names: str) -> list[Member]:
        """Nodes that have said hello to each other."""
        members = [Member(name, self.bus, self.clock) for name in names]
        for member in members:
            await member.broker.start(member)
        for member in members:
            await member.cluster.hello()
        return members


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SURVEY_DEADLINE", 30 * MS)


# ---------------------------------------------------------------------------- who is alive
async def test_nodes_know_each_other_and_name_themselves_first(world: World) -> None:
    c, a, b = await world.members("c", "a", "b")
    assert a.sees() == ["a", "b", "c"]
    assert b.sees() == ["b", "a", "c"]
    assert c.sees() == ["c", "a", "b"]


async def test_a_node_describes_itself_as_it_is_now_and_others_as_they_last_said(world: World) -> None:
    a, b = await world.members("a", "b")
    a.clients = b.clients = 5
    assert [info.num_clients for info in a.cluster.nodes()] == [5, 0]
    await b.cluster.hello()
    assert [info.num_clients for info in a.cluster.nodes()] == [5, 5]


async def test_a_node_that_says_bye_is_gone_at_once(world: World) -> None:
    a, b = await world.members("a", "b")
    await b.cluster.bye()
    assert a.sees() == ["a"]


async def test_a_node_that_is_silent_for_too_long_is_gone(world: World) -> None:
    a, b = await world.members("a", "b")
    world.clock.now += NODE_TTL - 0.1
    assert a.sees() == ["a", "b"]
    world.clock.now += 0.1
    assert a.sees() == ["a"]
    await b.cluster.hello()
    assert a.sees() == ["a", "b"]


async def test_three_signs_of_life_may_be_lost(world: World) -> None:
    assert NODE_TTL > 3 * cluster.HELLO_INTERVAL


# ---------------------------------------------------------------------------- questions
async def test_a_node_that_is_alone_answers_itself_without_the_broker(world: World) -> None:
    [a] = await world.members("a")
    world.bus.lost.add("a")
    assert await a.cluster.survey("channels", "chat*") == ({"a": b'{"a":"chat*"}'}, [])


async def test_a_survey_has_the_answer_of_every_node(world: World) -> None:
    a, b, c = await world.members("a", "b", "c")
    answers, missing = await b.cluster.survey("channels", "x")
    assert missing == []
    assert answers == {name: msgspec.json.encode({name: "x"}) for name in ("a", "b", "c")}
    assert a.asked == b.asked == c.asked == [("channels", "x")]
    assert a.acted == b.acted == c.acted == []


@pytest.mark.usefixtures("short_deadline")
async def test_a_survey_names_the_nodes_that_did_not_answer(world: World) -> None:
    a, _, _ = await world.members("a", "b", "c")
    world.bus.lost.add("b")
    answers, missing = await a.cluster.survey("channels", "")
    assert (sorted(answers), missing) == (["a", "c"], ["b"])


@pytest.mark.usefixtures("short_deadline")
async def test_an_answer_that_cannot_be_sent_is_a_missing_one(world: World) -> None:
    a, b = await world.members("a", "b")

    async def lose(question: str, argument: str) -> bytes:
        world.bus.lost.add("b")
        return b"{}"

    b.cluster._answer = lose
    assert (await a.cluster.survey("channels", ""))[1] == ["b"]
    assert not b.cluster._replies


async def test_several_surveys_at_once_keep_their_answers_apart(world: World) -> None:
    a, b = await world.members("a", "b")
    arguments = [f"pattern {number}" for number in range(10)]
    results = await asyncio.gather(
        *(member.cluster.survey("channels", argument) for argument in arguments for member in (a, b))
    )
    expected = [argument for argument in arguments for _ in (a, b)]
    for argument, (answers, missing) in zip(expected, results, strict=True):
        assert missing == []
        assert answers == {name: msgspec.json.encode({name: argument}) for name in ("a", "b")}


@pytest.mark.usefixtures("short_deadline")
async def test_an_answer_that_comes_too_late_is_dropped(world: World) -> None:
    a, _ = await world.members("a", "b")
    world.bus.lost.add("b")
    await a.cluster.survey("channels", "")
    world.bus.lost.clear()
    a.on_control(b'{"op":"answer","id":1,"node":"b","content":{}}')
    a.on_control(b'{"op":"answer","id":99,"node":"b","content":{}}')
    assert (a.cluster._open, a.cluster._wake) == ({}, {})


async def test_a_survey_that_the_broker_cannot_ask_is_an_upstream_error_and_leaves_nothing_open(
    world: World,
) -> None:
    a, _ = await world.members("a", "b")
    world.bus.lost.add("a")
    with pytest.raises(UpstreamError):
        await a.cluster.survey("channels", "")
    assert (a.cluster._open, a.cluster._wake) == ({}, {})


# ---------------------------------------------------------------------------- orders
ORDERS: list[Message] = [
    SubscribeUser(Target("ann"), "news", raw(1), raw(2), 99, 4, "e", {"presence": True}),
    SubscribeUser(Target("ann"), "news"),
    UnsubscribeUser(Target("ann", "c1"), "news", 2000, "why"),
    DisconnectUser(Target("ann", session="s"), 3503, "why", ["c2"]),
    RefreshUser(Target("ann"), True, 7, raw({"a": 1})),
    MessageAll(raw("hi"), "wx1"),
]


def plain(message: Message) -> dict[str, Any]:
    decoded = msgspec.json.decode(msgspec.json.encode(message))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
async def test_an_order_reaches_every_node_as_it_was_given_the_own_one_too(
    order: Message, world: World
) -> None:
    a, b = await world.members("a", "b")
    await a.cluster.tell(order)
    for member in (a, b):
        [acted] = member.acted
        assert type(acted) is type(order)
        assert plain(acted) == plain(order)


async def test_an_order_for_one_node_reaches_no_other(world: World) -> None:
    a, b = await world.members("a", "b")
    await a.cluster.tell(MessageAll(raw(1)), "b")
    assert (len(a.acted), len(b.acted)) == (0, 1)


# ---------------------------------------------------------------------------- junk
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"{}",
        b"[]",
        b'{"op":"from the future","x":1}',
        b'{"op":"hello"}',
        b'{"op":"bye","uid":7}',
        b'{"op":"bye","uid":"\xff"}',
        b'{"op":"message_all","data":' + b"[" * 100_000,
    ],
)
async def test_what_cannot_be_read_is_dropped(content: bytes, world: World) -> None:
    a, _ = await world.members("a", "b")
    a.on_control(content)
    await quiet()
    assert a.acted == []
    assert a.sees() == ["a", "b"]


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text(max_size=30).map(lambda text: b'{"op":"bye","uid":"' + text.encode() + b'"}')
)
def test_any_bytes_from_the_bus_do_no_harm(content: bytes) -> None:
    member = Member("a", Bus(), Clock())
    member.on_control(content)
    assert member.sees() == ["a"]


async def test_fields_of_a_newer_version_are_ignored(world: World) -> None:
    [a] = await world.members("a")
    a.on_control(b'{"op":"disconnect","target":{"user":"ann","new":1},"code":3000,"reason":"r","more":[]}')
    assert a.acted == [DisconnectUser(Target("ann"), 3000, "r")]
