"""Claims on wx.login codes that all nodes share: one code reaches WeChat once in the whole deployment."""

from __future__ import annotations

from gateway.auth.signin import CODE_LIFETIME
from gateway.brokers.redis_keys import Request
from gateway.brokers.redis_topology import Topology


class RedisCodeClaims:
    """See `gateway.auth.signin.CodeClaims`. Every operation raises UpstreamError where Redis is away."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix

    def _name(self, key: str) -> str:
        return f"{self._prefix}:code:{{{key}}}"

    async def claim(self, key: str) -> bool:
        """See `CodeClaims.claim`. Not repeated after a lost connection: the claim might be our own."""
        words = ("SET", self._name(key), "1", "NX", "EX", int(CODE_LIFETIME))
        return await self._topology.call(key, Request(words)) is not None

    async def release(self, key: str) -> None:
        """See `CodeClaims.release`."""
        await self._topology.call(key, Request(("DEL", self._name(key)), repeatable=True))
