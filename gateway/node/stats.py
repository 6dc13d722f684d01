"""The figures of one node for the dashboard: counters since its start, gauges as they are now.

Counters, not rates: whoever asks twice has the rate of just the time between, however often others ask.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.node.cluster import NodeInfo
from gateway.node.latency import LatencySampler

SAME_FOR: Final = 0.5
"""Seconds that an answer is good for, however many dashboards are open: it looks at every connection."""
SLICE: Final = 500
"""Connections that are looked at in one turn of the loop; well below a millisecond."""


class Latency(Struct, frozen=True):
    """Seconds from a publish to the last subscriber's socket; of `samples` publications of a minute."""

    samples: int
    p50: float
    p99: float


class NodeStats(Struct, frozen=True):
    """One node; `at` in milliseconds since 1970, `uptime` and `loop_lag` in seconds.

    `connections` are those that have signed in, `waiting_bytes` what they have not taken yet.

    `messages_in`, `messages_out`, `publications…`, `bytes…`, `errors`, `disconnects` and `slow_consumers` are
    totals since the node's start. `messages_out` has every message to a client, publications included.
    """

    uid: str
    name: str
    version: str
    at: int
    uptime: int
    draining: bool
    connections: int
    users: int
    subscriptions: int
    channels: int
    waiting_bytes: int
    loop_lag: float
    messages_in: int
    messages_out: int
    publications: int
    bytes_in: int
    slow_consumers: int
    gaps: int
    errors: dict[str, int]
    disconnects: dict[str, int]
    latency: Latency | None


class StatsReport:
    """Answers the question `stats` of other nodes, and of this one.

    Arguments:
        describe: this node. clock: monotonic seconds. wall: unix seconds.
    """

    def __init__(
        self,
        describe: Callable[[], NodeInfo],
        hub: Hub,
        metrics: Metrics,
        latency: LatencySampler,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._describe = describe
        self._hub = hub
        self._metrics = metrics
        self._latency = latency
        self._clock = clock
        self._wall = wall
        self._answer = b""
        self._answered = -math.inf
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, _: str = "") -> bytes:
        """`NodeStats` in JSON, at most `SAME_FOR` seconds old."""
        async with self._one_at_a_time:
            if self._clock() - self._answered >= SAME_FOR:
                self._answer = msgspec.json.encode(self._now(await self._waiting_bytes()))
                self._answered = self._clock()
            return self._answer

    async def _waiting_bytes(self) -> int:
        clients = list(self._hub.clients.values())
        total = 0
        for start in range(0, len(clients), SLICE):
            total += sum(client.sink.waiting_bytes for client in clients[start : start + SLICE])
            await asyncio.sleep(0)
        return total

    def _now(self, waiting_bytes: int) -> NodeStats:
        info, metrics = self._describe(), self._metrics
        return NodeStats(
            uid=info.uid,
            name=info.name,
            version=info.version,
            at=int(self._wall() * 1000),
            uptime=info.uptime,
            draining=metrics.draining,
            connections=info.num_clients,
            users=info.num_users,
            subscriptions=info.num_subs,
            channels=info.num_channels,
            waiting_bytes=waiting_bytes,
            loop_lag=metrics.loop_lag,
            messages_in=metrics.messages_in,
            messages_out=metrics.messages_out + metrics.publications_delivered,
            publications=metrics.publications_received,
            bytes_in=metrics.bytes_in,
            slow_consumers=metrics.slow_consumers,
            gaps=metrics.broker_gaps,
            errors=metrics.errors_seen(),
            disconnects=metrics.disconnects_seen(),
            latency=_latency(self._latency.recent()),
        )


def _latency(seconds: Sequence[float]) -> Latency | None:
    """None where nothing was delivered in the last minute. `seconds` are sorted."""
    if not seconds:
        return None
    return Latency(len(seconds), _quantile(seconds, 0.50), _quantile(seconds, 0.99))


def _quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed."""
    return seconds[max(0, math.ceil(share * len(seconds)) - 1)]
