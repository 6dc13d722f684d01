"""Into a channel and out of it, with a broker and a presence store that fail, hang and answer late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.brokers.base import History, HistoryFilter, PublishOptions
from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.client import Client
from gateway.errors import (
    DISCONNECT_NORMAL,
    ERROR_ALREADY_SUBSCRIBED,
    ERROR_UNRECOVERABLE_POSITION,
    ClientError,
    UpstreamError,
)
from gateway.node.membership import IDLE_BEFORE_UNSUBSCRIBE
from gateway.protocol import ClientInfo, Publication, StreamPosition, raw
from tests.rooms import Clock, House, Phone, quiet

NEWS = "news"
KEPT = PublishOptions(history_size=5, history_ttl=300.0)
OPTIONS: dict[str, Any] = {
    "presence": True,
    "join_leave": True,
    "force_push_join_leave": True,
    "history_size": 5,
    "history_ttl": 300,
    "force_recovery": True,
    "namespaces": {
        "plain": {},
        "quiet": {"presence": True, "join_leave": True},
        "kept": {"history_size": 5, "history_ttl": 300},
        "placed": {"history_size": 5, "history_ttl": 300, "force_positioning": True},
        "cache": {"history_size": 1, "history_ttl": 300, "force_recovery": True, "recovery_mode": "cache"},
        "fresh": {
            "history_size": 1,
            "history_ttl": 300,
            "force_recovery": True,
            "recovery_mode": "cache",
            "auto_cache_recover": True,
        },
    },
}


class Tap:
    """What stands between the node and a store: it fails where it is told to, or waits until it is let go."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.slow: set[str] = set()
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []

    async def __call__(self, operation: str) -> None:
        if operation in self.slow:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((operation, future))
            await future
        if operation in self.failing:
            raise UpstreamError(detail=f"{operation} failed")

    def let_go(self, place: int = 0) -> None:
        if self.waiting:
            _, future = self.waiting.pop(place % len(self.waiting))
            if not future.done():
                future.set_result(None)


class TappedBroker(MemoryBroker):
    """The memory broker behind a tap; it knows what it is subscribed to."""

    def __init__(self, clock: Clock, tap: Tap) -> None:
        super().__init__(clock, "n1")
        self.tap = tap
        self.subscribes = 0
        self.leaves: list[str] = []

    @property
    def subscribed(self) -> set[str]:
        return set(self._subscribed)

    async def subscribe(self, channel: str) -> None:
        await self.tap("subscribe")
        self.subscribes += 1
        await super().subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self.tap("unsubscribe")
        await super().unsubscribe(channel)

    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        await self.tap("history")
        return await super().history(channel, query, meta_ttl)

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        await self.tap("publish_join")
        await super().publish_join(channel, info)

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        await self.tap("publish_leave")
        self.leaves.append(info.client)
        await super().publish_leave(channel, info)


class TappedPresence(MemoryPresenceStore):
    """The memory store behind a tap; like a store at the other end of a connection it keeps the order."""

    def __init__(self, clock: Clock, tap: Tap) -> None:
        super().__init__(60.0, clock)
        self.tap = tap
        self.connection = asyncio.Lock()

    async def add(self, channel: str, client: str, info: ClientInfo) -> None:
        async with self.connection:
            await self.tap("add")
            await super().add(channel, client, info)

    async def remove(self, channel: str, client: str, user: str) -> None:
        async with self.connection:
            await self.tap("remove")
            await super().remove(channel, client, user)


