"""The registries of codes: what a client does next is read from a number, so numbers must not lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import (
    CLOSE_REASON_LIMIT,
    DISCONNECTS,
    ERROR_INTERNAL,
    ERROR_TOKEN_EXPIRED,
    ERRORS,
    ClientError,
    Disconnect,
    Error,
    GatewayError,
    GatewayException,
    Unsubscribe,
    UpstreamError,
    cut_reason,
)

registered_errors = {name: value for name, value in vars(errors).items() if isinstance(value, Error)}
registered_disconnects = {
    name: value for name, value in vars(errors).items() if isinstance(value, Disconnect)
}
unsubscribes = {name: value for name, value in vars(errors).items() if isinstance(value, Unsubscribe)}


def test_every_error_has_a_code_of_its_own_and_is_registered() -> None:
    assert sorted(ERRORS) == sorted(value.code for value in registered_errors.values())
    assert all(ERRORS[value.code] is value for value in registered_errors.values())


def test_every_disconnect_has_a_code_of_its_own_and_is_registered() -> None:
    assert sorted(DISCONNECTS) == sorted(value.code for value in registered_disconnects.values())
    assert all(DISCONNECTS[value.code] is value for value in registered_disconnects.values())


def test_every_unsubscribe_has_a_code_of_its_own() -> None:
    assert len({value.code for value in unsubscribes.values()}) == len(unsubscribes) == 4


def test_names_say_what_kind_of_code_it_is() -> None:
    assert all(name.startswith("ERROR_") for name in registered_errors)
    assert all(name.startswith("DISCONNECT_") for name in registered_disconnects)
    assert all(name.startswith("UNSUBSCRIBE_") for name in unsubscribes)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_error_codes_stay_within_the_protocol_and_our_own_range(code: int) -> None:
    assert 100 <= code <= 113 or 400 <= code < 2000


@pytest.mark.parametrize("code", sorted(DISCONNECTS))
def test_disconnect_codes_stay_within_the_ranges_that_clients_read(code: int) -> None:
    assert code in {1002, 1007, 1009} or 3000 <= code < 3100 or 3500 <= code < 3600 or 4000 <= code < 5000


@pytest.mark.parametrize("value", registered_errors.values(), ids=registered_errors)
def test_error_messages_are_never_empty(value: Error) -> None:
    assert value.message.strip()


@pytest.mark.parametrize("value", registered_disconnects.values(), ids=registered_disconnects)
def test_reasons_fit_into_a_close_frame(value: Disconnect) -> None:
    assert 0 < len(value.reason.encode()) <= CLOSE_REASON_LIMIT
    assert cut_reason(value.reason) == value.reason


@pytest.mark.parametrize("value", unsubscribes.values(), ids=unsubscribes)
def test_unsubscribe_reasons_are_never_empty(value: Unsubscribe) -> None:
    assert value.reason.strip()


def test_a_close_frame_has_room_for_the_longest_reason() -> None:
    assert CLOSE_REASON_LIMIT == 125 - 2


@pytest.mark.parametrize(
    ("code", "reconnect"),
    [
        (1009, True),
        (3000, True),
        (3499, True),
        (3500, False),
        (3999, False),
        (4000, True),
        (4499, True),
        (4500, False),
        (4999, False),
        (5000, True),
    ],
)
def test_the_range_alone_says_whether_a_client_reconnects(code: int, reconnect: bool) -> None:
    assert Disconnect(code, "x").reconnect is reconnect


@pytest.mark.parametrize(
    ("code", "reason", "reconnect"),
    [
        (3000, "connection closed", True),
        (3001, "shutdown", True),
        (3005, "connection expired", True),
        (3008, "slow", True),
        (3010, "insufficient state", True),
        (3012, "no pong", True),
        (3500, "invalid token", False),
        (3501, "bad request", False),
        (3502, "stale", False),
        (3503, "force disconnect", False),
        (3504, "connection limit", False),
        (3505, "channel limit", False),
    ],
)
def test_codes_of_the_protocol_keep_their_meaning(code: int, reason: str, reconnect: bool) -> None:
    assert DISCONNECTS[code].reason == reason
    assert DISCONNECTS[code].reconnect is reconnect


def test_only_passing_troubles_are_temporary() -> None:
    assert {code for code, error in ERRORS.items() if error.temporary and code < 400} == {100, 111, 113}
    assert ERRORS[400].temporary, "WeChat is busy: later it is not"
    assert not ERRORS[401].temporary, "WeChat refuses this user: asking again changes nothing"
    assert not ERROR_TOKEN_EXPIRED.temporary, "SDKs get a new token for 109, temporary or not"


@given(st.text(), st.integers(0, 200))
def test_a_reason_is_cut_between_characters(reason: str, limit: int) -> None:
    cut = cut_reason(reason, limit)
    assert len(cut.encode()) <= limit
    assert reason.startswith(cut)
    if cut != reason:  # and not a character earlier than it must be
        assert len(reason[: len(cut) + 1].encode()) > limit


@given(st.text("微信😀é", min_size=40))
def test_a_chinese_reason_survives_the_cut(reason: str) -> None:
    cut = cut_reason(reason)
    assert CLOSE_REASON_LIMIT - 3 <= len(cut.encode()) <= CLOSE_REASON_LIMIT or cut == reason


def test_exceptions_carry_what_the_client_gets() -> None:
    refused = ClientError(ERROR_TOKEN_EXPIRED)
    assert refused.outcome is ERROR_TOKEN_EXPIRED
    assert refused.detail == ""
    assert "109" in str(refused)
    assert str(ClientError(ERROR_TOKEN_EXPIRED, "the token ended")) == "the token ended"
    assert GatewayError.error is ERROR_INTERNAL
    upstream = UpstreamError(detail="no route to Redis")
    assert upstream.error.temporary
    assert str(upstream) == upstream.detail == "no route to Redis"
    assert str(UpstreamError()) == ERROR_INTERNAL.message
    families = {each for each in GatewayException.__subclasses__() if each.__module__ == errors.__name__}
    assert families == {ClientError, GatewayError, UpstreamError}
