"""The rules of who is here: the same in Python and in Lua, whatever happens; and what a backend sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.backend.base import USER_EVENTS, UserEvent
from gateway.brokers.redis_handshake import SCRIPT_COMMANDS
from gateway.brokers.redis_keys import Keys, Request
from gateway.brokers.redis_topology import Topology
from gateway.online.contract import Change, Outcome, Rules, Taken
from gateway.online.machine import Partition
from gateway.online.store import SCRIPT, RedisOnlineStore
from tests.gateway_process import ROOT
from tests.online_world import Replay
from tests.redis_server import RedisServer

START = 1_763_800_000_000
RULES = Rules(
    frozenset(USER_EVENTS),
    lease=10_000,
    claim=30_000,
    user_limit=3,
    total_limit=5,
    event_ttl=600_000,
    grace=5_000,
)
USERS, NODES, CHANNELS = ("ann", "bob"), ("n1", "n2"), ("", "chat:1")

Step = tuple[Any, ...]

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.sampled_from(NODES),
            st.sampled_from(("ann", *USERS)),
            st.sampled_from(("", "", *CHANNELS)),
            st.sampled_from(("f", "f", "h", "", "")),
            st.sampled_from(["left", "lost"]),
            st.sampled_from([0, 3_000]),
        ),
        st.tuples(st.just("sweep"), st.sampled_from(NODES), st.sampled_from([100, 2_000, 4_000, 11_000])),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("settle"), st.booleans()),
    ),
    min_size=20,
    max_size=60,
)


class Python:
    """The machine, driven by steps."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.partition = Partition(rules, "epoch")
        self.now = START
        self.open: list[Taken] = []

    def run(self, step: Step) -> object:
        match step:
            case "put", node, user, channel, flag, reason, grace:
                if channel and flag == "h":
                    flag = "f"
                reply = self.partition.put(node, [Change(user, channel, flag, reason, grace)], self.now)
                return reply[:3]
            case "sweep", node, passed:
                self.now += passed
                swept = self.partition.sweep(node, self.now, 100)
                while swept.more:
                    swept = self.partition.sweep(node, self.now, 100)
                return swept[3:10]
            case "take", limit:
                self.open += (taken := self.partition.take(limit, self.now))
                return [without_ids(each) for each in taken]
            case "settle", ok:
                outcomes = [Outcome(each.event.user, each.event.id, ok, 1_000) for each in self.open]
                self.open.clear()
                return self.partition.settle(outcomes, self.now)
        raise AssertionError(step)

    def states(self) -> list[tuple[Any, ...]]:
        return [(each.user, each.state, each.at) for each in self.partition.states(USERS)]


class InRedis:
    """The same steps in Lua; ids are given in another order where a sweep meets several users."""

    def __init__(self, server: RedisServer) -> None:
        server.command("FLUSHALL")
        self.now, self.open = START, list[Taken]()
        self.store = RedisOnlineStore(cast("Topology", Direct(server)), RULES, wall=lambda: self.now / 1000)

    @staticmethod
    def _wait(call: Coroutine[Any, Any, Any]) -> Any:
        """Nothing in it really waits, so it needs no loop."""
        with pytest.raises(StopIteration) as ended:
            call.send(None)
        return ended.value.value

    def run(self, step: Step) -> object:
        store = self.store
        match step:
            case "put", node, user, channel, flag, reason, grace:
                if channel and flag == "h":
                    flag = "f"
                return self._wait(store.put(0, node, [Change(user, channel, flag, reason, grace)], 0))[:3]
            case "sweep", node, passed:
                self.now += passed
                reply = self._wait(store.sweep(0, node, 100, 0))
                while reply.more:
                    reply = self._wait(store.sweep(0, node, 100, 0))
                return reply[3:10]
            case "take", limit:
                self.open += (taken := self._wait(store.take(0, limit)))
                return [without_ids(each) for each in taken]
            case "settle", ok:
                outcomes = [Outcome(each.event.user, each.event.id, ok, 1_000) for each in self.open]
                self.open.clear()
                return self._wait(store.settle(0, outcomes))
        raise AssertionError(step)

    def states(self) -> list[tuple[Any, ...]]:
        return [(each.user, each.state, each.at) for each in self._wait(self.store.states(0, USERS))]


class Direct:
    """A topology of one server, with a plain client: what is tested is the script."""

    def __init__(self, server: RedisServer) -> None:
        self.keys = Keys("test")
        self._client = server.client()

    async def call(self, _channel: str, request: Request) -> Any:
        assert request.script is not None
        return self._client.execute_command("EVAL", request.script.source, *request.words)  # type: ignore[no-untyped-call]


def without_ids(taken: Taken) -> tuple[object, ...]:
    event = taken.event
    return event.user, event.event, event.at, event.reason, event.channel, taken.failures


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_python_and_lua_do_the_same(redis: RedisServer, steps: list[Step]) -> None:
    one, other = Python(), InRedis(redis)
    for step in steps:
        assert one.run(step) == other.run(step), step
        assert one.states() == other.states(), step


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_what_the_backend_saw_leads_to_what_is_so(steps: list[Step]) -> None:
    """Deliveries fail or come twice, queues are compacted: the order holds, and in the end all is told."""
    world, backend = Python(), Replay()
    for step in steps:
        before = list(world.open)
        world.run(step)
        for each in world.open[len(before) :] if step[0] == "take" else []:
            backend.take(each.event)
    deliver_everything(world, backend.take)
    assert backend.states() == {user: state for user, state, _ in world.states() if state != "gone"}


def deliver_everything(world: Python, take: Callable[[UserEvent], None]) -> None:
    world.now += RULES.claim + 1
    while taken := world.partition.take(10, world.now):
        for each in taken:
            take(each.event)
        world.partition.settle([Outcome(each.event.user, each.event.id, True) for each in taken], world.now)
    assert not world.partition.queued
    assert not world.partition.ready


@settings(max_examples=50, deadline=None)
@given(steps=steps)
def test_nothing_is_kept_of_users_who_are_gone(steps: list[Step]) -> None:
    world = Python()
    for step in steps:
        world.run(step)
    for node in NODES:
        for user in USERS:
            for channel in CHANNELS:
                world.run(("put", node, user, channel, "", "left", 0))
    for _ in range(4):
        world.run(("sweep", "n1", 4_000))
    deliver_everything(world, lambda event: None)
    assert not world.partition.users
    assert not world.partition.due
    assert world.partition.counts["online"] == world.partition.counts["background"] == 0


def test_the_documentation_names_every_command_that_redis_must_permit() -> None:
    used = set(re.findall(r"redis\.call\('([A-Z]+)'", SCRIPT.source))
    page = (ROOT / "docs/redis.md").read_text(encoding="utf-8")
    assert f"keep track of users also `{' '.join(sorted(used - set(SCRIPT_COMMANDS.split())))}`" in page