class Stage:
    def __init__(self) -> None:
        self.tap = Tap()
        self.clock = Clock()
        self.broker = TappedBroker(self.clock, self.tap)
        self.presence = TappedPresence(self.clock, self.tap)
        self.house = House(self.broker, self.presence, clock=self.clock, channels=OPTIONS)

    async def __aenter__(self) -> Stage:
        await self.house.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.calm_down()
        await self.house.close()

    async def calm_down(self) -> None:
        """Nothing hangs or fails any more."""
        self.tap.slow.clear()
        self.tap.failing.clear()
        while self.tap.waiting:
            self.tap.let_go()
            await quiet()
        await quiet()

    def start(self, client: Client, channel: str = NEWS, **wishes: Any) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.house.subscribe(client, self.house.order(channel, **wishes)))

    async def subscribe(self, client: Client, channel: str = NEWS, **wishes: Any) -> dict[str, Any]:
        """The reply's result."""
        phone = client.sink
        assert isinstance(phone, Phone)
        before = len(phone.received)
        await self.house.subscribe(client, self.house.order(channel, **wishes))
        await quiet()
        result = phone.received[before]["subscribe"]
        assert isinstance(result, dict)
        return result

    def end(self, client: Client, channel: str = NEWS) -> None:
        self.house.membership.end(client.subscriptions[channel])

    async def idle(self) -> None:
        """A second passes, and what nobody listens to is closed."""
        self.clock.now += IDLE_BEFORE_UNSUBSCRIBE
        await self.house.membership.close_idle(self.clock.now)

    async def present(self, channel: str = NEWS) -> set[str]:
        return set(await self.presence.get(channel))

    async def nothing_is_left(self) -> None:
        await self.calm_down()
        await self.idle()
        await quiet()
        hub, membership = self.house.hub, self.house.membership
        assert hub.channels == {}
        assert hub.num_subscriptions == 0
        assert self.broker.subscribed == set()
        assert await self.present() == set()
        assert (membership._idle, membership._locks, membership._leaving) == ({}, {}, {})


# ---------------------------------------------------------------------------- in and out
async def test_the_first_one_in_subscribes_at_the_broker_and_the_last_one_out_leaves_it() -> None:
    async with Stage() as stage:
        first, second = stage.house.client("c1")[0], stage.house.client("c2")[0]
        await stage.subscribe(first)
        await stage.subscribe(second)
        assert (stage.broker.subscribed, stage.broker.subscribes) == ({NEWS}, 1)
        assert await stage.present() == {"c1", "c2"}
        stage.end(first)
        await quiet()
        await stage.idle()
        assert stage.broker.subscribed == {NEWS}
        stage.end(second)
        await quiet()
        assert stage.broker.subscribed == {NEWS}, "it may come back within a second"
        await stage.nothing_is_left()


async def test_the_joiner_hears_its_own_join_after_the_reply_and_others_hear_both() -> None:
    async with Stage() as stage:
        (ann, hers), (bob, his) = stage.house.client("c1", "ann"), stage.house.client("c2", "bob")
        await stage.subscribe(ann)
        await stage.subscribe(bob)
        assert [next(iter(set(m) - {"id"})) for m in his.received] == ["subscribe", "push"]
        assert his.received[1]["push"]["join"]["info"] == {"user": "bob", "client": "c2"}
        stage.house.leave(bob)
        await quiet()
        assert hers.received[-1]["push"] == {
            "channel": NEWS,
            "leave": {"info": {"user": "bob", "client": "c2"}},
        }
        assert [m for m in his.received if "leave" in m.get("push", {})] == []


async def test_joins_are_heard_by_those_who_ask_and_may() -> None:
    async with Stage() as stage:
        names = ("c1", "c2", "c3")
        wants, does_not, may_not = (stage.house.client(name) for name in names)
        await stage.subscribe(wants[0], "quiet:x", join_leave=True)
        await stage.subscribe(does_not[0], "quiet:x")
        await stage.subscribe(may_not[0], "quiet:x", join_leave=True, may_read_presence=False)
        heard = [[m for m in phone.received if "push" in m] for _, phone in (wants, does_not, may_not)]
        assert [len(each) for each in heard] == [3, 0, 0]


async def test_a_second_subscribe_of_a_client_is_refused_and_changes_nothing() -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        await stage.subscribe(client)
        with pytest.raises(ClientError) as caught:
            await stage.house.subscribe(client, stage.house.order(NEWS, server_side=True))
        assert caught.value.outcome is ERROR_ALREADY_SUBSCRIBED
        assert stage.house.hub.num_subscriptions == 1
        await stage.broker.publish(NEWS, Publication(raw(1)), KEPT)
        await quiet()
        assert len([m for m in phone.received if "pub" in m.get("push", {})]) == 1
        stage.house.leave(client)
        await stage.nothing_is_left()


