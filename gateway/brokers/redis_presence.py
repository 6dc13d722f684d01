"""Presence in Redis: who is in which channel, over all nodes. The contract is in `base`.

Per channel a hash of the entries, a sorted set of their ends and a count per user, all changed by one script.
What ages out is removed by whoever looks next; the clock is the server's.
"""

from __future__ import annotations

from typing import Any

from gateway.brokers.base import PresenceStats
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_keys import PRESENCE, Request, Word, decode_info, encode_info, milliseconds
from gateway.protocol import ClientInfo


class RedisPresenceStore:
    """See `gateway.brokers.base.PresenceStore`; `ttl` in seconds. It uses the connections of `broker`."""

    def __init__(self, broker: RedisBroker, ttl: float = 60.0) -> None:
        self._topology = broker.topology
        self._keys = broker.topology.keys
        self._ttl = milliseconds(ttl)

    async def add(self, channel: str, client: str, info: ClientInfo) -> None:
        await self._call(channel, "add", self._ttl, client, info.user, encode_info(b"", info))

    async def remove(self, channel: str, client: str, user: str) -> None:
        await self._call(channel, "remove", 0, client)

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        reply = await self._call(channel, "get")
        values = (decode_info(value.partition(b"\0")[0]) for value in reply[1::2])
        return dict(zip((client.decode() for client in reply[::2]), values, strict=True))

    async def stats(self, channel: str) -> PresenceStats:
        clients, users = await self._call(channel, "stats")
        return PresenceStats(clients, users)

    def sweep(self, now: float) -> None:
        """Redis forgets by itself."""

    async def _call(self, channel: str, *words: Word) -> Any:
        keys = self._keys.presence(channel)
        return await self._topology.call(channel, Request((len(keys), *keys, *words), True, PRESENCE))
