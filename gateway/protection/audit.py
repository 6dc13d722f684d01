"""Who did what to whom, and how it ended: a line in the log, and a list that can be asked for.

Nothing is kept that opens a door: a key of the server API appears as the first digits of its hash, a token
not at all.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from gateway.brokers.redis_keys import Request
from gateway.brokers.redis_topology import Topology
from gateway.errors import ERROR_BAD_REQUEST, ClientError, UpstreamError

KEPT: Final = 10_000
"""Entries that are kept; the oldest make room."""
SCANNED: Final = 500
"""Entries that are read at a time while one is looked for."""
DETAIL_LIMIT: Final = 200

ACTOR: ContextVar[str] = ContextVar("actor", default="unknown")
"""Who makes the call that runs now."""

log = structlog.get_logger("gateway.audit")


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """`at` is unix milliseconds. `target`: the user, client or channel; `outcome`: ok, or an error's code."""

    at: int
    who: str
    action: str
    target: str
    outcome: str
    detail: str = ""
    id: str = ""


class AuditPage(Struct, frozen=True, omit_defaults=True):
    """Newest first; `cursor` is absent on the last page."""

    entries: list[AuditEntry]
    cursor: str = ""


class AuditLog(Protocol):
    """Where entries are kept."""

    async def add(self, entry: AuditEntry) -> None:
        """Raises UpstreamError where that is impossible."""
        ...

    async def before(self, cursor: str, limit: int) -> list[AuditEntry]:
        """Entries older than the one with the id `cursor` (empty: the newest), newest first."""
        ...


class MemoryAuditLog:
    """Entries of one process."""

    def __init__(self, kept: int = KEPT) -> None:
        self._entries: deque[AuditEntry] = deque(maxlen=kept)
        self._ids = itertools.count(1)

    async def add(self, entry: AuditEntry) -> None:
        """See `AuditLog.add`."""
        self._entries.appendleft(msgspec.structs.replace(entry, id=str(next(self._ids))))

    async def before(self, cursor: str, limit: int) -> list[AuditEntry]:
        """See `AuditLog.before`."""
        last = _number(cursor, whole=True)
        older = (each for each in self._entries if not cursor or int(each.id) < last[0])
        return list(itertools.islice(older, limit))


class RedisAuditLog:
    """Entries of all nodes, in one stream."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._key = f"{prefix}:audit:{{audit}}"

    async def add(self, entry: AuditEntry) -> None:
        """See `AuditLog.add`. Not repeated after a lost connection: one call is one entry."""
        words = ("XADD", self._key, "MAXLEN", "~", KEPT, "*", "e", msgspec.json.encode(entry))
        await self._topology.call("audit", Request(words))

    async def before(self, cursor: str, limit: int) -> list[AuditEntry]:
        """See `AuditLog.before`."""
        newest = "({}-{}".format(*_number(cursor)) if cursor else "+"
        words = ("XREVRANGE", self._key, newest, "-", "COUNT", limit)
        found = await self._topology.call("audit", Request(words, repeatable=True))
        decode = msgspec.json.Decoder(AuditEntry).decode
        return [msgspec.structs.replace(decode(fields[1]), id=name.decode()) for name, fields in found or ()]


class Audit:
    """Writes entries, and finds them. `wall`: unix seconds."""

    def __init__(self, kept: AuditLog, wall: Callable[[], float]) -> None:
        self._kept = kept
        self._wall = wall

    async def note(self, action: str, request: Any, outcome: str) -> None:
        """What the running call came to. Never raises: what was done, was done."""
        entry = AuditEntry(
            int(self._wall() * 1000), ACTOR.get(), action, _target(request), outcome, _detail(request)
        )
        log.info("audit", **{name: value for name, value in msgspec.structs.asdict(entry).items() if value})
        try:
            await self._kept.add(entry)
        except UpstreamError as error:
            log.warning("an entry is in this log alone", action=action, problem=error.detail)

    async def page(self, limit: int, cursor: str, action: str, target: str) -> AuditPage:
        """Raises ClientError 107 for a cursor that is none of ours."""
        found: list[AuditEntry] = []
        while len(found) <= limit:
            portion = await self._kept.before(cursor, SCANNED)
            found += [each for each in portion if action in ("", each.action) and target in ("", each.target)]
            if len(portion) < SCANNED:
                break
            cursor = portion[-1].id
        return AuditPage(found[:limit], found[limit - 1].id if len(found) > limit else "")


def _number(cursor: str, *, whole: bool = False) -> tuple[int, int]:
    first, dash, second = cursor.partition("-")
    parts = (first or "0", second or "0")
    if not all(part.isascii() and part.isdigit() and len(part) < 21 for part in parts) or (whole and dash):
        raise ClientError(ERROR_BAD_REQUEST, "cursor is none of ours")
    return int(parts[0]), int(parts[1])


def _target(request: Any) -> str:
    """Whom a call is about; of a token nothing."""
    for name in ("user", "client", "session", "jti", "uid", "channel"):
        if value := getattr(request, name, ""):
            return f"{value}"[:DETAIL_LIMIT]
    return ""


def _detail(request: Any) -> str:
    """What else a reader wants to know."""
    parts = []
    for name in ("channel", "client", "session", "reason", "expire_at", "issued_before", "expired"):
        value = getattr(request, name, "")
        if value and f"{value}" != _target(request):
            parts.append(f"{name}={value}")
    advice = getattr(request, "disconnect", None)
    if advice is not None:
        parts.append(f"code={advice.code}")
    return " ".join(parts)[:DETAIL_LIMIT]