async def test_of_two_subscribes_at_once_one_is_refused() -> None:
    """The client's own, and one by the server API."""
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        stage.tap.slow.add("history")
        tasks = [stage.start(client), stage.start(client, server_side=True)]
        await quiet()
        stage.tap.slow.clear()
        stage.tap.let_go()
        stage.tap.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [type(None), ClientError]
        assert stage.house.hub.num_subscriptions == 1
        assert stage.house.hub.channels[NEWS].positioned == 1
        stage.house.leave(client)
        await stage.nothing_is_left()


@pytest.mark.parametrize("rounds", [1, 2])
async def test_who_comes_back_while_its_leave_is_under_way_stays_present(rounds: int) -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        await stage.subscribe(client)
        for _ in range(rounds):
            stage.tap.slow.add("remove")
            stage.end(client)
            await quiet()
            again = [stage.start(client) for _ in range(2)]
            await quiet()
            assert NEWS not in client.subscriptions
            stage.tap.slow.clear()
            stage.tap.let_go()
            results = await asyncio.gather(*again, return_exceptions=True)
            assert results.count(None) == 1
            await quiet()
            assert await stage.present() == {"c1"}
        assert stage.house.hub.num_subscriptions == 1
        assert phone.ended is None
        stage.house.leave(client)
        await stage.nothing_is_left()


# ---------------------------------------------------------------------------- failures
@pytest.mark.parametrize("operation", ["subscribe", "add", "history"])
async def test_a_subscribe_that_fails_leaves_nothing_behind(operation: str) -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        stage.tap.failing.add(operation)
        with pytest.raises(UpstreamError, match=operation):
            await stage.house.subscribe(client, stage.house.order(NEWS))
        await quiet()
        assert client.subscriptions == {}
        assert phone.received == []
        assert stage.house.hub.num_subscriptions == 0
        assert await stage.present() == set()
        await stage.nothing_is_left()


@pytest.mark.parametrize("operation", ["subscribe", "add", "history"])
async def test_after_a_failure_the_next_one_succeeds(operation: str) -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        stage.tap.failing.add(operation)
        with pytest.raises(UpstreamError):
            await stage.house.subscribe(client, stage.house.order(NEWS))
        stage.tap.failing.clear()
        assert (await stage.subscribe(client))["positioned"]
        assert await stage.present() == {"c1"}
        assert stage.broker.subscribed == {NEWS}


async def test_joins_and_leaves_that_the_broker_cannot_take_are_lost_and_nothing_else() -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        stage.tap.failing |= {"publish_join", "publish_leave"}
        await stage.subscribe(client)
        assert list(client.subscriptions) == [NEWS]
        stage.house.leave(client)
        await quiet()
        assert await stage.present() == set()
        assert len(phone.received) == 1
        await stage.nothing_is_left()


async def test_presence_that_cannot_be_removed_ages_out_and_blocks_nobody() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        await stage.subscribe(client)
        stage.tap.failing.add("remove")
        stage.end(client)
        await quiet()
        assert await stage.present() == {"c1"}
        stage.tap.failing.clear()
        await stage.subscribe(client)
        stage.house.leave(client)
        await stage.nothing_is_left()


async def test_an_unsubscribe_that_the_broker_does_not_take_is_no_harm() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        await stage.subscribe(client)
        stage.end(client)
        stage.tap.failing.add("unsubscribe")
        await stage.idle()
        assert stage.house.hub.channels == {}
        stage.tap.failing.clear()
        await stage.subscribe(client)
        assert stage.broker.subscribes == 2, "the channel is not believed to be subscribed any more"


