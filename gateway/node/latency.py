"""How long a publication takes from its publisher's call to the last subscriber's socket, by samples.

A few publications a second are followed, all others cost one look at a flag: nothing is added per message.
A sample is a mark that stands in the outboxes' queue behind the subscribers of its publication; it is flushed
as they are, and by then all of them have been written to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.metrics import Metrics
from gateway.outbox import Outboxes

PAUSE: Final = 0.2
"""Seconds from the end of one sample to the next."""
WINDOW: Final = 60.0
"""Seconds that a sample counts in `recent`."""
KEPT: Final = 256
"""Samples that are remembered at most; PAUSE and WINDOW allow more than this only in theory."""
PATIENCE: Final = 1.0
"""Seconds after which a publication that has not come back from the broker is followed no longer."""

CallLater = Callable[[float, Callable[[], None]], object]


class LatencySampler:
    """Follows some publications from `published` (or from the broker's event) to the last socket.

    Attributes:
        wanted: whether the next publication is to be followed. Looked at once per publication.
    """

    __slots__ = ("_call_later", "_clock", "_metrics", "_outboxes", "_pending", "_recent", "wanted")

    def __init__(self, outboxes: Outboxes, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.wanted = False
        self._outboxes = outboxes
        self._metrics = metrics
        self._clock = clock
        self._call_later: CallLater | None = None
        self._pending: tuple[str, bytes, float] | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def start(self, call_later: CallLater) -> None:
        """Begin to sample; `call_later` is the event loop's."""
        self._call_later = call_later
        self.wanted = True

    def stop(self) -> None:
        """No further samples."""
        self._call_later = None
        self.wanted = False

    def published(self, channel: str, data: bytes) -> None:
        """This node publishes: the clock of the sample starts here, before the broker."""
        now = self._clock()
        if self._pending is None or now - self._pending[2] > PATIENCE:
            self._pending = (channel, data, now)

    def handed_on(self, channel: str, data: bytes) -> None:
        """A publication has been put into the outboxes of its subscribers, all of them, in this turn."""
        now = since = self._clock()
        pending = self._pending
        if pending is not None and now - pending[2] <= PATIENCE:
            if pending[0] != channel or pending[1] != data:
                return  # another one; the one that is followed is still on its way
            since = pending[2]
        self._pending = None
        self.wanted = False
        self._outboxes.mark(_Mark(self, since))

    def written(self, since: float) -> None:
        """The last subscriber of the sampled publication has been written to."""
        now = self._clock()
        self._recent.append((now, now - since))
        self._metrics.delivery(now - since)
        if self._call_later is not None:
            self._call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self.wanted = self._call_later is not None

    def recent(self) -> list[float]:
        """The samples of the last `WINDOW` seconds, in seconds, sorted."""
        oldest = self._clock() - WINDOW
        return sorted(seconds for at, seconds in self._recent if at >= oldest)


class _Mark:
    """A `Sink` without a socket: it is flushed when those before it were."""

    __slots__ = ("_sampler", "_since", "outbox")

    def __init__(self, sampler: LatencySampler, since: float) -> None:
        self.outbox: list[bytes] = []
        self._sampler = sampler
        self._since = since

    def flush(self) -> None:
        """See `outbox.Sink`."""
        self._sampler.written(self._since)
