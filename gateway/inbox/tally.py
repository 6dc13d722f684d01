"""How much waits in all inboxes together, so that a flood of letters fills no store.

Nodes count what they add and settle, and exchange it once a second. The sums are kept by the hour in which a
delivery ends, and an hour that is over is forgotten with its sum: what was never settled, or was lost with a
node, corrects itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from gateway.brokers.redis_keys import Keys, Request, Script, Word
from gateway.brokers.redis_topology import Topology
from gateway.config.units import DAY

SCRIPT: Final = Script("tally.lua", "gateway.inbox")

HOUR: Final = 3_600_000
"""Milliseconds."""
SLOT: Final = "inbox"
KEPT: Final = round(31 * DAY * 1000)
"""Milliseconds that Redis keeps sums which nobody changes: longer than any delivery waits."""


class Totals(Protocol):
    """Where all nodes find the sums."""

    async def add(self, hour: int, changes: Mapping[int, int]) -> int:
        """Add to the sums of these hours; the sum of all from `hour` on. Raises UpstreamError."""


class MemoryTotals:
    """The sums of one process."""

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}

    async def add(self, hour: int, changes: Mapping[int, int]) -> int:
        """See `Totals`."""
        for name, change in changes.items():
            self._sums[name] = self._sums.get(name, 0) + change
        self._sums = {name: size for name, size in self._sums.items() if name >= hour}
        return sum(self._sums.values())


def sums_request(keys: Keys, hour: int, changes: Mapping[int, int]) -> Request:
    """Add to the sums by hour; answers the sum of all."""
    words: list[Word] = [1, f"{keys.prefix}:inbox_total:{{{SLOT}}}", hour, KEPT]
    for name, change in changes.items():
        words += [name, change]
    return Request(tuple(words), not changes, SCRIPT)


class RedisTotals:
    """The sums in Redis."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    async def add(self, hour: int, changes: Mapping[int, int]) -> int:
        """See `Totals`. Not repeated after a lost connection: nothing counts twice."""
        return int(await self._topology.call(SLOT, sums_request(self._topology.keys, hour, changes)))


class Tally:
    """Counts and decides whether there is room. `wall` is unix seconds; `most`: bytes in all."""

    def __init__(self, totals: Totals, most: int, wall: Callable[[], float]) -> None:
        self._totals = totals
        self._most = most
        self._wall = wall
        self._changes: dict[int, int] = {}
        self._known = 0
        self._own = 0

    @property
    def size(self) -> int:
        """Bytes that wait, as far as this node knows."""
        return max(0, self._known + self._own)

    def has_room(self, size: int) -> bool:
        return self.size + size <= self._most

    def change(self, ends: int, size: int) -> None:
        """`size` more bytes (or fewer) wait until `ends`, in milliseconds."""
        hour = ends // HOUR
        self._changes[hour] = self._changes.get(hour, 0) + size
        self._own += size

    async def exchange(self) -> None:
        """Tell the other nodes, and hear of them. What cannot be told waits for the next time."""
        changes, self._changes = self._changes, {}
        own, self._own = self._own, 0
        self._known += own
        try:
            known = await self._totals.add(round(self._wall() * 1000) // HOUR, changes)
        except BaseException:
            for hour, change in changes.items():
                self._changes[hour] = self._changes.get(hour, 0) + change
            self._known -= own
            self._own += own
            raise
        self._known = known
