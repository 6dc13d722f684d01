"""The embedded broker and presence store: one process, nothing installed, the same contract as Redis.

Nothing here waits: every operation is complete when its coroutine first runs, so a publication reaches
`on_publication` inside `publish`. What has expired is dropped when it is next touched; what is never touched
again is found by `sweep`, which looks at a bounded number of entries per call.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice

from gateway.brokers.base import (
    BrokerEvents,
    History,
    HistoryFilter,
    PresenceStats,
    PublishOptions,
    PublishResult,
)
from gateway.errors import UpstreamError
from gateway.protocol import ClientInfo, Publication, StreamPosition

IDEMPOTENCY_TTL = 300.0
"""Seconds for which the result of a publication with an idempotency key is remembered."""

IDEMPOTENCY_LIMIT = 100_000
"""Remembered results; past it the oldest are forgotten early, because memory is bounded and a repeat rare."""

SWEEP_BATCH = 2_000
"""Entries that one `sweep` looks at: about a millisecond."""

_NO_RESULT = PublishResult()


class _Stream:
    """The history of one channel: its items are contiguous and end at `top`."""

    __slots__ = ("epoch", "expires", "items", "meta_expires", "top", "version", "version_epoch")

    def __init__(self) -> None:
        self.items: deque[Publication] = deque()
        self.top = 0
        self.epoch = secrets.token_hex(4)
        self.expires = 0.0
        self.meta_expires = 0.0
        self.version = 0
        self.version_epoch = ""

    def is_old(self, options: PublishOptions) -> bool:
        """Whether the version of a publication is not above the stored one; remembers it if it is."""
        same_epoch = not options.version_epoch or options.version_epoch == self.version_epoch
        if same_epoch and options.version <= self.version:
            return True
        self.version = options.version
        self.version_epoch = options.version_epoch or self.version_epoch
        return False

    def append(self, publication: Publication, size: int) -> Publication:
        self.top += 1
        kept = Publication(publication.data, publication.info, self.top, publication.tags)
        self.items.append(kept)
        while len(self.items) > size:
            self.items.popleft()
        return kept

    def select(self, query: HistoryFilter) -> list[Publication]:
        """The items of `query`, in its order."""
        if not query.limit or not self.items:
            return []
        first = self.items[0].offset
        limit = len(self.items) if query.limit < 0 else query.limit
        if query.reverse:
            before = self.top + 1 if query.since is None else query.since.offset
            skip = max(0, self.top + 1 - before)
            return list(islice(reversed(self.items), skip, skip + limit))
        skip = 0 if query.since is None else max(0, query.since.offset + 1 - first)
        return list(islice(self.items, skip, skip + limit))


class MemoryBroker:
    """See `gateway.brokers.base.Broker`. `now` tells seconds; `node_id` is what control messages name."""

    def __init__(self, now: Callable[[], float] = time.monotonic, node_id: str = "") -> None:
        self._now = now
        self._node_id = node_id
        self._events: BrokerEvents | None = None
        self._subscribed: set[str] = set()
        self._streams: dict[str, _Stream] = {}
        self._to_sweep: deque[str] = deque()
        self._results: OrderedDict[tuple[str, str], tuple[float, PublishResult]] = OrderedDict()

    # ------------------------------------------------------------------ life
    async def start(self, events: BrokerEvents) -> None:
        self._events = events

    async def close(self) -> None:
        self._events = None
        self._subscribed.clear()

    @property
    def problem(self) -> str:
        return "" if self._events else "the broker is not started"

    # ------------------------------------------------------------------ publications
    async def subscribe(self, channel: str) -> None:
        self._started()
        self._subscribed.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        self._subscribed.discard(channel)

    async def publish(self, channel: str, publication: Publication, options: PublishOptions) -> PublishResult:
        events = self._started()
        if options.idempotency_key and (earlier := self._earlier_result(channel, options)):
            return earlier
        result, kept = self._append(channel, publication, options)
        if kept is None:
            return result
        if options.idempotency_key:
            self._remember_result(channel, options, result)
        if channel in self._subscribed:
            events.on_publication(channel, kept, result.epoch)
        return result

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        events = self._started()
        if channel in self._subscribed:
            events.on_join(channel, info)

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        events = self._started()
        if channel in self._subscribed:
            events.on_leave(channel, info)

    async def publish_control(self, message: bytes, node: str = "") -> None:
        events = self._started()
        if not node or not self._node_id or node == self._node_id:
            events.on_control(message)

    def _append(
        self, channel: str, publication: Publication, options: PublishOptions
    ) -> tuple[PublishResult, Publication | None]:
        """The result, and what subscribers are told; None: nothing, the version was old."""
        keeps = options.history_size > 0 and options.history_ttl > 0
        if not keeps and not options.version:
            if publication.offset:
                publication = Publication(publication.data, publication.info, 0, publication.tags)
            return _NO_RESULT, publication
        now = self._now()
        stream = self._stream(channel, now)
        stream.meta_expires = now + max(options.meta_ttl, options.history_ttl)
        if options.version and stream.is_old(options):
            position = (stream.top, stream.epoch) if keeps else (0, "")
            return PublishResult(*position, suppressed=True), None
        if not keeps:
            return _NO_RESULT, Publication(publication.data, publication.info, 0, publication.tags)
        stream.expires = now + options.history_ttl
        kept = stream.append(publication, options.history_size)
        return PublishResult(kept.offset, stream.epoch), kept

    def _earlier_result(self, channel: str, options: PublishOptions) -> PublishResult | None:
        expires, result = self._results.get((channel, options.idempotency_key), (0.0, _NO_RESULT))
        if expires <= self._now():
            return None
        return PublishResult(result.offset, result.epoch, suppressed=True)

    def _remember_result(self, channel: str, options: PublishOptions, result: PublishResult) -> None:
        key = (channel, options.idempotency_key)
        self._results[key] = (self._now() + IDEMPOTENCY_TTL, result)
        self._results.move_to_end(key)
        if len(self._results) > IDEMPOTENCY_LIMIT:
            self._results.popitem(last=False)

    # ------------------------------------------------------------------ history
    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        self._started()
        now = self._now()
        stream = self._stream(channel, now)
        stream.meta_expires = max(stream.meta_expires, now + meta_ttl)
        return History(StreamPosition(stream.top, stream.epoch), stream.select(query))

    async def remove_history(self, channel: str) -> None:
        self._started()
        if stream := self._streams.get(channel):
            stream.items.clear()

    def sweep(self, now: float) -> None:
        """Drop what has expired, among a bounded number of entries; call it about once a second."""
        for _ in range(min(SWEEP_BATCH, len(self._to_sweep))):
            channel = self._to_sweep.popleft()
            stream = self._streams[channel]
            if stream.meta_expires <= now:
                del self._streams[channel]
                continue
            if stream.expires <= now:
                stream.items.clear()
            self._to_sweep.append(channel)
        for _ in range(min(SWEEP_BATCH, len(self._results))):
            if next(iter(self._results.values()))[0] > now:
                break
            self._results.popitem(last=False)

    def _stream(self, channel: str, now: float) -> _Stream:
        """The channel's stream as it is `now`; the caller extends the life of its top."""
        stream = self._streams.get(channel)
        if stream is None:
            stream = self._streams[channel] = _Stream()
            self._to_sweep.append(channel)
        elif stream.meta_expires <= now:
            # A new identity: whoever holds a position of the old one will see another epoch.
            stream = self._streams[channel] = _Stream()
        elif stream.items and stream.expires <= now:
            stream.items.clear()
        return stream

    def _started(self) -> BrokerEvents:
        if self._events is None:
            raise UpstreamError(detail="the broker is not started")
        return self._events


