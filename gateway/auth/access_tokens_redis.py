"""The access tokens of WeChat's API, one for all nodes, in Redis: encrypted, and gone once they expire."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.auth.sessions import SessionKeyCipher
from gateway.brokers.redis_keys import Request, milliseconds
from gateway.brokers.redis_topology import Topology
from gateway.wechat.access_token import AccessToken

OWNER = "access_token"
"""Bound into the ciphertext beside the appid, so that it is taken for nothing else."""


class RedisTokenStorage:
    """See `gateway.wechat.access_token.TokenStorage`. Raises UpstreamError where Redis is away.

    All nodes need the same secret in `cipher`; a token under another one is as good as none. `wall` is unix
    seconds.
    """

    def __init__(
        self, topology: Topology, cipher: SessionKeyCipher, prefix: str, wall: Callable[[], float]
    ) -> None:
        self._topology = topology
        self._cipher = cipher
        self._prefix = prefix
        self._wall = wall

    async def load(self, appid: str) -> AccessToken | None:
        """See `TokenStorage.load`."""
        sealed = await self._topology.call(appid, Request(("GET", self._name(appid)), repeatable=True))
        opened = self._cipher.open(appid, OWNER, sealed) if sealed else None
        return msgspec.json.decode(opened, type=AccessToken) if opened else None

    async def save(self, appid: str, token: AccessToken) -> None:
        """See `TokenStorage.save`."""
        sealed = self._cipher.seal(appid, OWNER, msgspec.json.encode(token).decode())
        ttl = milliseconds(max(1.0, token.expires_at - self._wall()))
        words = ("SET", self._name(appid), sealed, "PX", ttl)
        await self._topology.call(appid, Request(words, repeatable=True))

    async def claim_force(self, appid: str, seconds: float) -> bool:
        """See `TokenStorage.claim_force`. Not repeated when a connection is lost: it may be our own claim."""
        words = ("SET", f"{self._name(appid)}:forced", "1", "NX", "PX", milliseconds(seconds))
        return await self._topology.call(appid, Request(words)) is not None

    def _name(self, appid: str) -> str:
        return f"{self._prefix}:access_token:{{{appid}}}"
