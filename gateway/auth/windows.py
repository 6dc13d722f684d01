"""How often something has happened in the present minute, or day: counted by all nodes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.brokers.redis_keys import Request, Script
from gateway.brokers.redis_topology import Topology

SCRIPT: Final = Script("window.lua", "gateway.auth")
NAMES_LIMIT: Final = 100_000
"""Names that one process counts; beyond them it begins anew."""


class Windows(Protocol):
    """Counters that start again at each multiple of their length."""

    async def hit(self, name: str, seconds: int) -> int:
        """Count once more; how often it was in the window of `seconds` that runs now, this time included.

        Raises UpstreamError where the counter cannot be reached.
        """
        ...


class MemoryWindows:
    """Counters of one process. `wall`: unix seconds."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}

    async def hit(self, name: str, seconds: int) -> int:
        """See `Windows.hit`."""
        if len(self._counts) >= NAMES_LIMIT:
            self._counts.clear()
        window = int(self._wall() // seconds)
        known, count = self._counts.get((name, seconds), (window, 0))
        count = count + 1 if known == window else 1
        self._counts[name, seconds] = (window, count)
        return count


class RedisWindows:
    """Counters of all nodes. `wall`: unix seconds; nodes whose clocks differ share a window a little less."""

    def __init__(self, topology: Topology, prefix: str, wall: Callable[[], float]) -> None:
        self._topology = topology
        self._prefix = prefix
        self._wall = wall

    async def hit(self, name: str, seconds: int) -> int:
        """See `Windows.hit`. Not repeated after a lost connection: once is once."""
        key = f"{self._prefix}:window:{{{name}}}:{seconds}:{int(self._wall() // seconds)}"
        return int(await self._topology.call(name, Request((1, key, (seconds + 60) * 1000), script=SCRIPT)))