# ---------------------------------------------------------------------------- leaving meanwhile
@pytest.mark.parametrize("operation", ["subscribe", "add", "history"])
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_who_leaves_while_it_subscribes_leaves_nothing_behind(operation: str, fails: bool) -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        stage.tap.slow.add(operation)
        task = stage.start(client)
        await quiet()
        stage.house.leave(client)
        await quiet()
        if fails:
            stage.tap.failing.add(operation)
        stage.tap.slow.clear()
        stage.tap.let_go()
        with pytest.raises(UpstreamError if fails else ClientError) as caught:
            await task
        if isinstance(caught.value, ClientError):
            assert caught.value.outcome is DISCONNECT_NORMAL
        await quiet()
        assert phone.received == []
        await stage.nothing_is_left()


@pytest.mark.parametrize("operation", ["subscribe", "add", "history"])
async def test_a_subscribe_that_is_cancelled_leaves_nothing_behind(operation: str) -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        stage.tap.slow.add(operation)
        task = stage.start(client)
        await quiet()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await stage.nothing_is_left()


async def test_who_leaves_between_the_reply_and_its_join_is_not_announced() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        order = stage.house.order(NEWS)
        subscription, _ = await stage.house.membership.prepare(client, order)
        stage.house.leave(client)
        await stage.house.membership.announce(subscription, order.options)
        await quiet()
        assert stage.broker.leaves == []
        assert not subscription.announced


# ---------------------------------------------------------------------------- idle channels
async def test_a_channel_is_closed_at_the_broker_only_after_its_time() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        await stage.subscribe(client)
        stage.end(client)
        stage.clock.now += IDLE_BEFORE_UNSUBSCRIBE * 0.9
        await stage.house.membership.close_idle(stage.clock.now)
        assert stage.broker.subscribed == {NEWS}
        await stage.subscribe(client)
        stage.clock.now += IDLE_BEFORE_UNSUBSCRIBE
        await stage.house.membership.close_idle(stage.clock.now)
        assert (stage.broker.subscribed, stage.broker.subscribes) == ({NEWS}, 1), "somebody came back"


async def test_who_comes_while_the_channel_is_being_closed_is_subscribed() -> None:
    async with Stage() as stage:
        client, phone = stage.house.client("c1")
        await stage.subscribe(client)
        stage.end(client)
        stage.tap.slow.add("unsubscribe")
        stage.clock.now += 2
        closing = asyncio.ensure_future(stage.house.membership.close_idle(stage.clock.now))
        await quiet()
        task = stage.start(client)
        await quiet()
        stage.tap.slow.clear()
        stage.tap.let_go()
        await asyncio.gather(closing, task)
        assert stage.broker.subscribed == {NEWS}
        await stage.broker.publish(NEWS, Publication(raw(1)), KEPT)
        await quiet()
        assert phone.received[-1]["push"]["pub"]["data"] == 1
        stage.house.leave(client)
        await stage.nothing_is_left()


async def test_who_comes_and_goes_while_the_channel_is_being_closed_leaves_nothing_behind() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        await stage.subscribe(client)
        stage.end(client)
        await quiet()
        stage.tap.slow.add("unsubscribe")
        stage.clock.now += 2
        closing = asyncio.ensure_future(stage.house.membership.close_idle(stage.clock.now))
        await quiet()
        task = stage.start(client)
        await quiet()
        stage.house.leave(client)
        stage.tap.slow.clear()
        stage.tap.let_go()
        await asyncio.wait({closing, task})
        assert isinstance(task.exception(), ClientError)
        await stage.nothing_is_left()


async def test_who_comes_just_before_an_idle_channel_is_closed_keeps_it_open() -> None:
    """The close waits for a subscribe whose client has left; the next one comes between the two."""
    async with Stage() as stage:
        gone, stays = stage.house.client("c1")[0], stage.house.client("c2")[0]
        stage.tap.slow.add("subscribe")
        first = stage.start(gone)
        await quiet()
        stage.house.leave(gone)
        stage.clock.now += 2
        closing = asyncio.ensure_future(stage.house.membership.close_idle(stage.clock.now))
        await quiet()
        stage.tap.slow.clear()
        stage.tap.let_go()
        second = stage.start(stays)
        await asyncio.wait({first, second, closing})
        assert second.exception() is None
        assert stage.house.hub.channels[NEWS].subscribed
        assert (stage.broker.subscribed, stage.broker.subscribes) == ({NEWS}, 1)
        stage.house.leave(stays)
        await stage.nothing_is_left()


