"""The sentences of the broker contract, over every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.brokers.base import HistoryFilter, PublishOptions, PublishResult
from gateway.protocol import ClientInfo, Publication, StreamPosition, raw
from tests.broker_worlds import WORLDS, Node, World, make_world
from tests.timing import until

ALL = HistoryFilter(limit=-1)
FOREVER = 3600.0


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = make_world(request.param)
    yield world
    await world.close()


@pytest.fixture
async def node(world: World) -> Node:
    return await world.node()


def pub(value: object) -> Publication:
    return Publication(raw(value))


def kept(size: int = 10, ttl: float = FOREVER, **more: object) -> PublishOptions:
    return PublishOptions(history_size=size, history_ttl=ttl, **more)  # type: ignore[arg-type]


async def publish(node: Node, value: object, options: PublishOptions, channel: str = "news") -> PublishResult:
    return await node.broker.publish(channel, pub(value), options)


async def values(node: Node, query: HistoryFilter = ALL, channel: str = "news") -> list[bytes]:
    history = await node.broker.history(channel, query, FOREVER)
    return [bytes(item.data) for item in history.publications]


async def heard(node: Node, count: int, channel: str = "news") -> list[bytes]:
    await until(lambda: len(node.events.data(channel)) >= count, f"{count} publications of {channel}")
    return node.events.data(channel)


async def quiet(node: Node) -> None:
    """Returns when everything published before has been heard: a later publication overtakes nothing."""
    await node.broker.subscribe("quiet")
    count = len(node.events.data("quiet"))
    await node.broker.publish("quiet", pub(1), PublishOptions())
    await until(lambda: len(node.events.data("quiet")) > count, "the marker")


# ---------------------------------------------------------------------------- positions
async def test_the_first_publication_of_a_stream_has_offset_1(node: Node) -> None:
    first = await publish(node, "a", kept())
    second = await publish(node, "b", kept())
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch != ""


async def test_a_publication_without_history_has_no_position(node: Node) -> None:
    await node.broker.subscribe("news")
    given = Publication(raw("a"), offset=7)
    assert await node.broker.publish("news", given, PublishOptions()) == PublishResult()
    assert await node.broker.publish("news", given, PublishOptions(history_size=5)) == PublishResult()
    await heard(node, 2)
    assert [(item.offset, epoch) for _, item, epoch in node.events.publications] == [(0, ""), (0, "")]
    assert await values(node) == []


async def test_the_given_offset_is_ignored(node: Node) -> None:
    result = await node.broker.publish("news", Publication(raw(1), offset=99), kept())
    assert result.offset == 1


async def test_the_top_outlives_the_items(world: World, node: Node) -> None:
    ttl = 5 * world.unit
    first = await publish(node, "a", kept(ttl=ttl))
    assert await values(node) == [b'"a"']
    await world.pass_time(2 * ttl)
    assert await values(node) == []
    second = await publish(node, "b", kept())
    assert (second.offset, second.epoch) == (2, first.epoch)
    assert await values(node) == [b'"b"']


async def test_publishing_keeps_the_items_of_a_stream_alive(world: World, node: Node) -> None:
    ttl = 10 * world.unit
    for value in range(4):
        await publish(node, value, kept(ttl=ttl))
        await world.pass_time(ttl / 2)
    assert await values(node) == [b"0", b"1", b"2", b"3"]


async def test_the_epoch_changes_when_the_stream_was_lost(world: World, node: Node) -> None:
    ttl = 3 * world.unit
    first = await publish(node, "a", kept(ttl=ttl, meta_ttl=ttl))
    await world.pass_time(3 * ttl)
    second = await publish(node, "b", kept())
    assert second.offset == 1
    assert second.epoch not in ("", first.epoch)
    assert await values(node) == [b'"b"']


async def test_the_top_lives_at_least_as_long_as_the_items(world: World, node: Node) -> None:
    first = await publish(node, "a", kept(ttl=FOREVER, meta_ttl=world.unit))
    await world.pass_time(3 * world.unit)
    assert (await publish(node, "b", kept())).epoch == first.epoch


async def test_a_position_taken_from_an_empty_stream_is_valid_later(node: Node) -> None:
    history = await node.broker.history("news", HistoryFilter(), FOREVER)
    assert history.top.offset == 0
    result = await publish(node, "a", kept())
    assert result == PublishResult(1, history.top.epoch)


# ---------------------------------------------------------------------------- delivery
async def test_who_reads_a_position_may_rely_on_the_history_holding_it(node: Node) -> None:
    for value in range(20):
        result = await publish(node, value, kept())
        newest = await node.broker.history("news", HistoryFilter(limit=1, reverse=True), FOREVER)
        assert newest.top == StreamPosition(result.offset, result.epoch)
        assert newest.publications[0].offset == result.offset


async def test_events_of_one_channel_arrive_in_the_order_of_their_offsets(world: World) -> None:
    nodes = [await world.node("a")]
    if world.many_nodes:
        nodes.append(await world.node("b"))
    for node in nodes:
        await node.broker.subscribe("news")
    await asyncio.gather(*(publish(nodes[i % len(nodes)], i, kept(200)) for i in range(100)))
    for node in nodes:
        await heard(node, 100)
        assert node.events.offsets("news") == list(range(1, 101))
    assert all(node.events.data("news") == nodes[0].events.data("news") for node in nodes)
    assert await values(nodes[0]) == nodes[0].events.data("news")


async def test_the_publishers_own_node_hears_what_the_others_hear(world: World) -> None:
    first = await world.node("a")
    second = await world.node("b") if world.many_nodes else first
    for node in (first, second):
        await node.broker.subscribe("news")
    info = ClientInfo("u1", "c1", conn_info=raw({"name": "张三"}))
    given = Publication(raw({"n": 1}), info=info, tags={"k": "v"})
    result = await first.broker.publish("news", given, kept())
    for node in (first, second):
        await heard(node, 1)
        channel, got, epoch = node.events.publications[0]
        assert (channel, got.offset, epoch) == ("news", 1, result.epoch)
        assert (bytes(got.data), got.tags) == (b'{"n":1}', {"k": "v"})
        assert got.info is not None
        assert (got.info.user, bytes(got.info.conn_info)) == ("u1", '{"name":"张三"}'.encode())
    stored = (await second.broker.history("news", ALL, FOREVER)).publications[0]
    assert (bytes(stored.data), stored.tags, stored.offset) == (b'{"n":1}', {"k": "v"}, 1)
    assert stored.info is not None
    assert stored.info.client == "c1"


async def test_only_subscribed_channels_reach_the_events(node: Node) -> None:
    await publish(node, "before", PublishOptions())
    await node.broker.subscribe("news")
    await publish(node, "during", PublishOptions())
    await publish(node, "elsewhere", PublishOptions(), channel="other")
    await heard(node, 1)
    await node.broker.unsubscribe("news")
    await publish(node, "after", PublishOptions())
    await quiet(node)
    assert node.events.data("news") == [b'"during"']
    assert node.events.data("other") == []


async def test_a_channel_may_be_left_and_entered_again(node: Node) -> None:
    for value in range(3):
        await node.broker.subscribe("news")
        await publish(node, value, PublishOptions())
        await heard(node, value + 1)
        await node.broker.unsubscribe("news")
    assert node.events.data("news") == [b"0", b"1", b"2"]


async def test_leaving_a_channel_that_was_never_entered_is_nothing(node: Node) -> None:
    await node.broker.unsubscribe("never")


@pytest.mark.parametrize(
    "channel", ["a", "用户:#张三", "with space", "br{ac}es", "a}b{", "x:y:#1,2", "p" * 255]
)
async def test_every_channel_name_works(node: Node, channel: str) -> None:
    await node.broker.subscribe(channel)
    result = await publish(node, "x", kept(idempotency_key="k"), channel=channel)
    assert result.offset == 1
    assert await heard(node, 1, channel) == [b'"x"']
    assert await values(node, channel=channel) == [b'"x"']


# ---------------------------------------------------------------------------- history
async def test_a_stream_keeps_the_newest_items_only(node: Node) -> None:
    for value in range(6):
        await publish(node, value, kept(3))
    assert await values(node) == [b"3", b"4", b"5"]
    await publish(node, 6, kept(2))
    assert await values(node) == [b"5", b"6"]


@pytest.mark.parametrize(
    ("limit", "since", "reverse", "offsets"),
    [
        (0, None, False, []),
        (-1, None, False, [3, 4, 5, 6]),
        (2, None, False, [3, 4]),
        (-1, None, True, [6, 5, 4, 3]),
        (3, None, True, [6, 5, 4]),
        (-1, 4, False, [5, 6]),
        (1, 4, False, [5]),
        (-1, 1, False, [3, 4, 5, 6]),
        (-1, 6, False, []),
        (-1, 99, False, []),
        (-1, 5, True, [4, 3]),
        (1, 5, True, [4]),
        (-1, 99, True, [6, 5, 4, 3]),
        (-1, 3, True, []),
        (-1, 1, True, []),
        (0, 4, False, []),
    ],
)
async def test_since_limit_and_reverse(
    node: Node, limit: int, since: int | None, reverse: bool, offsets: list[int]
) -> None:
    for value in range(6):
        await publish(node, value, kept(4))
    position = None if since is None else StreamPosition(since)
    history = await node.broker.history("news", HistoryFilter(limit, position, reverse), FOREVER)
    assert [item.offset for item in history.publications] == offsets
    assert history.top.offset == 6


async def test_remove_history_drops_the_items_and_keeps_the_top(node: Node) -> None:
    first = await publish(node, "a", kept())
    await node.broker.remove_history("news")
    history = await node.broker.history("news", ALL, FOREVER)
    assert (history.top, history.publications) == (StreamPosition(1, first.epoch), [])
    assert (await publish(node, "b", kept())).offset == 2
    await node.broker.remove_history("never-was")


# ---------------------------------------------------------------------------- idempotency and versions
@pytest.mark.parametrize("size", [0, 10])
async def test_a_repeated_idempotency_key_publishes_nothing_and_answers_the_first_position(
    node: Node, size: int
) -> None:
    await node.broker.subscribe("news")
    first = await publish(node, "a", kept(size, idempotency_key="k1"))
    again = await publish(node, "b", kept(size, idempotency_key="k1"))
    other = await publish(node, "c", kept(size, idempotency_key="k2"))
    assert again == PublishResult(first.offset, first.epoch, suppressed=True)
    assert not other.suppressed
    await quiet(node)
    assert node.events.data("news") == [b'"a"', b'"c"']
    assert await values(node) == ([b'"a"', b'"c"'] if size else [])


async def test_an_idempotency_key_belongs_to_its_channel(node: Node) -> None:
    await publish(node, "a", kept(idempotency_key="k"))
    assert not (await publish(node, "a", kept(idempotency_key="k"), channel="other")).suppressed


@pytest.mark.parametrize("size", [0, 10])
async def test_a_version_that_is_not_above_the_stored_one_is_dropped(node: Node, size: int) -> None:
    await node.broker.subscribe("news")
    fresh = await publish(node, "v5", kept(size, version=5))
    assert not fresh.suppressed
    for version in (5, 4):
        old = await publish(node, "old", kept(size, version=version))
        assert old == PublishResult(fresh.offset, fresh.epoch, suppressed=True)
    assert not (await publish(node, "v6", kept(size, version=6))).suppressed
    await quiet(node)
    assert node.events.data("news") == [b'"v5"', b'"v6"']


async def test_version_0_is_no_version(node: Node) -> None:
    await publish(node, "v5", kept(version=5))
    assert (await publish(node, "unversioned", kept())).offset == 2
    assert (await publish(node, "v5 again", kept(version=5))).suppressed


async def test_a_new_version_epoch_starts_the_versions_again(node: Node) -> None:
    await publish(node, "a", kept(version=9, version_epoch="one"))
    assert (await publish(node, "b", kept(version=9, version_epoch="one"))).suppressed
    assert not (await publish(node, "c", kept(version=1, version_epoch="two"))).suppressed
    assert (await publish(node, "d", kept(version=1, version_epoch="two"))).suppressed
    assert (await publish(node, "e", kept(version=1))).suppressed


async def test_a_version_of_64_bits_is_compared_exactly(node: Node) -> None:
    assert not (await publish(node, "a", kept(version=2**63 - 2))).suppressed
    assert (await publish(node, "b", kept(version=2**63 - 2))).suppressed
    assert not (await publish(node, "c", kept(version=2**63 - 1))).suppressed


# ---------------------------------------------------------------------------- joins, leaves, control
async def test_joins_and_leaves_reach_the_subscribed(node: Node) -> None:
    info = ClientInfo("u1", "c1", chan_info=raw([1]))
    await node.broker.publish_join("news", info)
    await node.broker.subscribe("news")
    await node.broker.publish_join("news", info)
    await node.broker.publish_leave("news", info)
    await quiet(node)
    assert [(channel, got.user, got.client) for channel, got in node.events.joins] == [("news", "u1", "c1")]
    assert [(channel, bytes(got.chan_info)) for channel, got in node.events.leaves] == [("news", b"[1]")]


async def test_a_control_message_reaches_every_node_and_the_sender(world: World) -> None:
    nodes = [await world.node("a")]
    if world.many_nodes:
        nodes.append(await world.node("b"))
    await nodes[0].broker.publish_control(b"\x00hello\r\n")
    for node in nodes:
        await until(lambda node=node: bool(node.events.control), "control")
        assert node.events.control == [b"\x00hello\r\n"]


async def test_a_control_message_to_one_node_reaches_that_node_alone(world: World) -> None:
    node = await world.node("a")
    await node.broker.publish_control(b"not for me", "b")
    await node.broker.publish_control(b"for me", "a")
    await until(lambda: bool(node.events.control), "control")
    assert node.events.control == [b"for me"]


# ---------------------------------------------------------------------------- life
async def test_a_started_broker_has_no_problem_and_a_closed_one_has(world: World) -> None:
    node = await world.node()
    assert node.broker.problem == ""
    await node.broker.close()
    await node.broker.close()
    assert node.broker.problem
