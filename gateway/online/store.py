"""Where the state of users lives: in this process, or in Redis for all nodes; one contract for both.

Users are spread over partitions, so that no script has to touch more than one Redis server or slot.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from zlib import crc32

from gateway.backend.base import UserEvent, UserEventKind
from gateway.brokers.redis_keys import Request, Script, Word
from gateway.brokers.redis_topology import Topology
from gateway.online.contract import Change, Described, Outcome, PutReply, Rules, State, SweepReply, Taken
from gateway.online.machine import Partition

PARTITIONS = 16
"""In Redis: as many as there may be servers that share the users evenly; every node needs the same."""

SCRIPT: Final = Script("online.lua", "gateway.online")


class OnlineStore(Protocol):
    """`gateway.online.machine.Partition`, several of them, somewhere. Every method raises UpstreamError."""

    partitions: int

    async def check(self) -> None:
        """Everything that will be asked once, so that a missing permission shows at start."""

    def partition_of(self, user: str) -> int: ...

    async def put(self, partition: int, node: str, changes: Sequence[Change], floor: int) -> PutReply: ...

    async def sweep(self, partition: int, node: str, limit: int, floor: int) -> SweepReply: ...

    async def take(self, partition: int, limit: int) -> list[Taken]: ...

    async def settle(self, partition: int, outcomes: Sequence[Outcome]) -> tuple[int, int]: ...

    async def states(self, partition: int, users: Sequence[str]) -> list[Described]: ...

    async def mark(self, partition: int, floor: int) -> int: ...

    async def page(self, partition: int, cursor: str, limit: int) -> tuple[str, list[Described]]: ...

    async def leave(self, partition: int, node: str) -> None: ...


class MemoryOnlineStore:
    """One process: what it knows ends with it. `wall` tells unix seconds."""

    partitions = 1

    def __init__(self, rules: Rules, wall: Callable[[], float] = time.time) -> None:
        self._partition = Partition(rules, secrets.token_hex(4))
        self._wall = wall

    async def check(self) -> None:
        """Nothing can be missing."""

    def _now(self) -> int:
        return int(self._wall() * 1000)

    def partition_of(self, user: str) -> int:
        return 0

    async def put(self, partition: int, node: str, changes: Sequence[Change], floor: int) -> PutReply:
        return self._partition.put(node, changes, self._now(), floor)

    async def sweep(self, partition: int, node: str, limit: int, floor: int) -> SweepReply:
        return self._partition.sweep(node, self._now(), limit, floor)

    async def take(self, partition: int, limit: int) -> list[Taken]:
        return self._partition.take(limit, self._now())

    async def settle(self, partition: int, outcomes: Sequence[Outcome]) -> tuple[int, int]:
        return self._partition.settle(outcomes, self._now())

    async def states(self, partition: int, users: Sequence[str]) -> list[Described]:
        return self._partition.states(users)

    async def mark(self, partition: int, floor: int) -> int:
        return self._partition.mark(self._now(), floor)

    async def page(self, partition: int, cursor: str, limit: int) -> tuple[str, list[Described]]:
        return self._partition.page(cursor, limit)

    async def leave(self, partition: int, node: str) -> None:
        self._partition.leave(node)


_STATES: dict[bytes, State] = {b"o": "online", b"b": "background", b"g": "gone"}
_KINDS: dict[bytes, UserEventKind] = {
    b"o": "online",
    b"b": "background",
    b"d": "disconnect",
    b"u": "unsubscribe",
}


class RedisOnlineStore:
    """For all nodes that share a Redis; `lua/online.lua` names the keys. The clock is Redis's.

    Arguments:
        wall: unix seconds in the place of Redis's clock, for tests.
    """

    partitions = PARTITIONS

    def __init__(self, topology: Topology, rules: Rules, *, wall: Callable[[], float] | None = None) -> None:
        self._topology = topology
        self._rules = rules
        self._wall = wall
        self._fresh_epoch = secrets.token_hex(4)
        self._wanted = "".join(sorted(kind[0] for kind in rules.wanted))
        self._keys = [self._names(partition) for partition in range(PARTITIONS)]

    def _names(self, partition: int) -> tuple[str, ...]:
        prefix = self._topology.keys.prefix
        names = ("users", "due", "ready", "waiting", "nodes", "meta")
        return tuple(f"{prefix}:online:{name}:{{{_tag(partition)}}}" for name in names)

    def partition_of(self, user: str) -> int:
        return crc32(user.encode()) % PARTITIONS

    async def check(self) -> None:
        """See `OnlineStore`."""
        node = f"start:{self._fresh_epoch}"
        await self.sweep(0, node, 1, 0)
        await self.leave(0, node)

    async def put(self, partition: int, node: str, changes: Sequence[Change], floor: int) -> PutReply:
        words = [word for change in changes for word in change]
        reply = await self._call(partition, "put", floor, node, self._rules.lease, *words)
        registered, ready, collapsed, seq = reply
        return PutReply(bool(registered), ready, collapsed, seq)

    async def sweep(self, partition: int, node: str, limit: int, floor: int) -> SweepReply:
        words = (node, self._rules.lease, self._fresh_epoch, limit, self._rules.grace)
        epoch, told, registered, ready, more, *numbers = await self._call(partition, "sweep", floor, *words)
        return SweepReply(epoch.decode(), told, bool(registered), ready, bool(more), *numbers)

    async def take(self, partition: int, limit: int) -> list[Taken]:
        # Not repeated where the answer was lost: what was taken then comes again when the claim is over.
        reply = await self._call(partition, "take", 0, limit, self._rules.claim, repeatable=False)
        return [_taken(*row) for row in reply]

    async def settle(self, partition: int, outcomes: Sequence[Outcome]) -> tuple[int, int]:
        words = [word for user, number, ok, delay in outcomes for word in (user, number, int(ok), delay)]
        dropped, ready = await self._call(partition, "settle", 0, self._rules.event_ttl, *words)
        return dropped, ready

    async def states(self, partition: int, users: Sequence[str]) -> list[Described]:
        return [_described(*row) for row in await self._call(partition, "states", 0, *users)]

    async def mark(self, partition: int, floor: int) -> int:
        return int(await self._call(partition, "mark", floor))

    async def page(self, partition: int, cursor: str, limit: int) -> tuple[str, list[Described]]:
        following, rows = await self._call(partition, "page", 0, cursor or "0", limit)
        return "" if following == b"0" else following.decode(), [_described(*row) for row in rows]

    async def leave(self, partition: int, node: str) -> None:
        await self._call(partition, "leave", 0, node)

    async def _call(
        self, partition: int, action: str, floor: int, *words: Word, repeatable: bool = True
    ) -> Any:
        keys, rules = self._keys[partition], self._rules
        now = int(self._wall() * 1000) if self._wall is not None else 0
        request = Request(
            (
                len(keys),
                *keys,
                action,
                now,
                self._wanted,
                rules.user_limit,
                rules.total_limit,
                floor,
                *words,
            ),
            repeatable,
            SCRIPT,
        )
        return await self._topology.call(_tag(partition), request)


def _tag(partition: int) -> str:
    """What the keys of a partition share, and what finds their server."""
    return f"online:{partition}"


def _described(user: bytes, state: bytes, generation: int, number: int, at: int) -> Described:
    return Described(user.decode(), _STATES[state], generation, number, at)


def _taken(
    user: bytes,
    kind: bytes,
    generation: int,
    number: int,
    at: int,
    reason: bytes,
    channel: bytes,
    failures: int,
) -> Taken:
    event = UserEvent(_KINDS[kind], user.decode(), generation, number, at, reason.decode(), channel.decode())
    return Taken(event, failures)
