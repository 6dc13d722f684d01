"""The breaker protects an upstream that is down, and lets go as soon as it is up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.breaker import Breaker


def test_closed_until_the_threshold() -> None:
    breaker = Breaker(3, 10)
    breaker.failure(0)
    breaker.failure(0)
    assert breaker.allow(0)
    breaker.failure(0)
    assert breaker.is_open
    assert not breaker.allow(0)


def test_only_failures_in_a_row_count() -> None:
    breaker = Breaker(2, 10)
    breaker.failure(0)
    breaker.success()
    breaker.failure(0)
    assert not breaker.is_open


def test_one_probe_per_cooldown_while_open() -> None:
    breaker = Breaker(1, 10)
    breaker.failure(100)
    assert not breaker.allow(109.9)
    assert breaker.allow(110)
    assert [breaker.allow(now) for now in (110, 115, 119.9)] == [False] * 3


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = Breaker(1, 10)
    breaker.failure(100)
    assert breaker.allow(110)
    breaker.success()
    assert not breaker.is_open
    assert breaker.allow(110)
    assert breaker.allow(110)


def test_a_probe_that_fails_starts_the_cooldown_again() -> None:
    breaker = Breaker(1, 10)
    breaker.failure(100)
    assert breaker.allow(110)
    breaker.failure(113)
    assert not breaker.allow(122.9)
    assert breaker.allow(123)


def test_a_probe_that_never_reports_does_not_block_the_next() -> None:
    breaker = Breaker(1, 10)
    breaker.failure(100)
    assert breaker.allow(110)
    assert breaker.allow(120)


@pytest.mark.parametrize(("threshold", "cooldown"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_nonsense_is_refused(threshold: int, cooldown: float) -> None:
    with pytest.raises(ValueError, match="breaker"):
        Breaker(threshold, cooldown)


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "lost"]), st.floats(0, 5)), max_size=60))
def test_an_open_breaker_lets_one_call_through_per_cooldown(calls: list[tuple[str, float]]) -> None:
    """Whatever happens to the calls: while it stays open, two of them are at least a cooldown apart."""
    breaker = Breaker(2, 10)
    now, last_probe = 0.0, None
    for result, pause in calls:
        now += pause
        was_open = breaker.is_open
        if not breaker.allow(now):
            assert was_open
            continue
        if was_open:
            assert last_probe is None or now - last_probe >= 10
            last_probe = now
        if result == "ok":
            breaker.success()
            last_probe = None
        elif result == "fail":
            breaker.failure(now)
