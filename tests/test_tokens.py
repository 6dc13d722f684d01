"""JWTs: what is accepted, what a refusal does to the client, and that nothing else ever happens."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from gateway.auth.options import Override, SubscriptionOptions
from gateway.auth.token_maker import make_token
from gateway.auth.tokens import (
    TOKEN_LIMIT,
    ConnectionClaims,
    TokenExpired,
    TokenInvalid,
    TokenVerifier,
)
from gateway.errors import (
    DISCONNECT_INVALID_TOKEN,
    ERROR_PERMISSION_DENIED,
    ERROR_TOKEN_EXPIRED,
    ClientError,
)
from tests.keys import EC_KEYS, ED_KEY, NOW, OLD_SECRET, RSA_KEY, SECRET, forge, pem


def verifier(**options: Any) -> TokenVerifier:
    return TokenVerifier(**{"hmac_secret": SECRET, "now": lambda: NOW, **options})


def connect(claims: dict[str, Any], **options: Any) -> ConnectionClaims:
    verified = verifier(**options).verify_connection_nowait(make_token(SECRET, claims))
    assert verified is not None
    return verified


def refused(token: str, check: TokenVerifier | None = None) -> ClientError:
    """How a connection token is refused."""
    with pytest.raises(ClientError) as caught:
        (check or verifier()).verify_connection_nowait(token)
    return caught.value


def sub_refused(claims: dict[str, Any]) -> ClientError:
    """How a subscription token is refused, for user u, client c, channel ch."""
    with pytest.raises(ClientError) as caught:
        verifier().verify_subscription_nowait(make_token(SECRET, claims), "u", "c", "ch")
    return caught.value


# Claims


def test_a_connection_token_says_who_and_how_long() -> None:
    claims = connect({"sub": "u1", "exp": NOW + 60, "iat": NOW, "jti": "x", "unknown": 1})
    assert claims == ConnectionClaims("u1", NOW + 60, token_id="x", issued_at=NOW)


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": None, "exp": None, "info": None, "subs": None}])
def test_a_token_without_user_is_anonymous_and_never_expires(claims: dict[str, Any]) -> None:
    assert connect(claims) == ConnectionClaims("")


@pytest.mark.parametrize(
    ("claims", "expire_at"),
    [
        ({"exp": NOW + 60}, NOW + 60),
        ({"exp": NOW + 60, "expire_at": 0}, 0),
        ({"expire_at": NOW + 5}, NOW + 5),
    ],
)
def test_expire_at_overrides_exp(claims: dict[str, Any], expire_at: int) -> None:
    assert connect(claims).expire_at == expire_at


def test_info_and_meta_are_json_kept_compact() -> None:
    claims = connect({"info": {"name": "张三"}, "meta": [1, None]})
    assert claims.info is not None
    assert claims.meta is not None
    assert json.loads(bytes(claims.info)) == {"name": "张三"}
    assert bytes(claims.meta) == b"[1,null]"


def test_line_breaks_do_not_survive_because_they_separate_replies() -> None:
    spread = base64.b64encode(b'{\r\n "a": [1,\n2]}').decode()
    claims = connect({"b64info": spread, "subs": {"ch": {"b64data": spread}}})
    assert claims.info is not None
    assert bytes(claims.info) == b'{"a":[1,2]}'
    options = claims.subs["ch"]
    assert options.data is not None
    assert bytes(options.data) == b'{"a":[1,2]}'


def test_b64info_wins_over_info() -> None:
    claims = connect({"info": 1, "b64info": base64.b64encode(b"2").decode()})
    assert claims.info is not None
    assert bytes(claims.info) == b"2"


def test_channels_are_subscriptions_without_options() -> None:
    assert connect({"channels": ["a", "b"]}).subs == {"a": SubscriptionOptions(), "b": SubscriptionOptions()}


def test_subs_carry_options_and_win_over_channels() -> None:
    override = {
        "presence": {"value": True},
        "join_leave": {"value": False},
        "force_recovery": {"value": True},
        "force_positioning": {"value": True},
        "force_push_join_leave": {"value": True},
    }
    subs = {"news": {"info": 1, "data": {"a": 2}, "override": override}, "plain": {}, "empty": None}
    claims = connect({"subs": subs, "channels": ["other"]})
    assert list(claims.subs) == ["news", "plain", "empty"]
    assert claims.subs["plain"] == claims.subs["empty"] == SubscriptionOptions()
    options = claims.subs["news"]
    assert options.override == Override(True, False, True, True, True)
    assert (bytes(options.info or b""), bytes(options.data or b"")) == (b"1", b'{"a":2}')


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 7},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": str(NOW + 60)},
        {"exp": -1},
        {"exp": 1e300},
        {"nbf": "x"},
        {"iat": []},
        {"jti": 1},
        {"aud": 1},
        {"aud": [1]},
        {"expire_at": "never"},
        {"expire_at": 1.5},
        {"expire_at": -1},
        {"expire_at": 10**30},
        {"channels": "news"},
        {"channels": [1]},
        {"subs": []},
        {"subs": {"news": 1}},
        {"subs": {"news": {"override": {"presence": True}}}},
        {"subs": {"news": {"override": {"presence": {}}}}},
        {"b64info": "***"},
        {"b64info": base64.b64encode(b"not json").decode()},
        {"b64info": base64.b64encode(b'"\xff"').decode()},
        {"b64info": base64.b64encode(b"[" * 2000).decode()},
        {"subs": {"news": {"b64data": "***"}}},
        {"channel": 1},
    ],
)
def test_claims_of_the_wrong_type_make_a_token_invalid(claims: dict[str, Any]) -> None:
    error = refused(make_token(SECRET, claims))
    assert isinstance(error, TokenInvalid)
    assert error.outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b'{"iss":1}', b"[]", b'"x"', b'{"info":"\xff"}', b'{"info":' + b"[" * 3000, b"{", b"{}x"],
)
def test_a_signed_payload_that_is_no_set_of_claims_is_invalid(payload: bytes) -> None:
    token = jwt.PyJWS().encode(payload, SECRET, "HS256")
    assert refused(token).outcome == DISCONNECT_INVALID_TOKEN


# Time, audience, issuer


@pytest.mark.parametrize("claims", [{"exp": NOW}, {"exp": NOW - 1}, {"nbf": NOW + 1}, {"exp": 0}])
def test_out_of_time_is_error_109_without_leeway(claims: dict[str, Any]) -> None:
    error = refused(make_token(SECRET, claims))
    assert isinstance(error, TokenExpired)
    assert error.outcome == ERROR_TOKEN_EXPIRED


@pytest.mark.parametrize("claims", [{"exp": NOW + 1}, {"exp": NOW + 0.5}, {"nbf": NOW}, {"iat": NOW + 99}])
def test_in_time_is_accepted(claims: dict[str, Any]) -> None:
    assert connect(claims).user == ""


def test_an_expired_token_with_a_bad_signature_is_invalid_and_not_expired() -> None:
    assert refused(make_token("x" * 64, {"exp": NOW - 1})).outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize("aud", ["us", ["them", "us"]])
def test_the_right_audience_is_accepted(aud: Any) -> None:
    connect({"aud": aud}, audience="us")


@pytest.mark.parametrize("claims", [{}, {"aud": "them"}, {"aud": []}, {"aud": "us2"}])
def test_another_audience_is_invalid(claims: dict[str, Any]) -> None:
    assert refused(make_token(SECRET, claims), verifier(audience="us")).outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize("claims", [{}, {"iss": "them"}])
def test_another_issuer_is_invalid(claims: dict[str, Any]) -> None:
    assert refused(make_token(SECRET, claims), verifier(issuer="us")).outcome == DISCONNECT_INVALID_TOKEN
    connect({"iss": "us"}, issuer="us")


def test_audience_and_issuer_do_not_matter_where_none_is_configured() -> None:
    connect({"aud": "anyone", "iss": "anyone"})


# Keys and algorithms


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_both_hmac_secrets_verify(algorithm: str, secret: str) -> None:
    check = verifier(hmac_previous_secret=OLD_SECRET)
    claims = check.verify_connection_nowait(make_token(secret, {"sub": "u"}, algorithm=algorithm))
    assert claims == ConnectionClaims("u")


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"])
def test_a_public_key_verifies_without_the_network(algorithm: str) -> None:
    key = EC_KEYS.get(algorithm, RSA_KEY)
    check = TokenVerifier(public_key_pem=pem(key), now=lambda: NOW)
    claims = check.verify_connection_nowait(make_token(key, {"sub": "u"}, algorithm=algorithm, kid="any"))
    assert claims == ConnectionClaims("u")


@pytest.mark.parametrize("algorithm", ["PS256", "none", "HS256"])
def test_an_algorithm_that_does_not_belong_to_the_key_is_invalid(algorithm: str) -> None:
    key: Any = {"PS256": RSA_KEY, "none": None, "HS256": SECRET}[algorithm]
    check = TokenVerifier(public_key_pem=pem(RSA_KEY), now=lambda: NOW)
    token = make_token(key, {"sub": "u"}, algorithm=algorithm)
    assert refused(token, check).outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "hs256", "none", "None", ""])
def test_a_public_key_is_no_secret(algorithm: str) -> None:
    """The classic confusion: the public key, known to all, used as the HMAC secret."""
    public = pem(RSA_KEY)
    token = forge({"alg": algorithm, "typ": "JWT"}, public.encode())
    for check in (TokenVerifier(public_key_pem=public), verifier(public_key_pem=public)):
        assert refused(token, check).outcome == DISCONNECT_INVALID_TOKEN


def test_the_forgery_of_the_test_above_would_pass_with_the_right_secret() -> None:
    assert verifier().verify_connection_nowait(forge({"alg": "HS256"}, SECRET.encode())) is not None


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": None},
        {"alg": 1},
        {"alg": ["HS256"]},
        {"alg": "none"},
        {"alg": "HS256", "kid": 1},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
    ],
)
def test_a_header_that_is_not_understood_is_invalid(header: dict[str, Any]) -> None:
    assert refused(forge(header, SECRET.encode())).outcome == DISCONNECT_INVALID_TOKEN


def test_a_token_without_signature_is_invalid() -> None:
    head, _, _ = make_token(SECRET, {"sub": "u"}).rpartition(".")
    for token in (head, head + ".", head + ".AAAA"):
        assert refused(token).outcome == DISCONNECT_INVALID_TOKEN


def test_every_changed_character_makes_a_token_invalid() -> None:
    token = make_token(SECRET, {"sub": "u"})
    for index, char in enumerate(token):
        changed = token[:index] + ("A" if char != "A" else "B") + token[index + 1 :]
        assert refused(changed).outcome == DISCONNECT_INVALID_TOKEN


def test_a_token_beyond_the_limit_is_invalid_unread() -> None:
    assert refused(make_token(SECRET, {"info": "x" * TOKEN_LIMIT})).outcome == DISCONNECT_INVALID_TOKEN


def test_without_a_key_no_token_is_valid() -> None:
    check = TokenVerifier()
    assert not check.configured
    assert refused(make_token(SECRET, {}), check).outcome == DISCONNECT_INVALID_TOKEN
    assert refused(forge({"alg": "HS256"}, b""), check).outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize("options", [{"hmac_secret": SECRET}, {"public_key_pem": pem(RSA_KEY)}])
def test_with_a_key_it_is_configured(options: dict[str, str]) -> None:
    assert TokenVerifier(**options).configured  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_a_bad_public_key_is_a_mistake_in_the_config(text: str) -> None:
    with pytest.raises(ValueError, match=r"client\.token_public_key"):
        TokenVerifier(public_key_pem=text)


@pytest.mark.parametrize("key", [ED_KEY, ec.generate_private_key(ec.SECP256K1())])
def test_a_public_key_of_another_kind_is_a_mistake_in_the_config(key: Any) -> None:
    with pytest.raises(ValueError, match=r"client\.token_public_key"):
        TokenVerifier(public_key_pem=pem(key))


def test_a_public_key_as_the_secret_is_a_mistake_in_the_config() -> None:
    with pytest.raises(ValueError, match=r"client\.token_hmac_secret"):
        TokenVerifier(hmac_secret=pem(RSA_KEY))


def test_a_short_secret_works_with_a_warning_that_does_not_show_it() -> None:
    with capture_logs() as logs:
        check = TokenVerifier(hmac_secret="hunter2-short", now=lambda: NOW)
    assert check.verify_connection_nowait(make_token("hunter2-short", {"sub": "u"})) is not None
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "hunter2" not in repr(logs) + repr(check)


# Subscription tokens


def test_a_subscription_token_carries_its_options() -> None:
    claims = {
        "sub": "u",
        "channel": "ch",
        "client": "c",
        "exp": NOW + 60,
        "expire_at": NOW + 90,
        "info": {"a": 1},
        "b64data": base64.b64encode(b"[1]").decode(),
        "override": {"presence": {"value": True}},
    }
    verified = verifier().verify_subscription_nowait(make_token(SECRET, claims), "u", "c", "ch")
    assert verified is not None
    assert (verified.user, verified.channel, verified.client) == ("u", "ch", "c")
    assert verified.expire_at == NOW + 90
    assert bytes(verified.options.info or b"") == b'{"a":1}'
    assert bytes(verified.options.data or b"") == b"[1]"
    assert verified.options.override == Override(presence=True)


def test_an_anonymous_subscription_token_fits_an_anonymous_user() -> None:
    token = make_token(SECRET, {"channel": "ch"})
    assert verifier().verify_subscription_nowait(token, "", "c", "ch") is not None


@pytest.mark.parametrize(
    "change", [{"channel": "other"}, {"sub": "other"}, {"sub": ""}, {"sub": None}, {"client": "other"}]
)
def test_a_token_for_another_subscription_ends_the_connection(change: dict[str, Any]) -> None:
    error = sub_refused({"sub": "u", "channel": "ch", **change})
    assert error.outcome == DISCONNECT_INVALID_TOKEN


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "u"},
        {"sub": "u", "channel": ""},
        {"sub": "u", "channel": "ch", "info": 1, "b64info": "***"},
        {"sub": 1, "channel": "ch"},
    ],
)
def test_an_invalid_subscription_token_is_permission_denied(claims: dict[str, Any]) -> None:
    assert sub_refused(claims).outcome == ERROR_PERMISSION_DENIED


def test_a_subscription_token_with_a_bad_signature_is_permission_denied() -> None:
    token = make_token("x" * 64, {"sub": "u", "channel": "ch"})
    with pytest.raises(TokenInvalid) as caught:
        verifier().verify_subscription_nowait(token, "u", "c", "ch")
    assert caught.value.outcome == ERROR_PERMISSION_DENIED


def test_an_expired_subscription_token_is_error_109() -> None:
    assert sub_refused({"sub": "u", "channel": "ch", "exp": NOW}).outcome == ERROR_TOKEN_EXPIRED


@pytest.mark.parametrize("channel", ["ch", ""])
def test_a_subscription_token_does_not_connect(channel: str) -> None:
    error = refused(make_token(SECRET, {"sub": "u", "channel": channel}))
    assert error.outcome == DISCONNECT_INVALID_TOKEN
