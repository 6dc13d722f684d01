"""Metrics: label values come from closed sets, whatever the helpers are given."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import DISCONNECTS, ERRORS
from gateway.metrics import Counts, Metrics
from gateway.metrics import labels as module
from gateway.protocol import Request, decode
from gateway.version import __version__
from gateway.wechat.api import Outcome

LABELS = {
    "method": set(module.COMMANDS) | set(module.API_METHODS),
    "way": set(module.CONNECT_WAYS) | set(module.DOWNLOADS),
    "outcome": set(module.CONNECT_OUTCOMES)
    | set(module.API_OUTCOMES)
    | set(module.SIGN_INS)
    | set(module.HANDSHAKES)
    | set(module.UPSTREAM_OUTCOMES)
    | set(module.CALLBACKS)
    | set(module.UPLOADS)
    | set(module.USER_EVENT_OUTCOMES)
    | set(module.RECOVERIES)
    | set(module.CONTENT_OUTCOMES),
    "upstream": set(module.UPSTREAMS),
    "operation": set(module.BROKER_OPERATIONS),
    "sdk": set(module.SDKS),
    "code": set(module.ERROR_CODES) | set(module.DISCONNECT_CODES) | set(module.UNSUBSCRIBE_CODES),
    "event": set(module.INBOX) | set(module.NOTIFICATIONS),
    "version": {__version__},
    "kind": set(module.USER_EVENTS) | set(module.CONTENT_KINDS),
    "state": {"online", "background"},
}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the exposition, by name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition(metrics.counts).decode()):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"gateway_{name}", frozenset(labels.items())]


def test_the_sets_are_those_of_the_wire() -> None:
    commands = set(module.COMMANDS) - {"other", "pong"}
    for name in commands:
        assert decode(f'{{"id":1,"{name}":{{}}}}'.encode())[0].method == name
    assert len(commands) == len(get_args(Request))
    assert decode(b"{}")[0].method == "pong"
    assert set(module.ERROR_CODES) == {str(code) for code in ERRORS} | {"other"}
    assert {str(code) for code in DISCONNECTS} < set(module.DISCONNECT_CODES)
    assert {"2000", "2500", "2501", "2502"} < set(module.UNSUBSCRIBE_CODES)
    assert set(get_args(Outcome)) - {"started"} < set(module.UPSTREAM_OUTCOMES)


@settings(max_examples=25)
@given(st.text(), st.integers())
def test_nothing_that_clients_say_becomes_a_label(text: str, code: int) -> None:
    metrics = Metrics()
    before = set(samples(metrics))
    metrics.handshake(text)
    metrics.connect(text, text, text)
    metrics.connect("code", "ok", text)
    metrics.command(text)
    metrics.error(code)
    metrics.disconnect(code)
    metrics.unsubscribe(code)
    metrics.recovery(text)
    metrics.sign_in(text, 0.1)
    metrics.upstream_call(text, text, 0.1)
    metrics.api_call(text, text, 0.1)
    metrics.broker_error(text)
    metrics.user_event(text, text)
    metrics.content_check(text, text)
    assert set(samples(metrics)) == before


def test_every_label_has_a_closed_set() -> None:
    for _, labels in samples(Metrics()):
        for name, text in labels - {("le", dict(labels).get("le", ""))}:
            assert text in LABELS[name], (name, text)


def test_unknown_values_are_other() -> None:
    metrics = Metrics()
    metrics.connect("telepathy", "maybe", "evil-sdk")
    metrics.connect("code", "ok", "evil-sdk")
    metrics.connect("jwt", "ok", "python")
    metrics.error(1234)
    metrics.disconnect(4321)
    assert value(metrics, "connects_total", way="other", outcome="other") == 1
    assert value(metrics, "connects_total", way="code", outcome="ok") == 1
    assert value(metrics, "clients_total", sdk="other") == 1
    assert value(metrics, "clients_total", sdk="python") == 1
    assert value(metrics, "errors_total", code="other") == 1
    assert value(metrics, "disconnects_total", code="other") == 1


def test_known_values_count_where_they_belong() -> None:
    metrics = Metrics()
    metrics.command("rpc")
    metrics.error(107)
    metrics.disconnect(3008)
    metrics.unsubscribe(2500)
    metrics.recovery("recovered")
    metrics.handshake("accepted")
    metrics.broker_error("command")
    metrics.sign_in("ok", 0.2)
    metrics.upstream_call("wechat", "timeout", 5.0)
    metrics.api_call("publish", "ok", 0.0002)
    metrics.lag(0.004)
    for name, labels in (
        ("commands_total", {"method": "rpc"}),
        ("errors_total", {"code": "107"}),
        ("disconnects_total", {"code": "3008"}),
        ("unsubscribes_total", {"code": "2500"}),
        ("recoveries_total", {"outcome": "recovered"}),
        ("handshakes_total", {"outcome": "accepted"}),
        ("broker_errors_total", {"operation": "command"}),
        ("sign_ins_total", {"outcome": "ok"}),
        ("sign_in_seconds_count", {}),
        ("upstream_calls_total", {"upstream": "wechat", "outcome": "timeout"}),
        ("upstream_seconds_count", {"upstream": "wechat"}),
        ("api_calls_total", {"method": "publish", "outcome": "ok"}),
        ("api_seconds_count", {"method": "publish"}),
        ("loop_lag_seconds_count", {}),
    ):
        assert value(metrics, name, **labels) == 1, name
    assert value(metrics, "loop_lag_last_seconds") == 0.004


def test_plain_integers_show_up_when_somebody_looks() -> None:
    metrics = Metrics()
    attributes = (
        "publications_received", "publications_delivered", "messages_in", "messages_out", "bytes_in",
        "bytes_out", "slow_consumers", "broker_gaps",
    )  # fmt: skip
    for number, name in enumerate(attributes, start=1):
        setattr(metrics, name, number)
        assert value(metrics, f"{name}_total") == number
    metrics.draining = True
    assert value(metrics, "draining") == 1


def test_gauges_are_asked_for_at_each_scrape() -> None:
    metrics = Metrics()
    assert value(metrics, "connections") == 0
    counts = Counts(connections=3, users=2, subscriptions=5, channels=4, outbox_bytes=100)
    metrics.watch(lambda: counts)
    for name in ("connections", "users", "subscriptions", "channels", "outbox_bytes"):
        assert value(metrics, name) == getattr(counts, name)
    assert metrics.counts is counts


def test_two_nodes_in_one_process_do_not_share() -> None:
    first, second = Metrics(), Metrics()
    first.command("rpc")
    assert value(second, "commands_total", method="rpc") == 0


@pytest.mark.parametrize("name", ["resident_memory_bytes", "open_fds", "cpu_seconds_total"])
def test_the_process_is_in_there(name: str) -> None:
    assert samples(Metrics())[f"process_{name}", frozenset()] > 0
