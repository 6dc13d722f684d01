"""What users have sent today, for all HTTP processes and across restarts: in Redis."""

from __future__ import annotations

from typing import Final

from gateway.brokers.redis_keys import Request, Word
from gateway.brokers.redis_topology import Topology
from gateway.config.units import DAY

KEPT: Final = 2 * DAY
"""Seconds that a day's count is kept: its own, and what clocks may differ by."""


class RedisLedger:
    """See `gateway.files.quotas.Ledger`. Every operation raises UpstreamError where Redis is away."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix

    async def used(self, appid: str, user: str, day: int) -> tuple[int, int]:
        """See `Ledger.used`."""
        files, size = await self._call(appid, user, "HMGET", day, "files", "size")
        return int(files or 0), int(size or 0)

    async def add(self, appid: str, user: str, day: int, size: int) -> None:
        """See `Ledger.add`. Not repeated when a connection is lost: a file must not count twice."""
        await self._call(appid, user, "HINCRBY", day, "files", 1)
        await self._call(appid, user, "HINCRBY", day, "size", size)
        await self._call(appid, user, "EXPIRE", day, int(KEPT))

    async def _call(self, appid: str, user: str, command: str, day: int, *words: Word) -> list[bytes | None]:
        name = f"{self._prefix}:quota:{{{appid}:{user}}}:{day}"
        request = Request((command, name, *words), repeatable=command != "HINCRBY")
        answer: list[bytes | None] = await self._topology.call(f"{appid}:{user}", request)
        return answer
