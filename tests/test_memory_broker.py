"""What only the memory broker promises: no waiting, forgetting in bounded steps; and a model of a stream."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.brokers import memory
from gateway.brokers.base import History, HistoryFilter, PresenceStats, PublishOptions, PublishResult
from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.errors import UpstreamError
from gateway.protocol import ClientInfo, Publication, StreamPosition, raw
from tests.broker_worlds import Recorder

T = TypeVar("T")

FOREVER = 1e9


def done(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("the coroutine waited")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_operation_suspends() -> None:
    broker, events, info = MemoryBroker(), Recorder(), ClientInfo("u", "c")
    done(broker.start(events))
    done(broker.subscribe("news"))
    options = PublishOptions(history_size=3, history_ttl=9, idempotency_key="k", version=1)
    done(broker.publish("news", Publication(raw(1)), options))
    assert events.offsets("news") == [1]
    done(broker.publish_join("news", info))
    done(broker.publish_leave("news", info))
    done(broker.publish_control(b"x"))
    done(broker.history("news", HistoryFilter(-1), 9))
    done(broker.remove_history("news"))
    done(broker.unsubscribe("news"))
    done(broker.close())


def test_a_broker_that_is_not_started_says_so() -> None:
    broker = MemoryBroker()
    assert broker.problem
    with pytest.raises(UpstreamError, match="not started") as caught:
        done(broker.publish("news", Publication(raw(1)), PublishOptions()))
    assert caught.value.error.temporary


def test_sweep_frees_what_has_expired_without_being_touched() -> None:
    clock = Clock()
    broker = MemoryBroker(clock)
    done(broker.start(Recorder()))
    options = PublishOptions(history_size=3, history_ttl=10, meta_ttl=100, idempotency_key="k")
    for number in range(50):
        done(broker.publish(f"c{number}", Publication(raw(1)), options))
    clock.now = 11
    broker.sweep(clock.now)
    assert all(not stream.items for stream in broker._streams.values())
    assert len(broker._streams) == len(broker._to_sweep) == 50
    clock.now = memory.IDEMPOTENCY_TTL
    broker.sweep(clock.now)
    assert not broker._streams
    assert not broker._to_sweep
    assert not broker._results


def test_one_sweep_looks_at_a_bounded_number_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SWEEP_BATCH", 10)
    clock = Clock()
    broker = MemoryBroker(clock)
    done(broker.start(Recorder()))
    for number in range(25):
        options = PublishOptions(1, 1, 1, idempotency_key=str(number))
        done(broker.publish(f"c{number}", Publication(raw(1)), options))
    clock.now = 1000.0
    left = []
    for _ in range(4):
        broker.sweep(clock.now)
        left.append((len(broker._streams), len(broker._results)))
    assert left == [(15, 15), (5, 5), (0, 0), (0, 0)]


def test_a_remembered_result_expires_after_five_minutes() -> None:
    clock = Clock()
    broker = MemoryBroker(clock)
    done(broker.start(Recorder()))
    options = PublishOptions(history_size=3, history_ttl=FOREVER, idempotency_key="k")

    def publish() -> PublishResult:
        return done(broker.publish("news", Publication(raw(1)), options))

    publish()
    clock.now = 299.0
    assert publish().suppressed
    clock.now = 300.0
    assert publish().offset == 2
    clock.now = 599.0
    assert publish().suppressed


def test_remembered_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDEMPOTENCY_LIMIT", 3)
    broker = MemoryBroker()
    done(broker.start(Recorder()))

    def publish(key: str) -> PublishResult:
        options = PublishOptions(history_size=9, history_ttl=FOREVER, idempotency_key=key)
        return done(broker.publish("news", Publication(raw(1)), options))

    for key in "abcd":
        publish(key)
    assert len(broker._results) == 3
    assert publish("d").suppressed
    assert not publish("a").suppressed


def test_presence_sweep_frees_channels_that_nobody_asks_about() -> None:
    clock = Clock()
    store = MemoryPresenceStore(60, clock)
    for number in range(10):
        done(store.add(f"c{number}", "client", ClientInfo("u", "client")))
    done(store.remove("c0", "client", "u"))
    store.sweep(clock.now)
    assert len(store._channels) == 9
    clock.now = 60.0
    assert done(store.stats("c1")) == PresenceStats(0, 0)
    store.sweep(clock.now)
    assert not store._channels
    done(store.add("c1", "client", ClientInfo("u", "client")))
    assert done(store.stats("c1")) == PresenceStats(1, 1)


class StreamMachine(RuleBasedStateMachine):
    """The stream of one channel against a model: a list of (offset, value, version rules) and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.events = Recorder()
        self.broker = MemoryBroker(self.clock)
        done(self.broker.start(self.events))
        done(self.broker.subscribe("c"))
        self.items: list[tuple[int, int]] = []
        self.heard: list[tuple[int, int]] = []
        self.top = 0
        self.items_end = self.meta_end = -1.0
        self.epoch: str | None = None
        self.results: dict[str, tuple[float, PublishResult]] = {}
        self.value = 0

    def age(self) -> None:
        if self.meta_end <= self.clock.now:
            self.top, self.items, self.epoch = 0, [], None
        if self.items_end <= self.clock.now:
            self.items = []

    def check_epoch(self, epoch: str) -> None:
        assert epoch
        assert self.epoch in (None, epoch)
        self.epoch = epoch

    @rule(
        size=st.integers(0, 4),
        ttl=st.sampled_from([0.0, 5.0, 20.0]),
        meta_ttl=st.sampled_from([3.0, 30.0, 200.0]),
        key=st.sampled_from(["", "", "a", "b"]),
    )
    def publish(self, size: int, ttl: float, meta_ttl: float, key: str) -> None:
        self.age()
        self.value += 1
        options = PublishOptions(size, ttl, meta_ttl, idempotency_key=key)
        got = done(self.broker.publish("c", Publication(raw(self.value)), options))
        end, earlier = self.results.get(key, (-1.0, PublishResult()))
        if key and end > self.clock.now:
            assert got == PublishResult(earlier.offset, earlier.epoch, suppressed=True)
            return
        if key:
            self.results[key] = (self.clock.now + 300.0, got)
        if not size or not ttl:
            assert got == PublishResult()
            self.heard.append((0, self.value))
            return
        self.top += 1
        self.items = [*self.items, (self.top, self.value)][-size:]
        self.items_end = self.clock.now + ttl
        self.meta_end = self.clock.now + max(ttl, meta_ttl)
        assert (got.offset, got.suppressed) == (self.top, False)
        self.check_epoch(got.epoch)
        self.heard.append((self.top, self.value))

    @rule(limit=st.integers(-1, 5), since=st.none() | st.integers(0, 12), reverse=st.booleans())
    def history(self, limit: int, since: int | None, reverse: bool) -> None:
        self.age()
        position = None if since is None else StreamPosition(since)
        got: History = done(self.broker.history("c", HistoryFilter(limit, position, reverse), 10.0))
        self.meta_end = max(self.meta_end, self.clock.now + 10.0)
        expected = self.items[::-1] if reverse else self.items
        if since is not None:
            expected = [item for item in expected if (item[0] < since if reverse else item[0] > since)]
        expected = expected if limit < 0 else expected[:limit]
        assert [(item.offset, int(bytes(item.data))) for item in got.publications] == expected
        assert got.top.offset == self.top
        self.check_epoch(got.top.epoch)

    @rule()
    def remove(self) -> None:
        self.age()
        done(self.broker.remove_history("c"))
        self.items = []

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0, 40.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def sweep(self) -> None:
        self.broker.sweep(self.clock.now)

    @invariant()
    def every_publication_was_heard_once_and_in_order(self) -> None:
        heard = [(item.offset, int(bytes(item.data))) for _, item, _ in self.events.publications]
        assert heard == self.heard


TestStream = StreamMachine.TestCase
TestStream.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
