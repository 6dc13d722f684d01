"""JWTs of clients that are not mini-programs: connection tokens and subscription tokens.

Claims and outcomes are Centrifugo's (https://centrifugal.dev/docs/server/authentication), so every
library that makes tokens for it makes them for us. PyJWT takes the token apart and does the signatures;
the claims are typed and checked here, against the caller's clock and without leeway.

An HMAC secret and a PEM key need no waiting: `*_nowait` decides at once, and returns None only for a
key that has to be fetched from the JWKS.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, HMACAlgorithm
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError
from msgspec import Raw

from gateway.auth.jwks import Jwks, Key, public_key
from gateway.auth.options import (
    SubscriptionOptions,
    WireOptions,
    WireOverride,
    embedded_json,
    read_override,
)
from gateway.errors import (
    DISCONNECT_INVALID_TOKEN,
    ERROR_PERMISSION_DENIED,
    ERROR_TOKEN_EXPIRED,
    ClientError,
    Disconnect,
    Error,
)

_COMPACT = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII)

TOKEN_LIMIT = 8 * 1024
"""Characters of a token; a token with a few dozen server-side subscriptions fits."""

KNOWN_HEADERS = 16
"""Headers of valid tokens that are remembered; a backend has one for each of its keys."""

MIN_HMAC_SECRET = 32
"""Bytes: RFC 7518 §3.2 wants a key as long as the hash."""

_HMAC_ALGORITHMS: dict[str, Algorithm] = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "HS384": HMACAlgorithm(HMACAlgorithm.SHA384),
    "HS512": HMACAlgorithm(HMACAlgorithm.SHA512),
}

log = structlog.stdlib.get_logger(__name__)


class TokenExpired(ClientError):
    """Past its `exp`, or before its `nbf`: error 109, on which an SDK fetches a new token."""

    def __init__(self, detail: str) -> None:
        super().__init__(ERROR_TOKEN_EXPIRED, detail)


class TokenInvalid(ClientError):
    """Not a token we accept here, and a second try will not change that."""


class ConnectionClaims(msgspec.Struct, frozen=True):
    """A verified connection token. `user` may be "" (anonymous); `expire_at` is 0 for never.

    `subs` are the server-side subscriptions: the claim `subs`, or `channels` where that is absent.
    `token_id` and `issued_at` (unix seconds) are `jti` and `iat`, empty where absent.
    """

    user: str
    expire_at: int = 0
    info: Raw | None = None
    meta: Raw | None = None
    subs: dict[str, SubscriptionOptions] = {}
    token_id: str = ""
    issued_at: float = 0.0


class SubscriptionClaims(msgspec.Struct, frozen=True):
    """A verified subscription token; `client` is "" unless the token is bound to one connection."""

    user: str
    channel: str
    client: str = ""
    expire_at: int = 0
    options: SubscriptionOptions = SubscriptionOptions()


# The claims as they stand in the token. Raw() means absent.
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2**53)]
_ExpireAt = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _WireClaims(msgspec.Struct, frozen=True):
    sub: str | None = None
    exp: _Seconds | None = None
    nbf: _Seconds | None = None
    iat: _Seconds | None = None
    jti: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    expire_at: _ExpireAt | None = None
    channel: str | None = None


class _WireConnection(_WireClaims, frozen=True):
    info: Raw = Raw()
    b64info: str | None = None
    meta: Raw = Raw()
    channels: list[str] | None = None
    subs: dict[str, WireOptions | None] | None = None


class _WireSubscription(_WireClaims, frozen=True):
    client: str | None = None
    info: Raw = Raw()
    b64info: str | None = None
    data: Raw = Raw()
    b64data: str | None = None
    override: WireOverride | None = None


_W = TypeVar("_W", bound=_WireClaims)


class TokenVerifier:
    """Says who a JWT speaks for. Every failure is a `ClientError` with its outcome.

    The key's kind decides which algorithms it takes: HS* only with the HMAC secrets, RS* or ES* only
    with a public key of that kind, EdDSA only with the JWKS, "none" with nothing. A token that names a
    `kid` is looked up in the JWKS if there is one, any other one is held against the PEM key.
    """

    def __init__(
        self,
        *,
        hmac_secret: str = "",
        hmac_previous_secret: str = "",
        public_key_pem: str = "",
        jwks: Jwks | None = None,
        audience: str = "",
        issuer: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.load_keys(hmac_secret, hmac_previous_secret, public_key_pem)
        self._jwks = jwks
        self._audience = audience
        self._issuer = issuer
        self._now = now
        self._jws = PyJWS()
        self._headers: dict[str, dict[str, Any]] = {}

    def load_keys(self, hmac_secret: str, hmac_previous_secret: str, public_key_pem: str) -> None:
        """Accept tokens under these keys from now on, and under no earlier ones."""
        self._hmac_keys = [_hmac_key(secret) for secret in (hmac_secret, hmac_previous_secret) if secret]
        self._public_keys = [_pem_key(public_key_pem)] if public_key_pem else []

    def __repr__(self) -> str:
        return f"<TokenVerifier hmac={len(self._hmac_keys)} pem={len(self._public_keys)} jwks={self._jwks}>"

    @property
    def configured(self) -> bool:
        """Whether there is any key; without one, no token is valid."""
        return bool(self._hmac_keys or self._public_keys or self._jwks)

    async def verify_connection(self, token: str) -> ConnectionClaims:
        """`verify_connection_nowait`, after fetching the key if that is needed."""
        claims = self.verify_connection_nowait(token)
        if claims is None:
            await self._fetch_key(token)
            claims = self.verify_connection_nowait(token)
        if claims is None:
            raise TokenInvalid(DISCONNECT_INVALID_TOKEN, "the token's key is not in the JWKS")
        return claims

    def verify_connection_nowait(self, token: str) -> ConnectionClaims | None:
        """The claims of a connection token; None if its key is not at hand."""
        wire = self._verify(token, _WireConnection, DISCONNECT_INVALID_TOKEN)
        if wire is None:
            return None
        if wire.channel is not None:
            raise TokenInvalid(DISCONNECT_INVALID_TOKEN, "a subscription token was used to connect")
        try:
            return ConnectionClaims(
                wire.sub or "",
                _expire_at(wire),
                embedded_json(wire.info, wire.b64info),
                embedded_json(wire.meta),
                _server_side(wire),
                wire.jti or "",
                wire.iat or 0.0,
            )
        except ValueError as exc:
            raise TokenInvalid(DISCONNECT_INVALID_TOKEN, f"bad claim: {exc}") from None

    async def verify_subscription(
        self, token: str, user: str, client_id: str, channel: str
    ) -> SubscriptionClaims:
        """`verify_subscription_nowait`, after fetching the key if that is needed."""
        claims = self.verify_subscription_nowait(token, user, client_id, channel)
        if claims is None:
            await self._fetch_key(token)
            claims = self.verify_subscription_nowait(token, user, client_id, channel)
        if claims is None:
            raise TokenInvalid(ERROR_PERMISSION_DENIED, "the token's key is not in the JWKS")
        return claims

    def verify_subscription_nowait(
        self, token: str, user: str, client_id: str, channel: str
    ) -> SubscriptionClaims | None:
        """The claims of a subscription token for exactly this subscription; None as above."""
        wire = self._verify(token, _WireSubscription, ERROR_PERMISSION_DENIED)
        if wire is None:
            return None
        if not wire.channel:
            raise TokenInvalid(ERROR_PERMISSION_DENIED, "the token has no channel")
        if wire.channel != channel or (wire.sub or "") != user or (wire.client or client_id) != client_id:
            raise TokenInvalid(DISCONNECT_INVALID_TOKEN, "the token is for another subscription")
        try:
            options = SubscriptionOptions(
                embedded_json(wire.info, wire.b64info),
                embedded_json(wire.data, wire.b64data),
                read_override(wire.override),
            )
        except ValueError as exc:
            raise TokenInvalid(ERROR_PERMISSION_DENIED, f"bad claim: {exc}") from None
        return SubscriptionClaims(user, channel, wire.client or "", _expire_at(wire), options)

    def _verify(self, token: str, wire: type[_W], invalid: Error | Disconnect) -> _W | None:
        """Signature, types, time, audience, issuer: the order of Centrifugo, which decides the outcome."""
        try:
            payload = self._signed_payload(token)
            if payload is None:
                return None
            # Raw values keep their bytes, so the text as a whole has to be checked here.
            claims = msgspec.json.decode(payload.decode("utf-8"), type=wire)
        except (ValueError, RecursionError, msgspec.MsgspecError, PyJWTError):
            raise TokenInvalid(invalid, "bad signature, format or claim types") from None
        now = self._now()
        if claims.exp is not None and claims.exp <= now:
            raise TokenExpired("the token has expired")
        if claims.nbf is not None and claims.nbf > now:
            raise TokenExpired("the token is not valid yet")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._audience and self._audience not in audience:
            raise TokenInvalid(invalid, "the token is for another audience")
        if self._issuer and self._issuer != claims.iss:
            raise TokenInvalid(invalid, "the token is from another issuer")
        return claims

    def _signed_payload(self, token: str) -> bytes | None:
        """The payload once a key has verified it; None if the key has to be fetched; else ValueError."""
        header, payload, signature = self._parse(token)
        alg = header.get("alg")
        if not isinstance(alg, str):
            raise ValueError("alg is not a string")
        keys: list[Key] = []
        if alg in _HMAC_ALGORITHMS:
            keys = self._hmac_keys
        elif self._jwks is not None and header.get("kid"):
            key = self._jwks.get(header["kid"])
            if key is None:
                return None
            keys = [key]
        else:
            keys = self._public_keys
        signing_input = token.rpartition(".")[0].encode()
        if not any(key.verifies(alg, signing_input, signature) for key in keys):
            raise ValueError("no key verifies the signature")
        if len(self._headers) < KNOWN_HEADERS:  # only of who has a key: nobody else can fill this
            self._headers.setdefault(token.partition(".")[0], header)
        return payload

    def _parse(self, token: str) -> tuple[dict[str, Any], bytes, bytes]:
        """Header, payload and signature, none of them verified."""
        if len(token) > TOKEN_LIMIT or not token.isascii():
            raise ValueError("too long, or not ASCII")
        known = self._parse_known(token)
        if known is not None:
            return known
        parts = self._jws.decode_complete(token, options={"verify_signature": False})
        return parts["header"], parts["payload"], parts["signature"]

    def _parse_known(self, token: str) -> tuple[dict[str, Any], bytes, bytes] | None:
        """The same for a token whose header the library has judged before; None for any other.

        All tokens of a backend share their header, and the library looks at each character of each part.
        """
        found = _COMPACT.fullmatch(token)
        header = self._headers.get(found[1]) if found else None
        if found is None or header is None:
            return None
        payload, signature = (
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in found.group(2, 3)
        )
        exactly = f"{found[1]}.{_base64url(payload)}.{_base64url(signature)}"
        return (header, payload, signature) if exactly == token else None

    async def _fetch_key(self, token: str) -> None:
        if self._jwks is not None:  # always: nothing else makes a key wait
            await self._jwks.refresh(self._parse(token)[0]["kid"])


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _hmac_key(secret: str) -> Key:
    if len(secret.encode()) < MIN_HMAC_SECRET:
        log.warning("client.token_hmac_secret is short: it can be guessed", use_at_least=MIN_HMAC_SECRET)
    try:
        # Refuses a public key: whoever configures one as the secret lets everyone make tokens.
        return Key(_HMAC_ALGORITHMS, _HMAC_ALGORITHMS["HS256"].prepare_key(secret))
    except PyJWTError as exc:
        raise ValueError(f"client.token_hmac_secret: {exc}") from None


def _pem_key(pem: str) -> Key:
    try:
        return public_key(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError(f"client.token_public_key: {exc}") from None


def _expire_at(wire: _WireClaims) -> int:
    """`expire_at` overrides `exp` as the end of the connection or subscription."""
    return wire.expire_at if wire.expire_at is not None else int(wire.exp or 0)


def _server_side(wire: _WireConnection) -> dict[str, SubscriptionOptions]:
    if wire.subs:
        return {channel: (options or WireOptions()).read() for channel, options in wire.subs.items()}
    return {channel: SubscriptionOptions() for channel in wire.channels or ()}
