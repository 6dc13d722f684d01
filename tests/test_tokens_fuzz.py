"""Whatever is sent as a token: it is accepted, or a `ClientError` says what the client gets."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.tokens import TokenVerifier
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
