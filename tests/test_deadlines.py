"""Deadlines against a plain dictionary: none early, none more than a tick late, none twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.deadlines import Deadlines

items = st.integers(0, 7)


class DeadlinesMachine(RuleBasedStateMachine):
    @initialize(tick=st.sampled_from([0.1, 0.25, 1.0, 7.0]), now=st.floats(0, 1e6))
    def begin(self, tick: float, now: float) -> None:
        self.tick = tick
        self.now = now
        self.swept = now
        self.deadlines: Deadlines[int] = Deadlines(tick, now)
        self.model: dict[int, float] = {}

    @rule(item=items, after=st.floats(-20, 60))
    def set(self, item: int, after: float) -> None:
        due = max(0.0, self.now + after)
        self.deadlines.set(item, due)
        self.model[item] = due

    @rule(item=items)
    def discard(self, item: int) -> None:
        self.deadlines.discard(item)
        self.model.pop(item, None)

    @rule(seconds=st.floats(0, 30) | st.just(0.0) | st.floats(0, 1e5))
    def sweep(self, seconds: float) -> None:
        self.now += seconds
        due = self.deadlines.due(self.now)
        assert len(due) == len(set(due))
        for item in due:
            assert self.model.pop(item) <= self.now, "too early"
        for item, deadline in self.model.items():
            assert deadline + self.tick > self.now or self.now - self.swept < self.tick, f"{item} is late"
        self.swept = self.now

    @rule(seconds=st.floats(0.1, 5))
    def sweep_in_the_past(self, seconds: float) -> None:
        early = self.deadlines.due(max(0.0, self.now - seconds))
        assert all(self.model.pop(item) <= self.now for item in early)

    @invariant()
    def remembers_just_those_that_are_not_due(self) -> None:
        if hasattr(self, "model"):
            assert len(self.deadlines) == len(self.model)
            places = self.deadlines._places
            buckets = self.deadlines._buckets
            assert places == {item: place for place, bucket in buckets.items() for item in bucket}
            assert all(buckets.values()), "an empty bucket was kept"


TestDeadlinesAgreeWithAModel = DeadlinesMachine.TestCase
TestDeadlinesAgreeWithAModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(items, st.floats(0, 50), min_size=1), st.sampled_from([0.1, 0.3, 1.0]))
def test_swept_at_every_tick_nothing_is_more_than_a_tick_late(wanted: dict[int, float], tick: float) -> None:
    deadlines: Deadlines[int] = Deadlines(tick, 0.0)
    for item, due in wanted.items():
        deadlines.set(item, due)
    turn = 0
    while len(deadlines):
        turn += 1
        now = turn * tick
        for item in deadlines.due(now):
            assert 0 <= now - wanted[item] <= 2 * tick  # one for the wheel, one between two sweeps


def test_a_later_deadline_replaces_an_earlier_one_and_the_other_way_round() -> None:
    deadlines: Deadlines[str] = Deadlines(1.0, 0.0)
    deadlines.set("a", 2.0)
    deadlines.set("a", 9.0)
    assert deadlines.due(5.0) == []
    deadlines.set("a", 6.0)
    assert deadlines.due(7.5) == ["a"]
    assert deadlines.due(20.0) == []


def test_a_deadline_in_the_past_is_due_at_the_next_sweep() -> None:
    deadlines: Deadlines[str] = Deadlines(1.0, 100.0)
    deadlines.set("a", 3.0)
    assert deadlines.due(100.0) == ["a"]


@pytest.mark.parametrize("years", [1, 100])
def test_a_long_sleep_costs_buckets_not_ticks(years: int) -> None:
    deadlines: Deadlines[str] = Deadlines(0.001, 0.0)
    deadlines.set("a", 5.0)
    deadlines.set("b", years * 365 * 86400.0)
    assert deadlines.due(years * 365 * 86400.0 - 1) == ["a"]  # 30 billion ticks: by ticks it would not end
    assert len(deadlines) == 1
