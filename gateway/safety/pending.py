"""Files that wait for WeChat's verdict: kept in this process, or in Redis for all nodes and over restarts.

The verdict is pushed to whichever node nginx takes, at times before the answer to the question is here: so a
verdict without a file is kept, too, until its file is added.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from gateway.brokers.redis_keys import Request, Word
from gateway.brokers.redis_topology import Topology

Outcome = Literal["", "pass", "review", "risky", "unavailable"]
DUE_AT_A_TIME: Final = 100


class Held(Struct, frozen=True, omit_defaults=True):
    """One file, or a verdict whose file has not been added yet.

    Attributes:
        file: its id. user, appid: the owner. name, size: as the owner knows it.
        expires: unix seconds of its own end once it is released; 0 is never.
        outcome: the verdict, empty while there is none.
    """

    file: str = ""
    user: str = ""
    appid: str = ""
    name: str = ""
    size: int = 0
    expires: float = 0.0
    outcome: Outcome = ""


class Pending(Protocol):
    """Every operation of a store in Redis raises UpstreamError where that is away. Times are unix seconds."""

    async def add(self, trace: str, held: Held, due: float) -> Held:
        """Keep a file until `due`, under the id of its check; with the verdict, if that was here first."""
        ...

    async def judge(self, trace: str, outcome: Outcome, due: float) -> Held:
        """Keep a verdict; with the file that it is about, if that is here already."""
        ...

    async def remove(self, trace: str) -> None:
        """It is done."""
        ...

    async def due(self, now: float, lease: float) -> list[tuple[str, Held]]:
        """What is due, each for one caller among all nodes; what is not removed is due again after `lease`
        seconds."""
        ...


class MemoryPending:
    """Files of one process."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Held, float]] = {}

    def __len__(self) -> int:
        return len(self._held)

    async def add(self, trace: str, held: Held, due: float) -> Held:
        """See `Pending.add`."""
        return self._merge(trace, held, due)

    async def judge(self, trace: str, outcome: Outcome, due: float) -> Held:
        """See `Pending.judge`."""
        return self._merge(trace, Held(outcome=outcome), due)

    def _merge(self, trace: str, held: Held, due: float) -> Held:
        known = self._held.get(trace)
        merged = merge(known[0], held) if known else held
        self._held[trace] = (merged, due)
        return merged

    async def remove(self, trace: str) -> None:
        """See `Pending.remove`."""
        self._held.pop(trace, None)

    async def due(self, now: float, lease: float) -> list[tuple[str, Held]]:
        """See `Pending.due`."""
        found = [(trace, held) for trace, (held, due) in self._held.items() if due <= now][:DUE_AT_A_TIME]
        for trace, held in found:
            self._held[trace] = (held, now + lease)
        return found


class RedisPending:
    """Files of all nodes: a hash of what is known, and a sorted set of when it is due."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._hash = f"{prefix}:media:{{media}}"
        self._due = f"{prefix}:media_due:{{media}}"
        self._decode = msgspec.json.Decoder(Held).decode

    async def _call(self, *words: Word, repeatable: bool = True) -> object:
        answer: object = await self._topology.call("media", Request(words, repeatable=repeatable))
        return answer

    async def add(self, trace: str, held: Held, due: float) -> Held:
        """See `Pending.add`."""
        return await self._merge(trace, held, due)

    async def judge(self, trace: str, outcome: Outcome, due: float) -> Held:
        """See `Pending.judge`."""
        return await self._merge(trace, Held(outcome=outcome), due)

    async def _merge(self, trace: str, held: Held, due: float) -> Held:
        # Whoever comes second finds the first one's half: the field is made by exactly one of them.
        if not await self._call("HSETNX", self._hash, trace, msgspec.json.encode(held), repeatable=False):
            known = await self._call("HGET", self._hash, trace)
            if isinstance(known, bytes):
                held = merge(self._decode(known), held)
                await self._call("HSET", self._hash, trace, msgspec.json.encode(held))
        await self._call("ZADD", self._due, repr(due), trace)
        return held

    async def remove(self, trace: str) -> None:
        """See `Pending.remove`."""
        await self._call("ZREM", self._due, trace)
        await self._call("HDEL", self._hash, trace)

    async def due(self, now: float, lease: float) -> list[tuple[str, Held]]:
        """See `Pending.due`."""
        names = await self._call("ZRANGEBYSCORE", self._due, "-inf", repr(now), "LIMIT", 0, DUE_AT_A_TIME)
        found = []
        for name in names if isinstance(names, list) else ():
            if await self._call("ZREM", self._due, name, repeatable=False):  # for one node alone
                await self._call("ZADD", self._due, repr(now + lease), name)
                known = await self._call("HGET", self._hash, name)
                found.append((name.decode(), self._decode(known) if isinstance(known, bytes) else Held()))
        return found


def merge(one: Held, other: Held) -> Held:
    """A file and its verdict, whichever came first. The first verdict holds."""
    file = one if one.file else other
    return msgspec.structs.replace(file, outcome=one.outcome or other.outcome)
