"""Recovery against brute force: `recovered` is said if, and only if, nothing is missing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.node.recovery import Recovery, recover_cache, recover_stream
from gateway.protocol import Publication, StreamPosition, raw

THOROUGH = settings(max_examples=500, deadline=None)


@dataclass
class Stream:
    """A history: offsets 1 to `top` were published, those from `first` on are kept."""

    top: int
    first: int
    epoch: str

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.top, self.epoch)

    def kept(self) -> list[Publication]:
        return [Publication(raw(offset), offset=offset) for offset in range(self.first, self.top + 1)]

    def after(self, offset: int, limit: int) -> list[Publication]:
        """As a broker answers a query."""
        return [each for each in self.kept() if each.offset > offset][:limit]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    top = draw(st.integers(0, 12))
    return Stream(top, draw(st.integers(1, top + 1)), draw(st.sampled_from(["a", "b"])))


positions = st.builds(StreamPosition, st.integers(0, 14), st.sampled_from(["", "a", "b"]))


@THOROUGH
@given(streams(), positions, st.integers(1, 14))
def test_recovered_if_and_only_if_nothing_is_missing(
    stream: Stream, since: StreamPosition, limit: int
) -> None:
    recovery = recover_stream(since, stream.position, stream.after(since.offset, limit))

    same_stream = since.epoch in ("", stream.epoch)
    missed = list(range(since.offset + 1, stream.top + 1))
    sendable = {each.offset for each in stream.after(since.offset, limit)}
    complete = same_stream and since.offset <= stream.top and set(missed) <= sendable
    assert recovery.recovered is complete
    assert [each.offset for each in recovery.publications] == (missed if complete else [])


@THOROUGH
@given(streams(), positions, st.integers(1, 14))
def test_applying_a_recovery_leads_to_the_top(stream: Stream, since: StreamPosition, limit: int) -> None:
    recovery = recover_stream(since, stream.position, stream.after(since.offset, limit))
    offset = since.offset
    for publication in recovery.publications:
        assert publication.offset == offset + 1
        offset = publication.offset
    if recovery.recovered:
        assert offset == stream.top


def test_a_position_ahead_of_the_stream_is_not_recovered() -> None:
    assert recover_stream(StreamPosition(5, "a"), StreamPosition(3, "a"), []) == Recovery(recovered=False)


def test_the_position_that_asks_for_failure_fails() -> None:
    """SDKs send epoch `_` when they want to start anew."""
    stream = Stream(3, 1, "a")
    assert not recover_stream(StreamPosition(0, "_"), stream.position, stream.after(0, 9)).recovered


@THOROUGH
@given(streams(), positions)
def test_cache_recovery_gives_the_newest_unless_the_client_has_it(
    stream: Stream, since: StreamPosition
) -> None:
    kept = stream.kept()
    newest = kept[-1] if kept else None
    recovery = recover_cache(since, stream.position, newest)
    assert recovery.recovered is (newest is not None)
    has_it = newest is not None and since == StreamPosition(newest.offset, stream.epoch)
    assert recovery.publications == (() if newest is None or has_it else (newest,))


@pytest.mark.parametrize("since", [StreamPosition(), StreamPosition(3, "b"), StreamPosition(9, "a")])
def test_cache_recovery_serves_those_of_another_stream_too(since: StreamPosition) -> None:
    newest = Publication(raw("price"), offset=3)
    assert recover_cache(since, StreamPosition(3, "a"), newest) == Recovery(True, (newest,))


def test_cache_recovery_fails_where_the_newest_is_gone() -> None:
    newest = Publication(raw(1), offset=2)
    assert not recover_cache(StreamPosition(1, "a"), StreamPosition(3, "a"), newest).recovered
