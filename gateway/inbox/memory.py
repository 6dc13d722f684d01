"""The inboxes of one process, without Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.brokers.base import Broker, PublishOptions
from gateway.inbox.base import Bounds, Change, Claimed, Entry, Grant, Kept, Waiting
from gateway.inbox.limits import GRANTS, TEMPLATES
from gateway.inbox.records import Fallback, Record
from gateway.protocol import Publication

LEDGERS: Final = 100_000
"""Users whose grants are known."""

_PLAIN: Final = PublishOptions()


@dataclass(slots=True)
class _Box:
    """One user's. `waiting` and `settled` keep their order: by sequence, and by when they were settled."""

    seq: int = 0
    size: int = 0
    next_end: int = 0
    """No letter ends before, in milliseconds."""
    waiting: dict[str, tuple[Record, Publication]] = field(default_factory=dict)
    settled: dict[str, Record] = field(default_factory=dict)

    def find(self, word: str) -> Record | None:
        found = self.waiting.get(word)
        return found[0] if found else self.settled.get(word)


class MemoryInboxStore:
    """See `InboxStore`. `wall` is unix seconds; `broker` publishes."""

    def __init__(self, broker: Broker, bounds: Bounds, wall: Callable[[], float]) -> None:
        self._broker = broker
        self._bounds = bounds
        self._wall = wall
        self._boxes: dict[str, _Box] = {}
        self._ledgers: dict[str, dict[str, int]] = {}

    def _now(self) -> int:
        return round(self._wall() * 1000)

    def _box(self, channel: str) -> _Box:
        """Tidied: what has ended is settled, what was settled long ago is forgotten."""
        box, now = self._boxes.get(channel), self._now()
        if box is None:
            return _Box()
        if box.next_end <= now:
            for word, (record, _) in list(box.waiting.items()):
                if record.ends <= now:
                    self._settle(box, word, "x")
            box.next_end = min((record.ends for record, _ in box.waiting.values()), default=0)
        forgotten = now - round(self._bounds.kept * 1000)
        surplus = len(box.settled) - self._bounds.messages
        while box.settled:
            word, record = next(iter(box.settled.items()))
            if record.settled > forgotten and surplus <= 0:
                break
            del box.settled[word]
            surplus -= 1
        if not box.waiting and not box.settled:
            self._boxes.pop(channel, None)
        return box

    def _settle(self, box: _Box, word: str, state: str) -> None:
        record, _ = box.waiting.pop(word)
        now = self._now()
        box.size -= record.size
        record.state, record.settled = state, now
        if record.fallback == "w" and state == "a":
            record.fallback, record.since = "a", now
        box.settled[word] = record

    def sweep(self) -> None:
        """Tidy every inbox."""
        for channel in list(self._boxes):
            self._box(channel)

    # ------------------------------------------------------------------ deliveries
    def may_hold(self, channel: str) -> bool:
        """See `InboxStore`."""
        return channel in self._boxes

    async def publish(self, channel: str, entry: Entry) -> Kept:
        """See `InboxStore`."""
        box, size, bounds = self._box(channel), len(bytes(entry.publication.data)), self._bounds
        if box.find(entry.word) is not None:
            return "known"
        if len(box.waiting) >= bounds.messages:
            return "too_many"
        if box.size + size > bounds.size:
            return "too_large"
        self._boxes[channel] = box
        box.seq += 1
        now = self._now()
        record = Record("p", box.seq, now, 0, 0, now + round(entry.ttl * 1000), size, entry.fallback, now)
        # There before anybody hears of it: the broker of one process publishes without giving way.
        box.next_end = min(box.next_end or record.ends, record.ends)
        box.waiting[entry.word] = record, entry.publication
        box.size += size
        await self._broker.publish(channel, entry.publication, _PLAIN)
        return "kept"

    async def acknowledge(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """See `InboxStore`."""
        box, found = self._box(channel), {}
        for word in words:
            record = box.find(word)
            if record is not None and record.state != "x":
                found[word] = record.copy()
                if record.state == "p":
                    self._settle(box, word, "a")
        return found

    async def deliver(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """See `InboxStore`."""
        box, found = self._box(channel), {}
        for word in words:
            record, _ = box.waiting.get(word, (None, None))
            if record is not None and not record.delivered:
                record.delivered = self._now()
                found[word] = record.copy()
        return found

    async def read(self, channel: str, after: int, size: int) -> list[Waiting]:
        """See `InboxStore`."""
        found: list[Waiting] = []
        for word, (record, publication) in self._box(channel).waiting.items():
            if record.seq > after:
                size -= record.size
                if size < 0 and found:
                    break
                found.append(Waiting(word, record.seq, bool(record.delivered), publication))
        return found

    async def status(self, channel: str, words: Sequence[str] = ()) -> dict[str, Record]:
        """See `InboxStore`."""
        box = self._box(channel)
        found = {word: box.find(word) for word in words or (*box.settled, *box.waiting)}
        return {word: record.copy() for word, record in found.items() if record is not None}

    # ------------------------------------------------------------------ subscribe messages
    async def claim(
        self, channel: str, word: str, template: str, *, strict: bool, patience: float, sender: str
    ) -> tuple[Claimed, Record | None]:
        """See `InboxStore`."""
        record, now = self._box(channel).find(word), self._now()
        if record is None:
            return "gone", None
        if record.fallback == "s":
            if record.reason == sender:
                return "send", record.copy()
            if now - record.since < patience * 1000:
                return "busy", record.copy()
        elif record.fallback != "w":
            return "done", record.copy()
        record.since = now
        if record.fallback == "s":
            record.fallback, record.reason = "u", "interrupted"
        elif self._take(self._ledgers.get(channel, {}), record, template, strict, sender):
            return "send", record.copy()
        return "decided", record.copy()

    @staticmethod
    def _take(ledger: dict[str, int], record: Record, template: str, strict: bool, sender: str) -> bool:
        """Take a grant and begin; False where it is refused."""
        left = ledger.get(template)
        if record.state == "x":
            record.fallback, record.reason = "r", "expired"
        elif left is not None and left < 0:
            record.fallback, record.reason = "r", "banned"
        elif strict and not left:
            record.fallback, record.reason = "r", "no_grant"
        else:
            if left:
                ledger[template] = left - 1
            record.fallback, record.reason = "s", sender
            record.attempts += 1
        return record.fallback == "s"

    async def settle(
        self, channel: str, word: str, template: str, fallback: Fallback, reason: str, grant: Grant
    ) -> Record | None:
        """See `InboxStore`."""
        record = self._box(channel).find(word)
        if record is None or record.fallback != "s":
            return None
        ledger = self._ledgers.get(channel, {})
        if grant == "back" and ledger.get(template, -1) >= 0:
            ledger[template] += 1
        elif grant == "none" and ledger.get(template, 0) > 0:
            ledger[template] = 0
        record.fallback, record.reason, record.since = fallback, reason, self._now()
        if fallback == "w" and record.state == "a":
            record.fallback, record.reason = "a", "-"
        return record.copy()

    async def grants(self, channel: str, changes: Mapping[str, Change]) -> dict[str, int] | None:
        """See `InboxStore`."""
        if changes and channel not in self._ledgers:
            if len(self._ledgers) >= LEDGERS:
                self._ledgers.pop(next(iter(self._ledgers)))
            self._ledgers[channel] = {}
        ledger = self._ledgers.get(channel, {})
        for template, change in changes.items():
            left = ledger.get(template)
            if left is None and len(ledger) >= TEMPLATES:
                return None
            if change == "ban":
                left = -1
            elif change == "+1":
                left = max(left or 0, 0) + 1
            elif change == "+0":
                left = left or 0
            else:
                left = int(change)
            ledger[template] = min(left, GRANTS)
        return dict(ledger)
