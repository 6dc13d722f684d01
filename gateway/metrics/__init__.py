"""Every metric of one process, by helper method; label values come from closed sets, never from clients.

What happens per message is a plain integer attribute (`metrics.publications_delivered += n`): an increment of
prometheus_client costs more than writing the message's frame. A collector reads the integers when Prometheus
comes. Whatever a helper is given that is not in the label's set is counted as "other", so that no client can
grow the number of series.

Times are seconds, sizes are bytes, both as floats or ints of base units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from prometheus_client.registry import Collector

from gateway.metrics.labels import (
    API_METHODS,
    API_OUTCOMES,
    BROKER_OPERATIONS,
    CALLBACKS,
    COMMANDS,
    CONNECT_OUTCOMES,
    CONNECT_WAYS,
    CONTENT_KINDS,
    CONTENT_OUTCOMES,
    DISCONNECT_CODES,
    DOWNLOADS,
    ERROR_CODES,
    FAST_BUCKETS,
    HANDSHAKES,
    INBOX,
    NOTIFICATIONS,
    OTHER,
    RECOVERIES,
    SDKS,
    SIGN_INS,
    SLOW_BUCKETS,
    UNSUBSCRIBE_CODES,
    UPLOADS,
    UPSTREAM_OUTCOMES,
    UPSTREAMS,
    USER_EVENT_OUTCOMES,
    USER_EVENTS,
)
from gateway.version import __version__

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_1_0_0


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is right now, on this node."""

    connections: int = 0
    users: int = 0
    subscriptions: int = 0
    channels: int = 0
    outbox_bytes: int = 0