class _Presence:
    """One channel: entries in the order of their expiry, because all live for the same time."""

    __slots__ = ("entries", "users")

    def __init__(self) -> None:
        self.entries: OrderedDict[str, tuple[float, ClientInfo]] = OrderedDict()
        self.users: dict[str, int] = {}

    def put(self, client: str, info: ClientInfo, expires: float) -> None:
        self.drop(client)
        self.entries[client] = (expires, info)
        self.users[info.user] = self.users.get(info.user, 0) + 1

    def drop(self, client: str) -> None:
        if (entry := self.entries.pop(client, None)) is None:
            return
        user = entry[1].user
        self.users[user] -= 1
        if not self.users[user]:
            del self.users[user]

    def expire(self, now: float) -> None:
        while self.entries:
            client, (expires, _) = next(iter(self.entries.items()))
            if expires > now:
                return
            self.drop(client)


class MemoryPresenceStore:
    """See `gateway.brokers.base.PresenceStore`. `ttl`: seconds for which an entry lives unrefreshed."""

    def __init__(self, ttl: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._now = now
        self._channels: dict[str, _Presence] = {}
        self._to_sweep: deque[str] = deque()

    async def add(self, channel: str, client: str, info: ClientInfo) -> None:
        presence = self._channels.get(channel)
        if presence is None:
            presence = self._channels[channel] = _Presence()
            self._to_sweep.append(channel)
        now = self._now()
        presence.expire(now)
        presence.put(client, info, now + self._ttl)

    async def remove(self, channel: str, client: str, user: str) -> None:
        if presence := self._current(channel):
            presence.drop(client)

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        presence = self._current(channel)
        return {client: info for client, (_, info) in presence.entries.items()} if presence else {}

    async def stats(self, channel: str) -> PresenceStats:
        presence = self._current(channel)
        return PresenceStats(len(presence.entries), len(presence.users)) if presence else PresenceStats(0, 0)

    def sweep(self, now: float) -> None:
        """Drop empty channels and aged-out entries, among a bounded number of channels."""
        for _ in range(min(SWEEP_BATCH, len(self._to_sweep))):
            channel = self._to_sweep.popleft()
            presence = self._channels[channel]
            presence.expire(now)
            if presence.entries:
                self._to_sweep.append(channel)
            else:
                del self._channels[channel]

    def _current(self, channel: str) -> _Presence | None:
        presence = self._channels.get(channel)
        if presence:
            presence.expire(self._now())
        return presence
