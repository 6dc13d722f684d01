"""The notifier's store in Redis, for all nodes (notify.lua)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.brokers.redis_keys import Request, Script, Word, milliseconds
from gateway.brokers.redis_topology import Topology
from gateway.config.units import DAY
from gateway.notify.base import Scheduled
from gateway.notify.memory import DAYS

SCRIPT: Final = Script("notify.lua", "gateway.notify")

TAG: Final = "notify"
"""All of it lives in one slot."""
_ANSWERS: Final[dict[int, Scheduled]] = {1: "scheduled", 0: "known", -1: "full"}


class RedisNotifyStore:
    """See `NotifyStore`."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._prefix = topology.keys.prefix

    async def check(self) -> None:
        """What needs a permission of its own, once, so that a missing one shows at start."""
        await self.take(0, 1, 1)
        await self.counts([0])
        await self.stopped("start")

    def _name(self, what: str) -> str:
        return f"{self._prefix}:notify_{what}:{{{TAG}}}"

    async def _call(self, *words: Word, repeatable: bool = True) -> Any:
        keys = (self._name("due"), self._name("jobs"))
        return await self._topology.call(TAG, Request((2, *keys, *words), repeatable, SCRIPT))

    async def schedule(self, delivery: str, due: int, job: bytes, most: int) -> Scheduled:
        """See `NotifyStore`."""
        return _ANSWERS[await self._call("schedule", delivery, due, job, most)]

    async def take(self, now: int, lease: int, count: int) -> list[tuple[str, bytes]]:
        """See `NotifyStore`. Not repeated after a lost connection: it is due again after the lease."""
        reply = await self._call("take", now, lease, count, repeatable=False)
        return [(reply[index].decode(), reply[index + 1]) for index in range(0, len(reply), 2)]

    async def move(self, delivery: str, due: int) -> None:
        """See `NotifyStore`."""
        await self._call("move", delivery, due)

    async def drop(self, deliveries: Sequence[str]) -> None:
        """See `NotifyStore`."""
        await self._call("drop", *deliveries)

    async def waiting(self) -> int:
        """See `NotifyStore`."""
        return int(await self._call("waiting"))

    # ------------------------------------------------------------------ counts
    def _day(self, day: int) -> str:
        return f"{self._name('counts')}:{day}"

    async def count(self, day: int, counts: Mapping[str, int]) -> None:
        """See `NotifyStore`. Not repeated after a lost connection: nothing counts twice."""
        words: list[Word] = [1, self._day(day), "count", milliseconds(DAYS * DAY)]
        for name, number in counts.items():
            words += [name, number]
        await self._topology.call(TAG, Request(tuple(words), False, SCRIPT))

    async def counts(self, days: Sequence[int]) -> list[dict[str, int]]:
        """See `NotifyStore`."""
        answers = []
        for day in days:
            reply = await self._topology.call(TAG, Request((1, self._day(day), "counts"), True, SCRIPT))
            answers.append({reply[i].decode(): int(reply[i + 1]) for i in range(0, len(reply), 2)})
        return answers

    # ------------------------------------------------------------------ quota
    def _stop(self, appid: str) -> str:
        return f"{self._name('stop')}:{appid}"

    async def stop(self, appid: str, seconds: float) -> None:
        """See `NotifyStore`."""
        words = (1, self._stop(appid), "stop", milliseconds(seconds))
        await self._topology.call(TAG, Request(words, True, SCRIPT))

    async def stopped(self, appid: str) -> bool:
        """See `NotifyStore`."""
        reply = await self._topology.call(TAG, Request((1, self._stop(appid), "stopped"), True, SCRIPT))
        return bool(reply)
