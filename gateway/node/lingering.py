"""Leaves that wait: whoever returns to a channel within its `join_leave_grace` has neither left nor joined.

A leave is kept where all nodes can find it, by channel and user. Whichever comes first takes it away: the
user's return, which then goes on under the name of the connection that left, so that each join has its leave;
or the end of the grace, and the leave is published. Presence lists who is really there all the while.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from gateway.brokers.redis_keys import Request, Script, decode_info, encode_info, milliseconds
from gateway.brokers.redis_topology import Topology
from gateway.errors import UpstreamError
from gateway.protocol import ClientInfo

SCRIPT: Final = Script("linger.lua", "gateway.node")
KEPT_BEYOND: Final = 30.0
"""Seconds that a leave outlives its grace in Redis, where the node that should publish it died."""
PUBLISHED_AT_A_TIME: Final = 200

log = structlog.get_logger()


class LeaveStore(Protocol):
    """Leaves by channel and user. Every method raises UpstreamError."""

    async def push(self, channel: str, info: ClientInfo, grace: float) -> None: ...

    async def pop(self, channel: str, user: str) -> ClientInfo | None:
        """The oldest leave of a user, which is not there any more then."""

    async def remove(self, channel: str, info: ClientInfo) -> bool:
        """Whether this very leave was still there; it is not any more."""


class MemoryLeaves:
    """Of one process."""

    def __init__(self) -> None:
        self._leaves: dict[tuple[str, str], list[ClientInfo]] = {}

    async def push(self, channel: str, info: ClientInfo, grace: float) -> None:
        self._leaves.setdefault((channel, info.user), []).append(info)

    async def pop(self, channel: str, user: str) -> ClientInfo | None:
        leaves = self._leaves.get((channel, user))
        if not leaves:
            return None
        info = leaves.pop(0)
        if not leaves:
            del self._leaves[channel, user]
        return info

    async def remove(self, channel: str, info: ClientInfo) -> bool:
        leaves = self._leaves.get((channel, info.user), [])
        if info not in leaves:
            return False
        leaves.remove(info)
        if not leaves:
            del self._leaves[channel, info.user]
        return True


class RedisLeaves:
    """`<prefix>:leaves:{<channel>}:<user>`: a list of client infos (JSON)."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix

    def _key(self, channel: str, user: str) -> str:
        return f"{self._prefix}:leaves:{{{channel}}}:{user}"

    async def push(self, channel: str, info: ClientInfo, grace: float) -> None:
        key = self._key(channel, info.user)
        words = (1, key, encode_info(b"", info), milliseconds(grace + KEPT_BEYOND))
        await self._topology.call(channel, Request(words, script=SCRIPT))

    async def pop(self, channel: str, user: str) -> ClientInfo | None:
        found = await self._topology.call(channel, Request(("LPOP", self._key(channel, user))))
        return decode_info(found) if found else None

    async def remove(self, channel: str, info: ClientInfo) -> bool:
        words = ("LREM", self._key(channel, info.user), 1, encode_info(b"", info))
        return bool(await self._topology.call(channel, Request(words)))


class Lingering:
    """The leaves of this node that wait.

    Arguments:
        publish: a leave of a channel.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: LeaveStore,
        publish: Callable[[str, ClientInfo], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._publish = publish
        self._clock = clock
        self._due: list[tuple[float, int, str, ClientInfo]] = []
        self._count = 0

    async def leave(self, channel: str, info: ClientInfo, grace: float) -> None:
        """Publish it when the grace is over, unless the user returns. Raises UpstreamError."""
        await self._store.push(channel, info, grace)
        self._count += 1
        heapq.heappush(self._due, (self._clock() + grace, self._count, channel, info))

    async def returned(self, channel: str, user: str) -> ClientInfo | None:
        """As whom the user goes on; None: it has not been here. Raises UpstreamError."""
        return await self._store.pop(channel, user)

    async def sweep(self, now: float) -> None:
        """Publish what is due by `now`."""
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due))
        for start in range(0, len(due), PUBLISHED_AT_A_TIME):
            portion = due[start : start + PUBLISHED_AT_A_TIME]
            await asyncio.gather(*(self._end(channel, info) for _, _, channel, info in portion))

    async def _end(self, channel: str, info: ClientInfo) -> None:
        try:
            if await self._store.remove(channel, info):
                await self._publish(channel, info)
        except UpstreamError as error:
            log.warning("a leave was not published", channel=channel, problem=error.detail)
