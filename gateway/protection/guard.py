"""Who is not let in: blocked users and revoked tokens, known to every node, enforced on all at once.

A change is written to the store, then told to all nodes, and each reads the entry again: so the store alone
says what holds, whatever order messages arrive in. Each node keeps all entries, because they are asked for at
every sign-in; it reads them anew after it may have missed a message. Where Redis has lost them, the nodes
put back what they hold.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog
from msgspec import Raw, Struct

from gateway.client import Client
from gateway.errors import (
    DISCONNECT_BLOCKED,
    DISCONNECT_INVALID_TOKEN,
    DISCONNECT_SIGNED_OUT,
    ERROR_LIMIT_EXCEEDED,
    ERROR_USER_BLOCKED,
    ClientError,
    Disconnect,
    UpstreamError,
)
from gateway.node.node import Node
from gateway.protection.pages import slices, smallest
from gateway.protection.store import PAGE, ListStore

BLOCKED: Final = "blocked"
REVOKED: Final = "revoked"
INVALIDATED: Final = "invalidated"
LISTS: Final = (BLOCKED, REVOKED, INVALIDATED)
"""Users; JWTs, by `jti:<jti>` or `sha256:<hash>`; users whose JWTs are void if they are old enough."""
ENTRIES_LIMIT: Final = 100_000
"""Entries of one list: each node holds them all, some 300 bytes each."""
SWEEP_INTERVAL: Final = 30.0
"""Seconds between two looks for entries that have expired."""
REREAD_SWEEPS: Final = 10
"""Sweeps after which everything is read again, should a message have been missed without a sign."""
RETRY_DELAY: Final = 0.5
"""Seconds before a store that is away is asked again."""

TOPIC: Final = "protection"

log = structlog.get_logger()


class Entry(Struct, frozen=True, omit_defaults=True):
    """Why somebody is turned away. All times are unix seconds; an `until` of 0 is never."""

    since: float
    until: float = 0.0
    reason: str = ""
    issued_before: float = 0.0

    def holds(self, now: float) -> bool:
        return not 0 < self.until <= now


class _Changed(Struct, frozen=True):
    """The message to all nodes."""

    list: str
    key: str


_decode_entry: Final = msgspec.json.Decoder(Entry).decode
_decode_changed: Final = msgspec.json.Decoder(_Changed).decode
_encode: Final = msgspec.json.Encoder().encode


class Guard:
    """See `gateway.auth.gate.Gate`."""

    def __init__(self, node: Node, store: ListStore) -> None:
        self._node = node
        self._store = store
        self._lists: dict[str, dict[str, Entry]] = {name: {} for name in LISTS}
        self._dirty: set[tuple[str, str]] = set()
        self._stale = False
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Guard {' '.join(f'{name}={len(each)}' for name, each in self._lists.items())}>"

    # ------------------------------------------------------------------ life
    async def start(self) -> None:
        """Read all entries, before anybody is let in. Raises UpstreamError."""
        self._node.notices[TOPIC] = self._heard
        self._node.on_loss.append(self._lost)
        await self._read_all()
        self._worker = asyncio.create_task(self._work(), name="guard")

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    # ------------------------------------------------------------------ the gate
    def admit(self, user: str, token_id: str = "", token_hash: str = "", issued_at: float = 0.0) -> None:
        """See `Gate.admit`. A few look-ups in memory."""
        blocked, revoked, invalidated = self._lists.values()
        if user in blocked and blocked[user].holds(self._node.wall()):
            raise ClientError(ERROR_USER_BLOCKED)
        if not token_hash or not (revoked or invalidated):
            return
        names = (f"sha256:{token_hash}", f"jti:{token_id}" if token_id else "")
        if any(name in revoked and revoked[name].holds(self._node.wall()) for name in names):
            raise ClientError(DISCONNECT_INVALID_TOKEN, "the token was revoked")
        entry = invalidated.get(user)
        if entry is not None and entry.holds(self._node.wall()) and issued_at < entry.issued_before:
            raise ClientError(DISCONNECT_INVALID_TOKEN, "the tokens of this user were invalidated")

    # ------------------------------------------------------------------ changes
    async def put(self, name: str, key: str, entry: Entry) -> None:
        """Add or replace an entry, on all nodes. Raises ClientError 106 where there are too many, and
        UpstreamError where the store or the other nodes cannot be reached: do it again then."""
        entries = self._lists[name]
        if key not in entries and await self._store.count(name) >= ENTRIES_LIMIT:
            raise ClientError(
                ERROR_LIMIT_EXCEEDED, f"at most {ENTRIES_LIMIT} entries: give them an expire_at"
            )
        await self._store.put(name, key, _encode(entry))
        entries[key] = entry
        await self._tell(name, key)

    async def remove(self, name: str, key: str) -> bool:
        """Take an entry out, on all nodes; whether there was one. Raises UpstreamError."""
        found = await self._store.remove(name, key)
        self._lists[name].pop(key, None)
        await self._tell(name, key)
        return found

    async def _tell(self, name: str, key: str) -> None:
        await self._node.tell(TOPIC, _encode(_Changed(name, key)))

    async def page(
        self, name: str, after: str, limit: int, search: str = ""
    ) -> tuple[list[tuple[str, Entry]], int]:
        """Entries whose keys contain `search`, in the order of these, from the first one behind `after` on.

        And how many there are altogether.
        """
        now, total, entries = self._node.wall(), 0, self._lists[name]

        def place(key: str) -> str | None:
            nonlocal total
            if search not in key or key not in entries or not entries[key].holds(now):
                return None
            total += 1
            return key if key > after else None

        found, _ = await smallest(list(entries), limit, place)
        return [(key, entries[key]) for key, _ in found if key in entries], total

    # ------------------------------------------------------------------ what other nodes say
    def _heard(self, content: Raw) -> None:
        try:
            changed = _decode_changed(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("a message of another node could not be read", problem=str(error))
            return
        if changed.list in self._lists:
            self._dirty.add((changed.list, changed.key))
            self._wake.set()

    def _lost(self) -> None:
        self._stale = True
        self._wake.set()

    async def _work(self) -> None:
        sweeps = 0
        while True:
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_INTERVAL):
                        await self._wake.wait()
                if not self._wake.is_set():
                    sweeps += 1
                    self._stale = sweeps % REREAD_SWEEPS == 0
                    await self._sweep()
                self._wake.clear()
                await self._catch_up()
            except UpstreamError as error:
                log.warning("the lists of blocked users may be old", problem=error.detail)
                self._stale = True
                self._wake.set()
                await asyncio.sleep(RETRY_DELAY)
            except Exception:
                log.exception("the lists of blocked users may be old")
                await asyncio.sleep(RETRY_DELAY)

    async def _catch_up(self) -> None:
        if self._stale:
            self._stale = False
            await self._read_all()
        while self._dirty:
            batch = [self._dirty.pop() for _ in range(min(PAGE, len(self._dirty)))]
            for name in LISTS:
                await self._read_some(name, [key for each, key in batch if each == name])

    async def _read_some(self, name: str, keys: list[str]) -> None:
        if not keys:
            return
        entries = self._lists[name]
        found: dict[str, Entry] = {}
        for key, value in zip(keys, await self._store.get(name, keys), strict=True):
            if value is None:
                entries.pop(key, None)
            else:
                found[key] = entries[key] = _decode_entry(value)
        await self._enforce(name, found)

    async def _read_all(self) -> None:
        for name in LISTS:
            held = self._lists[name]
            if held and not await self._store.is_whole(name):
                log.warning("Redis has lost a list of blocked users: it is put back", list=name)
                await self._store.restore(name, {key: _encode(entry) for key, entry in held.items()})
            fresh: dict[str, Entry] = {}
            async for portion in self._store.read(name):
                fresh.update({key: _decode_entry(value) for key, value in portion.items()})
            self._lists[name] = fresh
            await self._enforce(name, fresh)

    async def _sweep(self) -> None:
        now = self._node.wall()
        for name, entries in self._lists.items():
            async for portion in slices(list(entries)):
                ended = {key: entries[key] for key in portion if key in entries}
                for key, entry in ended.items():
                    if entry.holds(now):
                        continue
                    await self._store.expire(name, key, _encode(entry))
                    if entries.get(key) is entry:
                        del entries[key]

    # ------------------------------------------------------------------ live connections
    async def _enforce(self, name: str, entries: Mapping[str, Entry]) -> None:
        """End the connections that would not be let in any more."""
        now = self._node.wall()
        if name == REVOKED and not any(each.holds(now) for each in entries.values()):
            return  # the usual case: it costs a look at each connection
        if name == REVOKED:
            await self._enforce_on(
                list(self._node.hub.clients.values()), lambda client: _revoked(client, entries, now)
            )
            return
        hub = self._node.hub
        async for portion in slices(list(entries)):
            clients = [client for user in portion if user in hub.users for client in hub.of_user(user)]
            if name == BLOCKED:
                await self._enforce_on(clients, lambda client: _blocked(client, entries, now))
            else:
                await self._enforce_on(clients, lambda client: _invalidated(client, entries, now))

    @staticmethod
    async def _enforce_on(clients: list[Client], judge: Callable[[Client], Disconnect | None]) -> None:
        async for portion in slices(clients):
            for client in portion:
                outcome = judge(client)
                if outcome is not None:
                    client.sink.disconnect(outcome)


def _blocked(client: Client, entries: Mapping[str, Entry], now: float) -> Disconnect | None:
    return DISCONNECT_BLOCKED if entries[client.user].holds(now) else None


def _revoked(client: Client, entries: Mapping[str, Entry], now: float) -> Disconnect | None:
    facts = client.facts
    if not facts.token_hash:
        return None
    for name in (f"sha256:{facts.token_hash}", f"jti:{facts.token_id}" if facts.token_id else ""):
        if name in entries and entries[name].holds(now):
            return DISCONNECT_INVALID_TOKEN
    return None


def _invalidated(client: Client, entries: Mapping[str, Entry], now: float) -> Disconnect | None:
    entry, facts = entries[client.user], client.facts
    if not entry.holds(now):
        return None
    if client.session:
        # Their sessions have been ended: who connected since has a new one.
        return DISCONNECT_SIGNED_OUT if facts.connected_at < entry.since else None
    return DISCONNECT_INVALID_TOKEN if facts.token_hash and facts.issued_at < entry.issued_before else None
