"""Where the lists of blocked users and revoked tokens are kept: in this process, or in Redis for all nodes.

A list maps keys (a user, a token) to a small JSON value. A list in Redis is one hash, with a mark that says
that it is whole: a list without its mark is one that Redis has lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

from gateway.brokers.redis_keys import Request, Script
from gateway.brokers.redis_topology import Topology

SCRIPT: Final = Script("expire_entry.lua", "gateway.protection")

PAGE: Final = 500
"""Entries that are read or written at a time."""
_MARK: Final = ""
"""The field that marks a whole list; no user and no token has this name."""


class ListStore(Protocol):
    """Every operation of a store in Redis raises UpstreamError where Redis is away."""

    async def read(self, name: str) -> AsyncIterator[dict[str, bytes]]:
        """All entries of a list, in portions."""
        ...
        yield {}

    async def get(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """Some entries; None for each that is not there."""
        ...

    async def put(self, name: str, key: str, value: bytes) -> None:
        """Add or replace one."""
        ...

    async def remove(self, name: str, key: str) -> bool:
        """Take one out; whether it was there."""
        ...

    async def expire(self, name: str, key: str, value: bytes) -> None:
        """Take one out unless it was replaced meanwhile."""
        ...

    async def count(self, name: str) -> int:
        """How many there are, those that have expired included."""
        ...

    async def is_whole(self, name: str) -> bool:
        """Whether the list is as it was left: False for one that was lost, and for one that never was."""
        ...

    async def restore(self, name: str, entries: Mapping[str, bytes]) -> None:
        """Put entries back that a lost list had; those that are there already are newer."""
        ...


class MemoryListStore:
    """Lists of one process."""

    def __init__(self) -> None:
        self._lists: dict[str, dict[str, bytes]] = {}

    def _list(self, name: str) -> dict[str, bytes]:
        return self._lists.setdefault(name, {})

    async def read(self, name: str) -> AsyncIterator[dict[str, bytes]]:
        """See `ListStore.read`."""
        yield dict(self._list(name))

    async def get(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ListStore.get`."""
        return [self._list(name).get(key) for key in keys]

    async def put(self, name: str, key: str, value: bytes) -> None:
        """See `ListStore.put`."""
        self._list(name)[key] = value

    async def remove(self, name: str, key: str) -> bool:
        """See `ListStore.remove`."""
        return self._list(name).pop(key, None) is not None

    async def expire(self, name: str, key: str, value: bytes) -> None:
        """See `ListStore.expire`."""
        if self._list(name).get(key) == value:
            del self._list(name)[key]

    async def count(self, name: str) -> int:
        """See `ListStore.count`."""
        return len(self._list(name))

    async def is_whole(self, name: str) -> bool:
        """See `ListStore.is_whole`."""
        return True

    async def restore(self, name: str, entries: Mapping[str, bytes]) -> None:
        """See `ListStore.restore`."""
        self._lists[name] = {**entries, **self._list(name)}


class RedisListStore:
    """Lists that all nodes share."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix

    def _key(self, name: str) -> str:
        return f"{self._prefix}:protection:{{{name}}}"

    async def _call(self, name: str, command: str, *words: str | bytes | int) -> object:
        # All of them may be sent twice: the second time changes nothing.
        request = Request((command, self._key(name), *words), repeatable=True)
        answer: object = await self._topology.call(name, request)
        return answer

    async def read(self, name: str) -> AsyncIterator[dict[str, bytes]]:
        """See `ListStore.read`."""
        cursor = b"0"
        while True:
            answer = await self._call(name, "HSCAN", cursor, "COUNT", PAGE)
            assert isinstance(answer, list)  # noqa: S101
            cursor, flat = answer
            pairs = zip(flat[::2], flat[1::2], strict=True)
            yield {key.decode(): value for key, value in pairs if key}
            if cursor == b"0":
                return

    async def get(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ListStore.get`."""
        answer = await self._call(name, "HMGET", *keys)
        return list(answer) if isinstance(answer, list) else []

    async def put(self, name: str, key: str, value: bytes) -> None:
        """See `ListStore.put`."""
        await self._call(name, "HSET", _MARK, "1", key, value)

    async def remove(self, name: str, key: str) -> bool:
        """See `ListStore.remove`."""
        return await self._call(name, "HDEL", key) == 1

    async def expire(self, name: str, key: str, value: bytes) -> None:
        """See `ListStore.expire`."""
        request = Request((1, self._key(name), key, value), True, SCRIPT)
        await self._topology.call(name, request)

    async def count(self, name: str) -> int:
        """See `ListStore.count`."""
        answer = await self._call(name, "HLEN")
        return max(0, answer - 1) if isinstance(answer, int) else 0

    async def is_whole(self, name: str) -> bool:
        """See `ListStore.is_whole`."""
        return await self._call(name, "HEXISTS", _MARK) == 1

    async def restore(self, name: str, entries: Mapping[str, bytes]) -> None:
        """See `ListStore.restore`."""
        for key, value in entries.items():
            await self._call(name, "HSETNX", key, value)
        await self._call(name, "HSET", _MARK, "1")
