"""Keys by URL: fetched once, by one caller, for all; and kept through an outage, but not for ever."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from fastapi import FastAPI, Response
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.auth.jwks import Jwks, parse_jwks
from gateway.auth.token_maker import make_token
from gateway.auth.tokens import ConnectionClaims, TokenInvalid, TokenVerifier
from gateway.errors import (
    DISCONNECT_INVALID_TOKEN,
    ERROR_INTERNAL,
    ERROR_PERMISSION_DENIED,
    UpstreamError,
)
from tests.keys import EC_KEYS, ED_KEY, NOW, RSA_KEY, SECRET
from tests.servers import serve_app
from tests.timing import MS


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        made = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, rsa.RSAPrivateKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": kid, **more}


class Issuer:
    """A JWKS endpoint that can be slow, down or wrong, and counts who asks."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.body = json.dumps({"keys": [jwk(RSA_KEY, "r1"), jwk(ED_KEY, "ed")]}).encode()
        self.status = 200
        self.delay = 0.0
        self.fetches = 0
        self.now = 1000.0
        self.app.get("/jwks.json")(self.answer)

    async def answer(self) -> Response:
        self.fetches += 1
        await asyncio.sleep(self.delay)
        return Response(self.body, self.status)


@contextlib.asynccontextmanager
async def issuing(**options: Any) -> AsyncIterator[tuple[Issuer, TokenVerifier, Jwks]]:
    issuer = Issuer()
    async with serve_app(issuer.app) as base_url, httpx.AsyncClient() as http:
        jwks = Jwks(
            f"{base_url}/jwks.json?key=hidden",
            http,
            now=lambda: issuer.now,
            **{"timeout": 2000 * MS, **options},
        )
        yield issuer, TokenVerifier(hmac_secret=SECRET, jwks=jwks, now=lambda: NOW), jwks
        await jwks.close()


def token_of(key: Any, kid: str | None, algorithm: str = "RS256") -> str:
    return make_token(key, {"sub": "u"}, algorithm=algorithm, kid=kid)


async def test_the_key_is_fetched_once_and_then_at_hand() -> None:
    async with issuing() as (issuer, check, _):
        assert check.verify_connection_nowait(token_of(RSA_KEY, "r1")) is None
        assert await check.verify_connection(token_of(RSA_KEY, "r1")) == ConnectionClaims("u")
        assert check.verify_connection_nowait(token_of(RSA_KEY, "r1")) == ConnectionClaims("u")
        assert await check.verify_connection(token_of(ED_KEY, "ed", "EdDSA")) == ConnectionClaims("u")
        assert issuer.fetches == 1


async def test_subscription_tokens_use_the_jwks_too() -> None:
    async with issuing() as (_, check, _):
        token = make_token(RSA_KEY, {"sub": "u", "channel": "ch"}, algorithm="RS256", kid="r1")
        assert (await check.verify_subscription(token, "u", "c", "ch")).channel == "ch"
        with pytest.raises(TokenInvalid) as caught:
            await check.verify_subscription(token_of(RSA_KEY, "r2"), "u", "c", "ch")
        assert caught.value.outcome == ERROR_PERMISSION_DENIED


async def test_hmac_tokens_do_not_ask_the_jwks() -> None:
    async with issuing() as (issuer, check, _):
        assert await check.verify_connection(make_token(SECRET, {"sub": "u"}, kid="r1")) is not None
        assert issuer.fetches == 0


async def test_many_at_once_cause_one_fetch() -> None:
    async with issuing() as (issuer, check, _):
        issuer.delay = 50 * MS
        token = token_of(RSA_KEY, "r1")
        claims = await asyncio.gather(*(check.verify_connection(token) for _ in range(50)))
        assert set(map(repr, claims)) == {repr(ConnectionClaims("u"))}
        assert issuer.fetches == 1


async def test_one_callers_cancellation_leaves_the_fetch_to_the_others() -> None:
    async with issuing() as (issuer, check, _):
        issuer.delay = 50 * MS
        first, second = (asyncio.create_task(check.verify_connection(token_of(RSA_KEY, "r1"))) for _ in "ab")
        await asyncio.sleep(20 * MS)
        first.cancel()
        assert await second == ConnectionClaims("u")
        assert issuer.fetches == 1
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_an_unknown_kid_causes_a_fetch_once_per_interval() -> None:
    async with issuing(min_interval=10) as (issuer, check, _):
        for _ in range(3):
            with pytest.raises(TokenInvalid) as caught:
                await check.verify_connection(token_of(RSA_KEY, "nobody's"))
            assert caught.value.outcome == DISCONNECT_INVALID_TOKEN
        assert issuer.fetches == 1
        issuer.body = json.dumps({"keys": [jwk(RSA_KEY, "new")]}).encode()
        issuer.now += 10
        assert await check.verify_connection(token_of(RSA_KEY, "new")) == ConnectionClaims("u")
        assert issuer.fetches == 2


async def test_a_key_withdrawn_by_the_issuer_ends_with_the_cache() -> None:
    async with issuing(max_age=100) as (issuer, check, _):
        await check.verify_connection(token_of(RSA_KEY, "r1"))
        issuer.body = b'{"keys":[]}'
        issuer.now += 99
        assert check.verify_connection_nowait(token_of(RSA_KEY, "r1")) is not None
        issuer.now += 1
        with pytest.raises(TokenInvalid):
            await check.verify_connection(token_of(RSA_KEY, "r1"))


