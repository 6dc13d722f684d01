"""The inboxes in Redis, for all nodes: one script decides everything about one user (inbox.lua)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.brokers.redis_inbox import Letter, inbox_keys, publish_letter
from gateway.brokers.redis_keys import INBOX, Request, Word, decode_publication, milliseconds
from gateway.brokers.redis_topology import Topology
from gateway.inbox.base import Bounds, Change, Claimed, Entry, Grant, Kept, Waiting
from gateway.inbox.limits import GRANTS, LEDGER_KEPT, TEMPLATES
from gateway.inbox.records import Fallback, Record, parse_record

OUTCOMES: Final[tuple[Kept, ...]] = ("kept", "known", "too_many", "too_large")
"""By the number that the script answers."""


class RedisInboxStore:
    """See `InboxStore`. `wall` is unix seconds."""

    def __init__(self, topology: Topology, bounds: Bounds, wall: Callable[[], float]) -> None:
        self._topology = topology
        self._bounds = bounds
        self._wall = wall

    async def check(self) -> None:
        """Every operation that needs a permission of its own, once, for nobody."""
        channel = "\0start"
        await self.acknowledge(channel, ["start"])
        await self.read(channel, 0, 1)
        await self.status(channel)

    def _now(self) -> int:
        return round(self._wall() * 1000)

    async def _call(
        self, channel: str, action: str, *words: Word, repeatable: bool = True, now: int = 0
    ) -> Any:
        keys = inbox_keys(self._topology.keys, channel)
        bounds = self._bounds
        head = (action, now or self._now(), milliseconds(bounds.kept), bounds.messages)
        request = Request((5, *keys, *head, *words), repeatable, INBOX)
        return await self._topology.call(channel, request)

    # ------------------------------------------------------------------ deliveries
    def may_hold(self, channel: str) -> bool:
        """See `InboxStore`: only Redis knows."""
        return True

    async def publish(self, channel: str, entry: Entry) -> Kept:
        """See `InboxStore`."""
        now, bounds = self._now(), self._bounds
        letter = Letter(
            word=entry.word,
            now=now,
            ends=now + milliseconds(entry.ttl),
            most=bounds.messages,
            room=bounds.size,
            kept=bounds.kept,
            fallback=entry.fallback,
        )
        request = publish_letter(self._topology.keys, channel, entry.publication, letter)
        number: int = await self._topology.call(channel, request)
        return OUTCOMES[number]

    async def acknowledge(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """See `InboxStore`."""
        return _records(await self._call(channel, "acknowledge", *words))

    async def deliver(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """See `InboxStore`."""
        return _records(await self._call(channel, "deliver", *words))

    async def read(self, channel: str, after: int, size: int) -> list[Waiting]:
        """See `InboxStore`."""
        reply = await self._call(channel, "read", after, size)
        return [
            Waiting(
                reply[index].decode(),
                int(reply[index + 1]),
                reply[index + 2] != b"0",
                decode_publication(reply[index + 3], 0),
            )
            for index in range(0, len(reply), 4)
        ]

    async def status(self, channel: str, words: Sequence[str] = ()) -> dict[str, Record]:
        """See `InboxStore`."""
        return _records(await self._call(channel, "status", *words))

    # ------------------------------------------------------------------ subscribe messages
    async def claim(
        self, channel: str, word: str, template: str, *, strict: bool, patience: float, sender: str
    ) -> tuple[Claimed, Record | None]:
        """See `InboxStore`."""
        words = (word, template, int(strict), milliseconds(patience), sender)
        what, text = await self._call(channel, "claim", *words)
        return what.decode(), parse_record(text) if text else None

    async def settle(
        self, channel: str, word: str, template: str, fallback: Fallback, reason: str, grant: Grant
    ) -> Record | None:
        """See `InboxStore`."""
        text = await self._call(channel, "settle", word, template, fallback, reason, grant)
        return parse_record(text) if text else None

    async def grants(self, channel: str, changes: Mapping[str, Change]) -> dict[str, int] | None:
        """See `InboxStore`. Not repeated after a lost connection: an accept must not count twice."""
        pairs = [word for template, change in changes.items() for word in (template, str(change))]
        head = (milliseconds(LEDGER_KEPT), TEMPLATES, GRANTS)
        reply = await self._call(channel, "grant", *head, *pairs, repeatable=not changes)
        if not reply[0]:
            return None
        return {reply[index].decode(): int(reply[index + 1]) for index in range(1, len(reply), 2)}


def _records(reply: list[bytes]) -> dict[str, Record]:
    return {reply[i].decode(): parse_record(reply[i + 1]) for i in range(0, len(reply), 2)}