class Metrics:
    """The metrics of one node. Everything is cheap enough to be called from the event loop.

    Attributes:
        publications_received: from the broker, one for each publication.
        publications_delivered: handed to an outbox, one for each subscriber.
        messages_in: WebSocket messages from clients.
        messages_out: replies and pushes to clients.
        bytes_in: payload bytes of messages from clients.
        bytes_out: payload bytes of replies and pushes.
        slow_consumers: clients closed because they did not read.
        broker_gaps: times that publications may have been missed and history was read.
        inbox_bytes: that wait in all inboxes, as this node last heard.
        content_cached: texts whose verdict was known already.
        uploads_running: files that are coming in. upload_bytes, download_bytes: of files, so far.
        users_online, users_background: over all nodes, as the last sweep found them.
        user_events_waiting: for the backend, over all nodes. user_events_age: seconds of the oldest.
        loop_lag: seconds that the event loop was late the last time it was looked at.
        draining: whether the node is on its way out.
    """

    def __init__(self) -> None:
        self.publications_received = 0
        self.publications_delivered = 0
        self.messages_in = 0
        self.messages_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.slow_consumers = 0
        self.broker_gaps = 0
        self.content_cached = 0
        self.uploads_running = 0
        self.upload_bytes = 0
        self.download_bytes = 0
        self.inbox_bytes = 0
        self.users_online = 0
        self.users_background = 0
        self.user_events_waiting = 0
        self.user_events_age = 0.0
        self.loop_lag = 0.0
        self.draining = False
        self._counts: Callable[[], Counts] = Counts
        self._scraped = Counts()
        self._commands = dict.fromkeys(COMMANDS, 0)
        self._errors = dict.fromkeys(ERROR_CODES, 0)
        self._disconnects = dict.fromkeys(DISCONNECT_CODES, 0)
        self._unsubscribes = dict.fromkeys(UNSUBSCRIBE_CODES, 0)
        self._handshakes = dict.fromkeys(HANDSHAKES, 0)
        self._sdks = dict.fromkeys(SDKS, 0)
        self._sign_ins = dict.fromkeys(SIGN_INS, 0)
        self._callbacks = dict.fromkeys(CALLBACKS, 0)
        self._broker_errors = dict.fromkeys(BROKER_OPERATIONS, 0)
        self._uploads = dict.fromkeys(UPLOADS, 0)
        self._downloads = dict.fromkeys(DOWNLOADS, 0)
        self._recoveries = dict.fromkeys(RECOVERIES, 0)
        self._inbox = dict.fromkeys(INBOX, 0)
        self._user_events = {(kind, outcome): 0 for kind in USER_EVENTS for outcome in USER_EVENT_OUTCOMES}
        self._content_checks = {(kind, outcome): 0 for kind in CONTENT_KINDS for outcome in CONTENT_OUTCOMES}
        self._notifications = dict.fromkeys(NOTIFICATIONS, 0)
        self._connects = {(way, outcome): 0 for way in CONNECT_WAYS for outcome in CONNECT_OUTCOMES}
        self._upstream_calls = {(name, outcome): 0 for name in UPSTREAMS for outcome in UPSTREAM_OUTCOMES}
        self._api_calls = {(method, outcome): 0 for method in API_METHODS for outcome in API_OUTCOMES}

        self.registry = CollectorRegistry()
        self.registry.register(_Reader(self))
        ProcessCollector(registry=self.registry)
        self._sign_in_seconds = self._histogram(
            "sign_in_seconds", "Seconds from a wx.login code to a session.", SLOW_BUCKETS
        )
        self._loop_lag_seconds = self._histogram(
            "loop_lag_seconds", "Seconds that the event loop was late.", FAST_BUCKETS
        )
        upstream = self._histogram(
            "upstream_seconds", "Seconds of a call to another server.", SLOW_BUCKETS, "upstream"
        )
        self._upstream_seconds = {name: upstream.labels(name) for name in UPSTREAMS}
        self._delivery_seconds = self._histogram(
            "delivery_seconds", "Seconds from publish to the last subscriber's socket, sampled.", FAST_BUCKETS
        )
        api = self._histogram("api_seconds", "Seconds of a server API call.", FAST_BUCKETS, "method")
        self._api_seconds = {method: api.labels(method) for method in API_METHODS}

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self.registry)

    def exposition(self, counts: Counts) -> bytes:
        """The text for Prometheus, of the type `CONTENT_TYPE`. Takes milliseconds, so it may run in a thread;
        `counts` is what `self.counts` was in the event loop."""
        self._scraped = counts
        return generate_latest(self.registry)

    # ------------------------------------------------------------------------ gauges
    def watch(self, counts: Callable[[], Counts]) -> None:
        """Ask `counts` for the gauges at each scrape, in the event loop."""
        self._counts = counts

    @property
    def counts(self) -> Counts:
        """What there is right now."""
        return self._counts()

    # ------------------------------------------------------------------------ clients
    def handshake(self, outcome: str) -> None:
        """An HTTP request on the WebSocket listener ended so."""
        self._handshakes[outcome if outcome in self._handshakes else OTHER] += 1

    def connect(self, way: str, outcome: str, sdk: str = "") -> None:
        """A connect command ended so; `sdk` is the name that the client gave: it counts where we know it."""
        key = (way if way in CONNECT_WAYS else OTHER, outcome if outcome in CONNECT_OUTCOMES else OTHER)
        self._connects[key] += 1
        if key[1] == "ok":
            self._sdks[sdk if sdk in self._sdks else OTHER] += 1

    def command(self, method: str) -> None:
        try:
            self._commands[method] += 1
        except KeyError:
            self._commands[OTHER] += 1

    def error(self, code: int) -> None:
        """An error reply to a client; codes of the team's backend count as "other"."""
        text = str(code)
        self._errors[text if text in self._errors else OTHER] += 1

    def disconnect(self, code: int) -> None:
        """A connection ended with `code`: ours, or the client's own close code."""
        text = str(code)
        self._disconnects[text if text in self._disconnects else OTHER] += 1

    def errors_seen(self) -> dict[str, int]:
        """Error replies so far, by code; without those that never were."""
        return {code: count for code, count in self._errors.items() if count}

    def disconnects_seen(self) -> dict[str, int]:
        """Connections that ended so far, by code; without the codes that never were."""
        return {code: count for code, count in self._disconnects.items() if count}

    def unsubscribe(self, code: int) -> None:
        text = str(code)
        self._unsubscribes[text if text in self._unsubscribes else OTHER] += 1

    def recovery(self, outcome: str) -> None:
        """A client came back with a position."""
        self._recoveries[outcome if outcome in self._recoveries else OTHER] += 1

    def inbox(self, event: str) -> None:
        """Something happened to a publication that wants to be acknowledged."""
        self._inbox[event if event in self._inbox else OTHER] += 1

    def notification(self, event: str) -> None:
        """A notification came a step further, or to its end."""
        self._notifications[event if event in self._notifications else OTHER] += 1

    # ------------------------------------------------------------------------ everything around
    def user_event(self, kind: str, outcome: str, count: int = 1) -> None:
        """So many events of users came to this."""
        known = outcome if outcome in USER_EVENT_OUTCOMES else OTHER
        self._user_events[kind if kind in USER_EVENTS else OTHER, known] += count

    def sign_in(self, outcome: str, seconds: float) -> None:
        self._sign_ins[outcome if outcome in self._sign_ins else OTHER] += 1
        self._sign_in_seconds.observe(seconds)

    def callback(self, outcome: str) -> None:
        """A message came to /wx/callback."""
        self._callbacks[outcome if outcome in self._callbacks else OTHER] += 1

    def upstream_call(self, upstream: str, outcome: str, seconds: float) -> None:
        name = upstream if upstream in UPSTREAMS else OTHER
        self._upstream_calls[name, outcome if outcome in UPSTREAM_OUTCOMES else OTHER] += 1
        self._upstream_seconds[name].observe(seconds)

    def api_call(self, method: str, outcome: str, seconds: float) -> None:
        name = method if method in self._api_seconds else OTHER
        self._api_calls[name, outcome if outcome in API_OUTCOMES else OTHER] += 1
        self._api_seconds[name].observe(seconds)

    def content_check(self, kind: str, outcome: str) -> None:
        """What the content check of one publication, or one file, came to."""
        name = kind if kind in CONTENT_KINDS else OTHER
        self._content_checks[name, outcome if outcome in CONTENT_OUTCOMES else OTHER] += 1

    def broker_error(self, operation: str) -> None:
        self._broker_errors[operation if operation in self._broker_errors else OTHER] += 1

    def upload(self, outcome: str, size: int) -> None:
        """An upload ended so, after `size` bytes."""
        self._uploads[outcome if outcome in self._uploads else OTHER] += 1
        self.upload_bytes += size

    def download(self, way: str, size: int) -> None:
        """A file of `size` bytes was sent this way."""
        self._downloads[way if way in self._downloads else OTHER] += 1
        self.download_bytes += size

    def delivery(self, seconds: float) -> None:
        """A publication that was followed took so long to reach its last subscriber's socket."""
        self._delivery_seconds.observe(seconds)

    def lag(self, seconds: float) -> None:
        """The event loop was `seconds` late."""
        self.loop_lag = seconds
        self._loop_lag_seconds.observe(seconds)


