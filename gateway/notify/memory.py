"""The notifier's store of one process, without Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.notify.base import Scheduled

DAYS: Final = 35
"""Days whose counts are kept."""


class MemoryNotifyStore:
    """See `NotifyStore`. `wall` is unix seconds."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._jobs: dict[str, tuple[int, bytes]] = {}
        self._counts: dict[int, dict[str, int]] = {}
        self._stopped: dict[str, float] = {}

    async def schedule(self, delivery: str, due: int, job: bytes, most: int) -> Scheduled:
        """See `NotifyStore`."""
        if delivery in self._jobs:
            return "known"
        if len(self._jobs) >= most:
            return "full"
        self._jobs[delivery] = due, job
        return "scheduled"

    async def take(self, now: int, lease: int, count: int) -> list[tuple[str, bytes]]:
        """See `NotifyStore`."""
        due = sorted((when, each) for each, (when, _) in self._jobs.items() if when <= now)[:count]
        taken = [(each, self._jobs[each][1]) for _, each in due]
        for each, job in taken:
            self._jobs[each] = now + lease, job
        return taken

    async def move(self, delivery: str, due: int) -> None:
        """See `NotifyStore`."""
        if delivery in self._jobs:
            self._jobs[delivery] = due, self._jobs[delivery][1]

    async def drop(self, deliveries: Sequence[str]) -> None:
        """See `NotifyStore`."""
        for delivery in deliveries:
            self._jobs.pop(delivery, None)

    async def waiting(self) -> int:
        """See `NotifyStore`."""
        return len(self._jobs)

    async def count(self, day: int, counts: Mapping[str, int]) -> None:
        """See `NotifyStore`."""
        known = self._counts.setdefault(day, {})
        for name, number in counts.items():
            known[name] = known.get(name, 0) + number
        while len(self._counts) > DAYS:
            del self._counts[min(self._counts)]

    async def counts(self, days: Sequence[int]) -> list[dict[str, int]]:
        """See `NotifyStore`."""
        return [dict(self._counts.get(day, {})) for day in days]

    async def stop(self, appid: str, seconds: float) -> None:
        """See `NotifyStore`."""
        self._stopped[appid] = self._wall() + seconds

    async def stopped(self, appid: str) -> bool:
        """See `NotifyStore`."""
        return self._wall() < self._stopped.get(appid, 0.0)
