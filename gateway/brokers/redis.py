"""The broker between nodes, on Redis: one server, several, Sentinel or Cluster. The contract is in `base`.

History is a Redis stream beside a hash with the epoch and the top; one Lua script appends and publishes.
Publications of one loop turn leave in one write, and messages are read by a parser of their own, so that
neither costs a task or a round trip each. docs/redis.md has the keys and payloads for other publishers.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Sequence

from gateway.brokers.base import BrokerEvents, History, HistoryFilter, PublishOptions, PublishResult
from gateway.brokers.redis_keys import (
    NULL,
    PRESENCE,
    Keys,
    Request,
    decode_data,
    decode_info,
    decode_publication,
    encode_info,
    publish_result,
)
from gateway.brokers.redis_server import Listener, Tuning
from gateway.brokers.redis_topology import make_topology
from gateway.protocol import ClientInfo, Publication, StreamPosition

log = logging.getLogger("gateway.redis")

LOG_INTERVAL = 60.0
"""Seconds between two log lines about malformed payloads."""


class RedisBroker:
    """See `gateway.brokers.base.Broker`.

    Attributes:
        malformed: payloads that were no JSON, or no frame of ours, since the start.
        topology: the servers; the presence store shares them.
    """

    def __init__(
        self,
        urls: Sequence[str],
        prefix: str = "wxgw",
        node_id: str = "",
        tuning: Tuning | None = None,
        on_error: Callable[[str], None] = lambda operation: None,
    ) -> None:
        """`on_error` is told of every operation that failed, see `Listener`.

        Raises UpstreamError with one line where a URL is wrong.
        """
        self._node_id = node_id or secrets.token_hex(8)
        canary = Keys(prefix).canary(self._node_id).encode()
        listener = Listener(self._on_message, self._on_gap, canary, on_error)
        self.topology = make_topology(urls, prefix, self._node_id, tuning or Tuning(), listener)
        self._keys = self.topology.keys
        self._events: BrokerEvents | None = None
        self._channels: dict[bytes, str] = {}
        self._control = {self._keys.control().encode(), self._keys.control(self._node_id).encode()}
        self._next_log = 0.0
        self._closed = False
        self.malformed = 0

    # ------------------------------------------------------------------ life
    async def start(self, events: BrokerEvents) -> None:
        self._events = events
        try:
            await self.topology.start()
            for name in self._control:
                await self.topology.listen(name)
            await self._rehearse()
        except BaseException:
            await self.close()
            raise

    async def _rehearse(self) -> None:
        """Everything that the gateway will ask of Redis, once, so that a missing permission shows now."""
        channel = f"\0start:{self._node_id}"  # no client can subscribe to a name like this
        options = PublishOptions(history_size=1, history_ttl=1.0, meta_ttl=1.0, idempotency_key="start")
        await self.publish(channel, Publication(NULL), options)
        await self.publish(channel, Publication(NULL), PublishOptions())
        await self.history(channel, HistoryFilter(limit=1), 1.0)
        await self.remove_history(channel)
        keys = self._keys.presence(channel)
        for words in (("add", 1000, "c", "u", "{}"), ("get",), ("stats",), ("remove", 0, "c")):
            await self.topology.call(channel, Request((3, *keys, *words), True, PRESENCE))

    async def close(self) -> None:
        self._closed = True
        await self.topology.close()
        self._channels.clear()

    @property
    def problem(self) -> str:
        if self._closed or self._events is None:
            return "the broker is not started"
        return self.topology.problem

    # ------------------------------------------------------------------ publications
    async def subscribe(self, channel: str) -> None:
        names = self._keys.names(channel)
        self._channels.update({name: channel for _, name in names})
        try:
            await self.topology.subscribe(channel)
        except BaseException:
            self._forget(channel)
            raise

    async def unsubscribe(self, channel: str) -> None:
        self._forget(channel)
        self.topology.unsubscribe(channel)

    def _forget(self, channel: str) -> None:
        for _, name in self._keys.names(channel):
            self._channels.pop(name, None)

    async def publish(self, channel: str, publication: Publication, options: PublishOptions) -> PublishResult:
        request = self._keys.publish(channel, publication, options)
        return publish_result(await self.topology.call(channel, request))

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        await self._tell(channel, encode_info(b"!j", info))

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        await self._tell(channel, encode_info(b"!l", info))

    async def _tell(self, channel: str, payload: bytes) -> None:
        words = (self._keys.publish_verb, self._keys.broadcast(channel), payload)
        await self.topology.call(channel, Request(words))

    async def publish_control(self, message: bytes, node: str = "") -> None:
        await self.topology.publish(self._keys.control(node).encode(), message)

    # ------------------------------------------------------------------ history
    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        request = self._keys.history(channel, query, meta_ttl)
        top, epoch, items = await self.topology.call(channel, request)
        publications = [self._item(channel, int(item[0].partition(b"-")[0]), item[1][1]) for item in items]
        return History(StreamPosition(top, epoch.decode()), publications)

    async def remove_history(self, channel: str) -> None:
        await self.topology.call(channel, Request(("DEL", self._keys.stream(channel)), True))

    def sweep(self, now: float) -> None:
        """Redis forgets by itself."""

    def _item(self, channel: str, offset: int, body: bytes) -> Publication:
        """A positioned publication. What is none keeps its place in the stream, with null for its data:
        a hole would look like a loss to every client that recovers."""
        try:
            return decode_publication(body, offset)
        except (ValueError, RecursionError) as error:
            self._count_malformed(channel, error)
            return Publication(NULL, offset=offset)

    # ------------------------------------------------------------------ messages
    def _on_message(self, name: bytes, payload: bytes) -> None:
        events = self._events
        if events is None:
            return
        channel = self._channels.get(name)
        try:
            if channel is not None:
                self._deliver(events, channel, payload)
            elif name in self._control:
                events.on_control(payload)
        except Exception:
            log.exception("a message of %s could not be delivered", name)

    def _deliver(self, events: BrokerEvents, channel: str, payload: bytes) -> None:
        try:
            kind, epoch = payload[:2], ""
            if kind == b"!p":
                _, digits, epoch_bytes, body = payload.split(b":", 3)
                epoch = epoch_bytes.decode()
                if not digits.isdigit():
                    raise ValueError("an offset that is no number")
                offset = int(digits)
                publication = self._item(channel, offset, body) if offset else decode_publication(body, 0)
            elif kind == b"!j" or kind == b"!l":
                info = decode_info(payload[2:])
            else:
                publication = decode_data(payload)
        except (ValueError, RecursionError) as error:
            self._count_malformed(channel, error)
            return
        if kind == b"!j":
            events.on_join(channel, info)
        elif kind == b"!l":
            events.on_leave(channel, info)
        else:
            events.on_publication(channel, publication, epoch)

    def _on_gap(self, names: Collection[bytes]) -> None:
        if self._events is None:
            return
        affected = [name for name in names if name in self._channels]
        if len(affected) == len(self._channels):
            self._events.on_gap(None)
            return
        for channel in {self._channels[name] for name in affected}:
            self._events.on_gap(channel)

    def _count_malformed(self, channel: str, error: Exception) -> None:
        self.malformed += 1
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + LOG_INTERVAL
            log.warning("%d malformed payloads so far, the last on %r: %s", self.malformed, channel, error)