class _Reader(Collector):
    """Turns the plain integers of `Metrics` into metric families, at scrape time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Metric]:
        # Empty: registering must not read a node that is not there yet.
        return []

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield from self._gauges(metrics, metrics._scraped)
        yield from self._totals(metrics)
        yield _counter(
            "connects", "Connect commands, by way of signing in.", metrics._connects, "way", "outcome"
        )
        yield _counter(
            "upstream_calls", "Calls to other servers.", metrics._upstream_calls, "upstream", "outcome"
        )
        yield _counter(
            "content_checks", "Content checks of clients.", metrics._content_checks, "kind", "outcome"
        )
        yield _counter("api_calls", "Calls of the server API.", metrics._api_calls, "method", "outcome")
        yield _counter(
            "user_events",
            "Users' comings and goings, for the backend.",
            metrics._user_events,
            "kind",
            "outcome",
        )
        for name, text, label, values in (
            ("handshakes", "HTTP requests on the WebSocket listener.", "outcome", metrics._handshakes),
            ("clients", "Clients that connected, by SDK.", "sdk", metrics._sdks),
            ("commands", "Commands of clients.", "method", metrics._commands),
            ("errors", "Error replies to clients.", "code", metrics._errors),
            ("disconnects", "Connections that ended, by code.", "code", metrics._disconnects),
            ("unsubscribes", "Subscriptions that ended, by code.", "code", metrics._unsubscribes),
            ("recoveries", "Clients that came back with a position.", "outcome", metrics._recoveries),
            ("notifications", "Notifications, by what became of them.", "event", metrics._notifications),
            ("inbox", "Publications that want to be acknowledged.", "event", metrics._inbox),
            ("uploads", "Files that came in.", "outcome", metrics._uploads),
            ("downloads", "Files that went out, by who sent them.", "way", metrics._downloads),
            ("sign_ins", "Codes of wx.login, by what became of them.", "outcome", metrics._sign_ins),
            ("callbacks", "Messages pushed to /wx/callback.", "outcome", metrics._callbacks),
            (
                "broker_errors",
                "Operations that the broker could not do.",
                "operation",
                metrics._broker_errors,
            ),
        ):
            yield _counter(name, text, {(value,): count for value, count in values.items()}, label)

    @staticmethod
    def _gauges(metrics: Metrics, counts: Counts) -> Iterator[Metric]:
        for name, text, value in (
            ("connections", "Clients that are connected.", counts.connections),
            ("users", "Users with a connection.", counts.users),
            ("subscriptions", "Subscriptions of connected clients.", counts.subscriptions),
            ("channels", "Channels with a subscriber.", counts.channels),
            ("outbox_bytes", "Bytes waiting for clients to read them.", counts.outbox_bytes),
            ("inbox_bytes", "Bytes that wait in all inboxes.", metrics.inbox_bytes),
            ("uploads_running", "Files that are coming in.", metrics.uploads_running),
            (
                "user_events_waiting",
                "Events of users that wait for the backend.",
                metrics.user_events_waiting,
            ),
            ("user_events_age_seconds", "Age of the oldest of them.", metrics.user_events_age),
            ("loop_lag_last_seconds", "Seconds that the event loop was late, last time.", metrics.loop_lag),
            ("draining", "1 while the node says goodbye to its clients.", int(metrics.draining)),
        ):
            yield GaugeMetricFamily(f"gateway_{name}", text, value=value)
        states = GaugeMetricFamily("gateway_users_by_state", "Users over all nodes.", labels=["state"])
        states.add_metric(["online"], metrics.users_online)
        states.add_metric(["background"], metrics.users_background)
        yield states
        build = GaugeMetricFamily("gateway_build", "The version that runs here.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    @staticmethod
    def _totals(metrics: Metrics) -> Iterator[Metric]:
        for name, text, value in (
            ("publications_received", "Publications from the broker.", metrics.publications_received),
            ("publications_delivered", "Publications to subscribers.", metrics.publications_delivered),
            ("messages_in", "WebSocket messages from clients.", metrics.messages_in),
            ("messages_out", "Replies and pushes to clients.", metrics.messages_out),
            ("bytes_in", "Payload bytes from clients.", metrics.bytes_in),
            ("bytes_out", "Payload bytes to clients.", metrics.bytes_out),
            ("upload_bytes", "Bytes of files from clients.", metrics.upload_bytes),
            ("download_bytes", "Bytes of files to clients.", metrics.download_bytes),
            ("slow_consumers", "Clients closed because they did not read.", metrics.slow_consumers),
            ("content_cached", "Texts whose verdict was known already.", metrics.content_cached),
            ("broker_gaps", "Times that history closed a gap of the broker.", metrics.broker_gaps),
        ):
            yield CounterMetricFamily(f"gateway_{name}", text, value=value)


def _counter(name: str, text: str, values: Mapping[Any, int], *labels: str) -> Metric:
    family = CounterMetricFamily(f"gateway_{name}", text, labels=labels)
    for key, count in values.items():
        family.add_metric(key, count)
    return family
