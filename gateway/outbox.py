"""What waits to be written: one write per connection per turn of the loop, and no turn for too long.

uvloop writes at once and gathers nothing. So frames go into the connection's outbox, the first one of a turn
queues the connection, and one flush at the end of the turn writes each outbox with a single system call. Ten
publications in a turn cost one system call per subscriber.

No fan-out may hold the loop: a flush stops when its time slice is used up and goes on in the next turn, where
others have had theirs; and when a turn has filled many outboxes already, further fan-outs wait, in order.
A large one waits for the end of the turn from the start: what else is published to the same audience by then
is joined to it once, for all of them, and each outbox is touched once.
Connections that were written to for themselves - a reply, a ping - do not queue behind a fan-out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from gateway.metrics import Metrics

FLUSH_SLICE: Final = 0.003
"""Seconds that one flush may write before others get their turn."""
APPENDS_PER_TURN: Final = 10_000
"""Frames that may go into outboxes in one turn; 1 to 2 ms."""
LARGE: Final = 100
"""Connections from which a fan-out waits for the end of the turn, for others to the same audience."""
JOINED_BYTES: Final = 1_048_576
"""Bytes of frames that are joined at most; what is more makes a fan-out of its own."""
_CLOCK_EVERY: Final = 16
"""Writes between two looks at the clock; a write costs 5-10 µs."""


class Sink(Protocol):
    """A connection, as seen from here."""

    outbox: list[bytes]

    def flush(self) -> None:
        """Write the outbox and empty it. Never raises; a closed connection just empties it."""


class Late:
    """A fan-out that waits: frames for those who were in the audience when the first of them came."""

    __slots__ = ("audience", "count", "frames", "members", "memberships", "size")

    def __init__(self, audience: Mapping[Sink, object], frame: bytes) -> None:
        self.audience = audience
        self.members = tuple(audience)
        self.memberships = tuple(audience.values())
        self.frames = [frame]
        self.count = 1
        self.size = len(frame)

    def unchanged(self) -> bool:
        """Whether all who were there still are, and nobody else; a subscription has but one connection."""
        return self.memberships == tuple(self.audience.values())

    def take(self, audience: Mapping[Sink, object], frame: bytes) -> bool:
        """One more frame for the very same connections; whether that was possible."""
        if audience is not self.audience or self.size >= JOINED_BYTES or not self.unchanged():
            return False
        self.frames.append(frame)
        self.count += 1
        self.size += len(frame)
        return True

    def portion(self, most: int) -> Collection[Sink]:
        """Up to so many of the connections that are still to be served; they are not there any more then."""
        if len(self.members) <= most and self.unchanged():
            self.members = self.memberships = ()
            return self.audience
        pairs = zip(self.members[:most], self.memberships, strict=False)
        there = [sink for sink, membership in pairs if self.audience.get(sink) is membership]
        self.members, self.memberships = self.members[most:], self.memberships[most:]
        return there

    def join(self) -> bytes:
        """All frames as one, made once for all connections."""
        if len(self.frames) > 1:
            self.frames = [b"".join(self.frames)]
        return self.frames[0]


class Outboxes:
    """The outboxes of all connections of one event loop.

    Arguments:
        call_soon: runs a function in the loop's next turn.
        clock: seconds, monotonic.
    """

    __slots__ = (
        "_appended",
        "_call_soon",
        "_clock",
        "_dirty",
        "_metrics",
        "_prompt",
        "_scheduled",
        "_waiting",
    )

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._call_soon = call_soon
        self._clock = clock
        self._prompt: deque[Sink] = deque()
        self._dirty: deque[Sink] = deque()
        self._waiting: deque[Late] = deque()
        self._appended = 0
        self._scheduled = False
        self._metrics = metrics

    @property
    def backlog(self) -> int:
        """Connections and fan-outs that wait for their turn."""
        return len(self._prompt) + len(self._dirty) + len(self._waiting)

    def post(self, sink: Sink, frame: bytes) -> None:
        """One frame for one connection. It may already wait for a fan-out's turn: now it comes sooner."""
        sink.outbox.append(frame)
        prompt = self._prompt
        if not prompt or prompt[-1] is not sink:
            prompt.append(sink)
            if not self._scheduled:
                self._schedule()

    def fan_out(self, audience: Mapping[Sink, object], frame: bytes) -> None:
        """One frame for every connection in `audience` (connection -> its subscription).

        The audience may change before a late part is served: who has left by then gets nothing, and who has
        come since gets nothing either.
        """
        size = len(audience)
        if self._waiting or size >= LARGE or self._appended + size > APPENDS_PER_TURN:
            self._wait(audience, frame)
        else:
            self._fill(audience, frame)
            self._metrics.publications_delivered += size
        if not self._scheduled:
            self._schedule()

    def mark(self, sink: Sink) -> None:
        """Flush `sink` once everything that was fanned out before has been written."""
        if self._waiting:
            self._waiting.append(Late({sink: None}, b""))
        else:
            self._dirty.append(sink)
        if not self._scheduled:
            self._schedule()

    def _wait(self, audience: Mapping[Sink, object], frame: bytes) -> None:
        waiting = self._waiting
        if not (waiting and waiting[-1].take(audience, frame)):
            waiting.append(Late(audience, frame))

    def _fill(self, sinks: Collection[Sink], frame: bytes) -> None:
        add = self._dirty.append
        for sink in sinks:
            outbox = sink.outbox
            if not outbox:
                add(sink)
            outbox.append(frame)
        self._appended += len(sinks)

    def _schedule(self) -> None:
        self._scheduled = True
        self._call_soon(self._flush)

    def _flush(self) -> None:
        deadline = self._clock() + FLUSH_SLICE
        try:
            if not self._dirty:
                self._serve_waiting()
            self._write(self._prompt, deadline)
            self._write(self._dirty, deadline)
            self._appended = 0
        finally:  # one connection's bug must not silence all the others
            self._scheduled = False
            if self._prompt or self._dirty or self._waiting:
                self._schedule()

    def _write(self, sinks: deque[Sink], deadline: float) -> None:
        """Write until the deadline has passed; a little even then, so that no queue starves."""
        countdown = _CLOCK_EVERY
        while sinks:
            sinks.popleft().flush()
            countdown -= 1
            if not countdown:
                if self._clock() >= deadline:
                    return
                countdown = _CLOCK_EVERY

    def _serve_waiting(self) -> None:
        """Late fan-outs, a portion at a time, only to those who were there at the time and still are."""
        while self._waiting and self._appended < APPENDS_PER_TURN:
            late = self._waiting[0]
            if not late.size:  # a mark
                self._dirty.extend(late.members)
                self._waiting.popleft()
                continue
            sinks = late.portion(APPENDS_PER_TURN)
            self._fill(sinks, late.join())
            self._metrics.publications_delivered += len(sinks) * late.count
            if not late.members:
                self._waiting.popleft()