async def test_while_the_issuer_is_down_known_keys_go_on_for_a_while() -> None:
    async with issuing(min_interval=10, max_age=100, max_stale=200) as (issuer, check, _):
        await check.verify_connection(token_of(RSA_KEY, "r1"))
        issuer.status = 503
        issuer.now += 100
        assert await check.verify_connection(token_of(RSA_KEY, "r1")) == ConnectionClaims("u")
        assert check.verify_connection_nowait(token_of(RSA_KEY, "r1")) is not None
        assert issuer.fetches == 2
        with pytest.raises(UpstreamError):
            await check.verify_connection(token_of(RSA_KEY, "new"))
        issuer.now += 100
        with pytest.raises(UpstreamError):
            await check.verify_connection(token_of(RSA_KEY, "r1"))


def fail_with(status: int = 200, body: bytes = b"", delay: float = 0) -> Callable[[Issuer], None]:
    def fail(issuer: Issuer) -> None:
        issuer.status, issuer.body, issuer.delay = status, body, delay

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        fail_with(500),
        fail_with(302),
        fail_with(body=b"<html>"),
        fail_with(body=b'{"keys":1}'),
        fail_with(body=b'{"keys":' + b"[" * 5000),
        fail_with(body=b" " * 300_000),
        fail_with(delay=1000 * MS),
    ],
)
async def test_a_jwks_that_cannot_be_had_is_a_temporary_error_and_asked_once(
    fail: Callable[[Issuer], None],
) -> None:
    async with issuing(timeout=200 * MS) as (issuer, check, _):
        fail(issuer)
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(UpstreamError) as caught:
                    await check.verify_connection(token_of(RSA_KEY, "r1"))
                assert caught.value.error == ERROR_INTERNAL
        assert issuer.fetches == 1
        assert [entry["log_level"] for entry in logs] == ["warning"]
        assert "hidden" not in repr(logs)


async def test_a_token_without_kid_is_not_looked_up() -> None:
    async with issuing() as (issuer, check, _):
        with pytest.raises(TokenInvalid):
            await check.verify_connection(token_of(RSA_KEY, None))
        assert issuer.fetches == 0


async def test_another_key_with_a_known_kid_is_invalid() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    async with issuing() as (_, check, _):
        with pytest.raises(TokenInvalid):
            await check.verify_connection(token_of(other, "r1"))


async def test_close_ends_a_fetch_in_flight() -> None:
    async with issuing() as (issuer, check, jwks):
        issuer.delay = 500 * MS
        waiting = asyncio.create_task(check.verify_connection(token_of(RSA_KEY, "r1")))
        await asyncio.sleep(50 * MS)
        await jwks.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_jwk_on_a_curve_takes_the_algorithm_of_that_curve_only(algorithm: str) -> None:
    keys = parse_jwks(json.dumps({"keys": [jwk(EC_KEYS[algorithm], "k")]}).encode())
    assert keys is not None
    assert set(keys["k"].algorithms) == {algorithm}


def test_a_jwk_that_names_its_algorithm_takes_no_other() -> None:
    keys = parse_jwks(json.dumps({"keys": [jwk(RSA_KEY, "k", alg="RS384")]}).encode())
    assert keys is not None
    assert set(keys["k"].algorithms) == {"RS384"}


@pytest.mark.parametrize(
    "bad",
    [
        {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "kid": "k"},
        {"kty": "RSA", "kid": "k"},
        {"kty": "RSA", "kid": "k", "n": 1, "e": []},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": ["RSA"], "kid": "k"},
        {},
        {**jwk(RSA_KEY, "k"), "kid": 7},
        {**jwk(RSA_KEY, "k"), "use": "enc"},
        {**jwk(RSA_KEY, "k"), "alg": "HS256"},
        {**jwk(RSA_KEY, "k"), "alg": "PS256"},
        {**jwk(RSA_KEY, "k"), "alg": []},
        {**jwt.algorithms.OKPAlgorithm.to_jwk(ED_KEY, as_dict=True), "kid": "private"},
        {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True), "kid": "private"},
    ],
)
def test_a_key_of_another_kind_is_skipped_and_the_rest_is_kept(bad: dict[str, Any]) -> None:
    keys = parse_jwks(json.dumps({"keys": [bad, jwk(RSA_KEY, "good")]}).encode())
    assert keys is not None
    assert list(keys) == ["good"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(["kid", "kty", "alg", "use", "n", "e", "crv", "x", "y", "key_ops", "k"])


@given(members, json_values, st.sampled_from([RSA_KEY, ED_KEY, *EC_KEYS.values()]))
def test_any_member_of_a_key_may_be_anything(member: str, value: Any, key: Any) -> None:
    keys = parse_jwks(json.dumps({"keys": [{**jwk(key, "k"), member: value}]}).encode())
    assert keys is not None


@given(st.binary() | json_values.map(lambda value: json.dumps({"keys": value}).encode()))
def test_any_body_is_a_key_set_or_none(data: bytes) -> None:
    parse_jwks(data)