async def test_one_slow_subscribe_serves_everybody_who_waits_for_it() -> None:
    async with Stage() as stage:
        stage.tap.slow.add("subscribe")
        tasks = [stage.start(stage.house.client(f"c{number}")[0]) for number in range(20)]
        await quiet()
        stage.tap.slow.clear()
        stage.tap.let_go()
        await asyncio.gather(*tasks)
        assert stage.broker.subscribes == 1
        assert len(stage.house.hub.channels[NEWS]) == 20


class Crowd:
    """Three places that clients come to and leave, while operations hang and fail."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.number = 0
        self.clients = [self._new() for _ in range(3)]
        self.tasks: list[asyncio.Future[Any]] = []

    def _new(self) -> Client:
        self.number += 1
        return self.stage.house.client(f"c{self.number}")[0]

    def come(self, place: int) -> None:
        if not self.clients[place % 3].is_open:
            self.clients[place % 3] = self._new()
        self.tasks.append(self.stage.start(self.clients[place % 3]))

    def go(self, place: int) -> None:
        """Leave the channel, or altogether."""
        client = self.clients[place % 3]
        if place < 3 and NEWS in client.subscriptions:
            self.stage.end(client)
        else:
            self.stage.house.leave(client)

    def let_go(self, place: int) -> None:
        self.stage.tap.let_go(place)

    def close(self, _place: int) -> None:
        self.stage.clock.now += 2
        closing = self.stage.house.membership.close_idle(self.stage.clock.now)
        self.tasks.append(asyncio.ensure_future(closing))

    def fail(self, _place: int) -> None:
        self.stage.tap.failing |= {"subscribe", "history", "add"}

    def heal(self, _place: int) -> None:
        self.stage.tap.failing.clear()

    async def finish(self) -> None:
        stage = self.stage
        await stage.calm_down()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert result is None or isinstance(result, (ClientError, UpstreamError)), repr(result)
        await quiet()
        inside = {each.id for each in self.clients if NEWS in each.subscriptions}
        assert await stage.present() == inside
        assert stage.house.hub.num_subscriptions == len(inside)
        if inside:
            channel = stage.house.hub.channels[NEWS]
            assert len(channel) == channel.positioned == len(inside)
            assert channel.subscribed
            assert stage.broker.subscribed == {NEWS}
        for client in self.clients:
            stage.house.leave(client)
        await stage.nothing_is_left()


Steps = list[tuple[str, int]]


@settings(max_examples=150, deadline=None)
@given(
    st.sets(st.sampled_from(["subscribe", "unsubscribe", "history", "add", "remove", "publish_join"])),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["come", "come", "go", "go", "let go", "let go", "let go", "close", "fail", "heal"]
            ),
            st.integers(0, 5),
        ),
        max_size=30,
    ),
)
def test_whatever_happens_hub_and_broker_and_presence_agree(slow: set[str], steps: Steps) -> None:
    async def scenario() -> None:
        async with Stage() as stage:
            stage.tap.slow |= slow
            crowd = Crowd(stage)
            for what, place in steps:
                getattr(crowd, what.replace(" ", "_"))(place)
                await quiet(8)
            await crowd.finish()

    asyncio.run(scenario())


# ---------------------------------------------------------------------------- positions and recovery
async def test_what_a_subscriber_is_granted() -> None:
    async with Stage() as stage:

        async def result(channel: str, **wishes: Any) -> dict[str, Any]:
            client, _ = stage.house.client(f"c{stage.clock.now}")
            stage.clock.now += 1
            given = await stage.subscribe(client, channel, **wishes)
            return {key: value for key, value in given.items() if key in ("positioned", "recoverable")}

        assert await result("plain:x", positioned=True, recoverable=True) == {}
        assert await result("kept:x") == {}
        assert await result("kept:x", positioned=True) == {"positioned": True}
        assert await result("kept:x", recoverable=True) == {"positioned": True, "recoverable": True}
        assert await result("placed:x") == {"positioned": True}
        assert await result(NEWS) == {"positioned": True, "recoverable": True}
        assert await result("kept:x", positioned=True, recoverable=True, may_read_history=False) == {}


@pytest.mark.parametrize(
    ("offset", "epoch", "recovered", "offsets"),
    [
        (7, "", True, []),
        (5, "", True, [6, 7]),
        (2, "", True, [3, 4, 5, 6, 7]),
        (1, "", False, None),
        (9, "", False, None),
        (5, "other", False, None),
        (0, "_", False, None),
    ],
)
async def test_who_comes_back_gets_what_it_missed_or_is_told_that_it_is_gone(
    offset: int, epoch: str, recovered: bool, offsets: list[int] | None
) -> None:
    async with Stage() as stage:
        for number in range(1, 8):
            top = await stage.broker.publish(NEWS, Publication(raw(number)), KEPT)
        client, _ = stage.house.client("c1")
        result = await stage.subscribe(client, since=StreamPosition(offset, epoch))
        assert result["was_recovering"]
        assert result.get("recovered", False) is recovered
        assert result["epoch"] == top.epoch
        assert result["offset"] == (offset if recovered else 7)
        assert [each["offset"] for each in result.get("publications", [])] == (offsets or [])


async def test_who_insists_on_recovery_is_refused_rather_than_subscribed_without() -> None:
    async with Stage() as stage:
        client, _ = stage.house.client("c1")
        for channel in (NEWS, "plain:x", "kept:x"):
            order = stage.house.order(channel, since=StreamPosition(3, "gone"), only_recovered=True)
            with pytest.raises(ClientError) as caught:
                await stage.house.subscribe(client, order)
            assert caught.value.outcome is ERROR_UNRECOVERABLE_POSITION
        await stage.nothing_is_left()


async def test_cache_recovery_gives_the_newest_alone() -> None:
    async with Stage() as stage:
        position = await stage.broker.publish("cache:x", Publication(raw("old")), KEPT)
        position = await stage.broker.publish("cache:x", Publication(raw("new")), KEPT)
        clients = [stage.house.client(f"c{number}")[0] for number in range(4)]
        missed = await stage.subscribe(clients[0], "cache:x", since=StreamPosition(0, "_"))
        assert [each["data"] for each in missed["publications"]] == ["new"]
        knows = StreamPosition(position.offset, position.epoch)
        known = await stage.subscribe(clients[1], "cache:x", since=knows)
        assert known["recovered"]
        assert "publications" not in known
        unasked = await stage.subscribe(clients[2], "cache:x")
        assert not unasked.get("was_recovering")
        await stage.broker.publish("fresh:x", Publication(raw("price")), KEPT)
        fresh = await stage.subscribe(clients[3], "fresh:x")
        assert [each["data"] for each in fresh["publications"]] == ["price"]


async def test_the_reply_carries_expiry_and_data() -> None:
    async with Stage() as stage:
        for channel in (NEWS, "plain:x"):
            client, _ = stage.house.client(f"of {channel}")
            wishes = {"ttl": 60, "expires_at": 1060.0, "client_refresh": True, "data": raw({"a": 1})}
            result = await stage.subscribe(client, channel, **wishes)
            assert (result["expires"], result["ttl"], result["data"]) == (True, 60, {"a": 1})
            subscription = client.subscriptions[channel]
            assert (subscription.expires_at, subscription.client_refresh) == (1060.0, True)


# ---------------------------------------------------------------------------- presence stays alive
async def test_presence_is_refreshed_for_those_who_are_here_and_ages_out_for_the_rest() -> None:
    async with Stage() as stage:
        here, gone = stage.house.client("c1")[0], stage.house.client("c2")[0]
        await stage.subscribe(here)
        await stage.subscribe(gone)
        stage.tap.failing.add("remove")
        stage.house.leave(gone)
        await quiet()
        for _ in range(4):
            stage.clock.now += 27
            await stage.house.membership.refresh_presence()
        assert await stage.present() == {"c1"}
