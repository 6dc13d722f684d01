"""Whatever is sent as a token: it is accepted, or a `ClientError` says what the client gets."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.tokens import KNOWN_HEADERS, TokenVerifier
from gateway.errors import ClientError
from tests.keys import NOW, RSA_KEY, SECRET, forge, pem

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    "sub exp nbf iat jti aud iss info b64info expire_at channels subs meta channel client data b64data"
    " override".split()
)


def only_client_errors(token: str) -> None:
    check = TokenVerifier(hmac_secret=SECRET, public_key_pem=pem(RSA_KEY), now=lambda: NOW)
    for verify in (
        lambda: check.verify_connection_nowait(token),
        lambda: check.verify_subscription_nowait(token, "u", "c", "ch"),
    ):
        with contextlib.suppress(ClientError):
            verify()


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_token_or_a_client_error(text: str) -> None:
    only_client_errors(text)


@given(st.binary(), st.binary(), st.binary())
def test_any_three_parts_are_a_token_or_a_client_error(header: bytes, payload: bytes, mac: bytes) -> None:
    parts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, payload, mac))
    only_client_errors(".".join(parts))


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), json_values))
def test_any_header_is_accepted_or_a_client_error(header: dict[str, Any]) -> None:
    only_client_errors(forge(header, SECRET.encode()))


@given(st.binary() | st.dictionaries(names, json_values).map(lambda claims: json.dumps(claims).encode()))
def test_any_signed_payload_is_accepted_or_a_client_error(payload: bytes) -> None:
    only_client_errors(jwt.PyJWS().encode(payload, SECRET, "HS256"))


def outcome(check: TokenVerifier, token: str) -> object:
    try:
        return check.verify_connection_nowait(token)
    except ClientError as error:
        return error.outcome, error.detail


GOOD = jwt.encode({"sub": "u", "exp": NOW + 60}, SECRET, "HS256")


@given(
    st.integers(0, len(GOOD) - 1),
    st.sampled_from("Aa0_-.=+/ \n\u00e9") | st.characters(),
    st.booleans(),
    st.sampled_from(["", "=", "==", ".", ".a", "A"]),
)
def test_a_token_is_judged_alike_whether_its_header_is_known_or_not(
    place: int, character: str, replace: bool, tail: str
) -> None:
    """What speeds the second token up lets nothing in that the first would not have been."""
    token = GOOD[:place] + character + GOOD[place + replace :] + tail
    fresh, warm = (TokenVerifier(hmac_secret=SECRET, now=lambda: NOW) for _ in range(2))
    warm.verify_connection_nowait(GOOD)
    assert outcome(warm, token) == outcome(fresh, token)
    assert outcome(warm, GOOD + tail) == outcome(fresh, GOOD + tail)


def test_headers_are_remembered_of_valid_tokens_alone() -> None:
    check = TokenVerifier(hmac_secret=SECRET, now=lambda: NOW)
    for number in range(100):
        header = {"alg": "HS256", "typ": "JWT", "x": number}
        outcome(check, forge(header, b"another secret"))
    assert check._headers == {}
    for number in range(100):
        outcome(check, jwt.encode({"sub": "u"}, SECRET, "HS256", headers={"x": number}))
    assert len(check._headers) == KNOWN_HEADERS


def test_a_known_header_is_worth_nothing_once_its_key_is_gone() -> None:
    check = TokenVerifier(hmac_secret=SECRET, now=lambda: NOW)
    assert not isinstance(outcome(check, GOOD), tuple)
    check.load_keys("another secret, and a long one too", "", "")
    assert isinstance(outcome(check, GOOD), tuple)
