"""One client's life: every command in every state, and what time does in each of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client import ADMITTED, METHODS, Caller, Client, Limits, State, Subscription, Tick
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_EXPIRED,
    DISCONNECT_NO_PONG,
    DISCONNECT_STALE,
    DISCONNECT_TOO_MANY_REQUESTS,
    ERROR_TOO_MANY_REQUESTS,
    ClientError,
    Disconnect,
    Error,
)
from gateway.protocol import ClientInfo, raw
from tests.rooms import LIMITS, Phone

NOW = 1000.0
RATED = replace(LIMITS, commands_per_second=10.0, command_burst=5.0)


def client_in(state: State, limits: Limits = LIMITS) -> Client:
    """A client that came into `state` the way clients do."""
    client = Client("c1", Phone(), limits, ip="203.0.113.9", now=NOW)
    if state is not State.NEW:
        client.begin_connect()
    if state is State.CONNECTED:
        client.connected(NOW + 20)
    elif state is State.REFUSED:
        client.refused()
    elif state is State.CLOSED:
        client.close()
    assert client.state is state
    return client


def verdict(client: Client, method: str, now: float = NOW) -> Error | Disconnect | None:
    try:
        client.admit(method, now)
    except ClientError as error:
        return error.outcome
    return None


# ---------------------------------------------------------------------------- state x command
ONCE_CONNECTED = set(METHODS) - {"connect", "ping", "pong"}


@pytest.mark.parametrize(("state", "method"), [*itertools.product(State, METHODS)])
def test_every_command_in_every_state_is_admitted_or_costs_3501(state: State, method: str) -> None:
    may = (state is State.NEW and method == "connect") or (
        state is State.CONNECTED and method in ONCE_CONNECTED
    )
    assert verdict(client_in(state), method) is (None if may else DISCONNECT_BAD_REQUEST)


def test_the_table_knows_every_state() -> None:
    assert set(ADMITTED) == set(State)
    assert set().union(*ADMITTED.values()) == set(METHODS) - {"ping"}


@pytest.mark.parametrize("state", list(State))
def test_only_a_closed_client_is_not_open(state: State) -> None:
    assert client_in(state).is_open is (state is not State.CLOSED)


def test_the_caller_is_who_signed_in_last() -> None:
    client = client_in(State.CONNECTING)
    assert client.caller == Caller("c1", "", "", "")
    client.sign_in("ann", "wx1", "s1")
    client.sign_in("ann", "wx1", "s2")
    assert client.caller == Caller("c1", "ann", "wx1", "s2", client.ip)
    assert client.caller[:4] == (client.id, client.user, client.appid, client.session)
    client.conn_info = raw({"nick": "Ann"})
    assert client.info() == ClientInfo("ann", "c1", client.conn_info)


def test_a_subscription_appears_with_the_info_of_both() -> None:
    client = client_in(State.CONNECTED)
    client.user, client.conn_info = "ann", raw(1)
    subscription = Subscription(client, "news", server_side=False)
    subscription.chan_info = raw(2)
    assert subscription.info() == ClientInfo("ann", "c1", client.conn_info, subscription.chan_info)


# ---------------------------------------------------------------------------- rates
def test_a_burst_is_free_then_the_rate_counts() -> None:
    client = client_in(State.CONNECTED, RATED)
    assert [verdict(client, "rpc") for _ in range(5)] == [None] * 5
    assert verdict(client, "rpc") is ERROR_TOO_MANY_REQUESTS
    assert verdict(client, "rpc", NOW + 0.3) is None  # three were earned, one of them was owed


def test_who_does_not_heed_the_rate_is_disconnected() -> None:
    client = client_in(State.CONNECTED, RATED)
    verdicts = [verdict(client, "rpc") for _ in range(12)]
    assert verdicts == [None] * 5 + [ERROR_TOO_MANY_REQUESTS] * 5 + [DISCONNECT_TOO_MANY_REQUESTS] * 2


def test_patience_earns_no_more_than_one_burst() -> None:
    client = client_in(State.CONNECTED, RATED)
    later = NOW + 3600
    assert [verdict(client, "rpc", later) for _ in range(5)] == [None] * 5
    assert verdict(client, "rpc", later) is ERROR_TOO_MANY_REQUESTS


def test_a_pong_costs_nothing() -> None:
    client = client_in(State.CONNECTED, replace(RATED, command_burst=1.0))
    assert client.tick(NOW + 20) is Tick.PING
    assert verdict(client, "pong", NOW + 20) is None
    assert verdict(client, "rpc", NOW + 20) is None


def test_a_rate_of_zero_is_no_limit() -> None:
    client = client_in(State.CONNECTED)
    assert all(verdict(client, "rpc") is None for _ in range(5000))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 2), max_size=60), st.floats(1, 50), st.integers(1, 20))
def test_in_any_window_no_more_than_burst_and_rate_are_admitted(
    pauses: list[float], rate: float, burst: int
) -> None:
    client = client_in(State.CONNECTED, replace(LIMITS, commands_per_second=rate, command_burst=float(burst)))
    now, admitted = NOW, []
    for pause in pauses:
        now += pause
        if verdict(client, "rpc", now) is None:
            admitted.append(now)
    for first, begin in enumerate(admitted):
        for last, end in enumerate(admitted[first:], start=first):
            assert last - first + 1 <= burst + (end - begin) * rate + 1e-6


# ---------------------------------------------------------------------------- time
@pytest.mark.parametrize("state", [State.NEW, State.CONNECTING, State.REFUSED])
def test_who_is_not_connected_in_time_is_stale(state: State) -> None:
    client = client_in(state)
    assert client.next_deadline() == NOW + 10
    assert client.tick(NOW + 9.9) is Tick.NOTHING
    assert client.tick(NOW + 10) is DISCONNECT_STALE


def test_pings_come_at_their_interval_and_wait_for_the_pong() -> None:
    client = client_in(State.CONNECTED)
    assert client.next_deadline() == NOW + 20
    assert client.tick(NOW + 19.9) is Tick.NOTHING
    assert client.tick(NOW + 20) is Tick.PING
    assert client.next_deadline() == NOW + 28
    assert client.tick(NOW + 27) is Tick.NOTHING
    assert verdict(client, "pong", NOW + 27) is None
    assert client.next_deadline() == NOW + 45
    assert client.tick(NOW + 28) is Tick.NOTHING
    assert client.tick(NOW + 45) is Tick.PING


def test_no_pong_in_time_ends_the_connection() -> None:
    client = client_in(State.CONNECTED)
    client.tick(NOW + 20)
    assert client.tick(NOW + 27.9) is Tick.NOTHING
    assert client.tick(NOW + 28) is DISCONNECT_NO_PONG


def test_a_pong_answers_one_ping() -> None:
    client = client_in(State.CONNECTED)
    assert verdict(client, "pong") is DISCONNECT_BAD_REQUEST
    client.tick(NOW + 20)
    assert verdict(client, "pong") is None
    assert verdict(client, "pong") is DISCONNECT_BAD_REQUEST


@pytest.mark.parametrize(("client_refresh", "grace"), [(True, 25.0), (False, 0.0)])
def test_an_expired_connection_ends_after_its_grace(client_refresh: bool, grace: float) -> None:
    client = client_in(State.CONNECTED)
    client.connected(NOW + 500)
    client.expires_at, client.client_refresh = NOW + 100, client_refresh
    assert client.next_deadline() == NOW + 100 + grace
    assert client.tick(NOW + 99.9 + grace) is Tick.NOTHING
    assert client.tick(NOW + 100 + grace) is DISCONNECT_EXPIRED
    client.expires_at = NOW + 200
    assert client.tick(NOW + 100 + grace) is Tick.NOTHING


def test_expired_subscriptions_end_after_their_grace() -> None:
    client = client_in(State.CONNECTED)
    client.connected(NOW + 500)
    for name, expires in (("never", 0.0), ("soon", NOW + 50), ("later", NOW + 60)):
        subscription = client.subscriptions[name] = Subscription(client, name, server_side=False)
        subscription.expires_at = expires
        subscription.client_refresh = True
    assert client.next_deadline() == NOW + 75
    assert client.expired_subscriptions(NOW + 74.9) == []
    assert [each.channel for each in client.expired_subscriptions(NOW + 75)] == ["soon"]
    assert [each.channel for each in client.expired_subscriptions(NOW + 90)] == ["soon", "later"]
    client.subscriptions["later"].client_refresh = False  # nobody but the server renews it: no grace
    assert [each.channel for each in client.expired_subscriptions(NOW + 60)] == ["later"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.booleans()), min_size=1, max_size=30),
    st.none() | st.floats(1, 300),
    st.booleans(),
)
def test_nothing_is_due_before_the_next_deadline_and_something_is_at_it(
    steps: list[tuple[float, bool]], expires: float | None, client_refresh: bool
) -> None:
    client = client_in(State.CONNECTED)
    client.expires_at, client.client_refresh = NOW + expires if expires else 0.0, client_refresh
    now = NOW
    for pause, answers in steps:
        deadline = client.next_deadline()
        assert deadline >= now
        if now + pause < deadline:
            now += pause
            assert client.tick(now) is Tick.NOTHING
            continue
        now = deadline
        outcome = client.tick(now)
        assert outcome is not Tick.NOTHING
        if isinstance(outcome, Disconnect):
            return
        if answers:
            client.admit("pong", now)
