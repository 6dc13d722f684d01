"""Public keys by URL (RFC 7517): cached, fetched by one caller at a time, refreshed when a key is unknown.

A token names its key by `kid`. Anyone may send a token with a `kid` of their own making, so an unknown
one causes a fetch at most once per `min_interval`. While the URL is down, keys that were seen within
`max_stale` go on working.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt import PyJWK
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from gateway.errors import ERROR_INTERNAL, UpstreamError
from gateway.upstream.fetch import FetchError, fetch

BODY_LIMIT = 256 * 1024
"""Bytes of a key set; a large provider's has 10 KB."""

MAX_KEYS = 64

log = structlog.stdlib.get_logger(__name__)

RSA_ALGORITHMS: Final[dict[str, Algorithm]] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
}
# RFC 7518 §3.4 ties each algorithm to one curve.
EC_ALGORITHMS: Final[dict[str, tuple[str, Algorithm]]] = {
    "secp256r1": ("ES256", ECAlgorithm(ECAlgorithm.SHA256)),
    "secp384r1": ("ES384", ECAlgorithm(ECAlgorithm.SHA384)),
    "secp521r1": ("ES512", ECAlgorithm(ECAlgorithm.SHA512)),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key ready for use, and the only algorithms it may be used with: the key decides, never the token."""

    algorithms: Mapping[str, Algorithm]
    key: Any = field(repr=False)

    def verifies(self, alg: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's, made with `alg`."""
        algorithm = self.algorithms.get(alg)
        return algorithm is not None and algorithm.verify(signing_input, self.key, signature)


def public_key(key: object) -> Key:
    """An RSA or EC public key with its algorithms; ValueError for any other."""
    if isinstance(key, rsa.RSAPublicKey):
        return Key(RSA_ALGORITHMS, key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in EC_ALGORITHMS:
        name, algorithm = EC_ALGORITHMS[key.curve.name]
        return Key({name: algorithm}, key)
    raise ValueError("not an RSA public key, nor an EC public key on P-256, P-384 or P-521")


class Jwks:
    """The key set at one URL. The httpx client is shared, and closed by its owner."""

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        timeout: float = 3.0,
        min_interval: float = 10.0,
        max_age: float = 3600.0,
        max_stale: float = 86400.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._timeout = timeout
        self._min_interval = min_interval
        self._max_age = max_age
        self._max_stale = max_stale
        self._now = now
        self._keys: dict[str, Key] = {}
        self._fetched_at = float("-inf")
        self._next_fetch = float("-inf")
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    def get(self, kid: str) -> Key | None:
        """A key to use now; None asks for a `refresh` first."""
        now = self._now()
        age = now - self._fetched_at
        if age < self._max_age or (age < self._max_stale and now < self._next_fetch):
            return self._keys.get(kid)
        return None

    async def refresh(self, kid: str) -> None:
        """Fetch the keys unless that was just done; UpstreamError if `kid` cannot be looked up now."""
        if self._fetching is None and self._now() >= self._next_fetch:
            self._fetching = asyncio.create_task(self._fetch(), name="jwks")
        if self._fetching is not None:
            # Shielded: one caller's cancellation is not the others'.
            await asyncio.shield(self._fetching)
        if self._failed and self.get(kid) is None:
            raise UpstreamError(ERROR_INTERNAL, "the JWKS cannot be fetched")

    async def close(self) -> None:
        """End a fetch in flight."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> None:
        try:
            keys = await self._download()
            self._failed = keys is None
            if keys is not None:
                self._keys = keys
                self._fetched_at = self._now()
        finally:
            self._next_fetch = self._now() + self._min_interval
            self._fetching = None

    async def _download(self) -> dict[str, Key] | None:
        try:
            answer = await fetch(self._client, self._url, None, timeout=self._timeout, limit=BODY_LIMIT)
        except FetchError as exc:
            log.warning("JWKS fetch failed", url=_public(self._url), why=exc.kind)
            return None
        keys = parse_jwks(answer.body) if answer.status == 200 else None
        if keys is None:
            log.warning("JWKS fetch failed", url=_public(self._url), status=answer.status)
        return keys


def _public(url: str) -> str:
    """The URL without what may be secret in it."""
    return str(httpx.URL(url).copy_with(query=None, userinfo=b""))


class _JwkSet(msgspec.Struct):
    keys: list[dict[str, Any]]


def parse_jwks(data: bytes) -> dict[str, Key] | None:
    """The signing keys of a set by their `kid`; None if it is not a key set.

    Keys of other kinds are skipped, as RFC 7517 §5 wants it. A symmetric key ("oct") is never taken: a
    published secret verifies nothing.
    """
    try:
        found = msgspec.json.decode(data, type=_JwkSet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    keys: dict[str, Key] = {}
    for jwk in found[:MAX_KEYS]:
        kid, key = jwk.get("kid"), _parse_jwk(jwk)
        if isinstance(kid, str) and key is not None:
            keys[kid] = key
    return keys


def _parse_jwk(jwk: dict[str, Any]) -> Key | None:
    if jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC", "OKP") or "d" in jwk:
        return None
    try:
        parsed = PyJWK.from_dict({**jwk, "alg": None})
        if parsed.algorithm_name == "EdDSA":
            key = Key({"EdDSA": OKPAlgorithm()}, parsed.key)
        else:
            key = public_key(parsed.key)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if jwk.get("alg") is None:
        return key
    named = {name: algorithm for name, algorithm in key.algorithms.items() if name == jwk["alg"]}
    return Key(named, key.key) if named else None
