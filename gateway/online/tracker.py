"""What this node says of its users: whatever is new is told to the store, once for all changes of a turn.

Nothing here waits for a connection and no connection waits for it. A change marks its user; a single task
asks the hub how it is with each marked user now, and tells the store where that is something new. What the
store did not take stays marked: an outage loses no state, and costs a mark per user.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from gateway.client import Client, State, Subscription
from gateway.errors import Disconnect, UpstreamError
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.online.contract import Change, Flag, SweepReply
from gateway.online.store import OnlineStore

CHANGES_AT_ONCE: Final = 200
"""Changes in one call of the store: a millisecond of Redis."""
MARKS_AT_ONCE: Final = 2_000
"""Marks that are looked at in one turn of the loop: some milliseconds, when all users are told again."""
RETRY_AFTER: Final = 0.25
"""Seconds before the store is told again what it did not take."""
SWEEP_LIMIT: Final = 200
"""Users whose grace ends in one call of the store."""
GOODBYES: Final = frozenset({1000, 1001, 1005})
"""Close codes of clients that close their socket themselves; what is lost has 1006."""
UNCERTAIN: Final = "?"
"""What the store has been told and may not have heard."""

log = structlog.get_logger()

Key = tuple[str, str]
"""A user, or a user in a channel."""


class Why(NamedTuple):
    """Why a user may be away, and the milliseconds in which a return undoes it."""

    reason: str
    grace: int


class Tracker:
    """The users of this process.

    Arguments:
        grace, goodbye_grace: milliseconds; the second for clients who closed their sockets themselves.
        on_ready: events of a partition can be delivered.
        on_sweep: what a partition looks like.
        watches: whether the backend wants to know who leaves a channel.
    """

    def __init__(
        self,
        store: OnlineStore,
        hub: Hub,
        node: str,
        *,
        grace: int,
        goodbye_grace: int,
        metrics: Metrics,
        on_ready: Callable[[int], None],
        on_sweep: Callable[[int, SweepReply], None],
        watches: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._hub = hub
        self._node = node
        self._lost = Why("lost", grace)
        self._goodbye_grace = goodbye_grace
        self._metrics = metrics
        self._on_ready = on_ready
        self._on_sweep = on_sweep
        self._watches = watches
        self._marked: OrderedDict[Key, Why] = OrderedDict()
        self._told: dict[Key, str] = {}
        """What the store has been told: nothing for those of whom it knows nothing."""
        self._wake = asyncio.Event()
        self._away = False
        self._floors = [0] * store.partitions
        self._epochs = [""] * store.partitions

    # ------------------------------------------------------------------ what happens to connections
    def connected(self, client: Client) -> None:
        if client.user:
            self._mark((client.user, ""), self._lost)

    def left(self, client: Client) -> None:
        """The client is out of the hub."""
        if client.user:
            self._mark((client.user, ""), self._why(client))

    def shown_or_hidden(self, client: Client) -> None:
        if client.user:
            self._mark((client.user, ""), self._lost)

    def subscribed(self, subscription: Subscription) -> None:
        if subscription.client.user:
            self._mark((subscription.client.user, subscription.channel), self._lost)

    def unsubscribed(self, subscription: Subscription) -> None:
        """The subscription is out of the hub: with its client, or while the client is still there."""
        client = subscription.client
        if client.user:
            why = Why("left", 0) if client.is_open else self._why(client)
            self._mark((client.user, subscription.channel), why)

    def _why(self, client: Client) -> Why:
        code = client.end_code
        if code in GOODBYES:
            # A phone that said that it is hidden closes its socket before the system does: no goodbye.
            return self._lost if client.hidden else Why("left", self._goodbye_grace)
        if code >= 3000 and not Disconnect(code, "").reconnect:
            return Why("ended", self._goodbye_grace)
        return self._lost

    def _mark(self, key: Key, why: Why) -> None:
        self._marked[key] = why
        self._wake.set()

    # ------------------------------------------------------------------ to the store
    async def tell_forever(self) -> None:
        """Tell the store what is new, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.tell():
                await asyncio.sleep(RETRY_AFTER)
            if self._marked:
                self._wake.set()

    async def tell(self) -> bool:
        """Tell the store what is new now, or as much of it as a turn has time for; whether it took that."""
        count = min(len(self._marked), MARKS_AT_ONCE)
        changes = self._changes(dict(self._marked.popitem(last=False) for _ in range(count)))
        if self._away:  # one call finds out whether it still is; who comes and goes meanwhile leaves no trace
            for change in changes[CHANGES_AT_ONCE:]:
                self._mark_again(change)
            del changes[CHANGES_AT_ONCE:]
        by_partition: dict[int, list[Change]] = {}
        for change in changes:
            by_partition.setdefault(self._store.partition_of(change.user), []).append(change)
        taken = await asyncio.gather(
            *(
                self._put(partition, portion[start : start + CHANGES_AT_ONCE])
                for partition, portion in by_partition.items()
                for start in range(0, len(portion), CHANGES_AT_ONCE)
            )
        )
        self._away = not all(taken)
        return not self._away

    def _changes(self, marked: dict[Key, Why]) -> list[Change]:
        """What the store does not know yet."""
        changes = []
        for (user, channel), why in marked.items():
            flag = self._flag(user, channel)
            if flag != self._told.get((user, channel), ""):
                changes.append(Change(user, channel, flag, why.reason, why.grace))
        return changes

    def _mark_again(self, change: Change) -> None:
        self._marked.setdefault((change.user, change.channel), Why(change.reason, change.grace))

    def _flag(self, user: str, channel: str) -> Flag:
        clients = [each for each in self._hub.users.get(user, {}).values() if each.state is State.CONNECTED]
        if channel:
            return "f" if any(channel in each.subscriptions for each in clients) else ""
        if not clients:
            return ""
        return "h" if all(each.hidden for each in clients) else "f"

    async def _put(self, partition: int, changes: list[Change]) -> bool:
        for change in changes:
            self._told[change.user, change.channel] = UNCERTAIN
        try:
            reply = await self._store.put(partition, self._node, changes, self._floors[partition])
        except UpstreamError as error:
            log.debug("the store did not hear of users", users=len(changes), problem=error.detail)
            for change in changes:
                self._mark_again(change)
            return False
        for change in changes:
            if change.flag:
                self._told[change.user, change.channel] = change.flag
            else:
                del self._told[change.user, change.channel]
        self._floors[partition] = max(self._floors[partition], reply.seq)
        self._metrics.user_event("other", "collapsed", reply.collapsed)
        if not reply.registered:
            self._tell_again(partition)
        if reply.ready:
            self._on_ready(partition)
        return True

    def _tell_again(self, partition: int) -> None:
        """The store may know nothing of this node's users any more."""
        for user, clients in self._hub.users.items():
            if self._store.partition_of(user) != partition:
                continue
            for key in self._keys(user, clients.values()):
                self._told[key] = UNCERTAIN
                self._marked.setdefault(key, self._lost)
        self._wake.set()

    def _keys(self, user: str, clients: Iterable[Client]) -> Iterable[Key]:
        yield user, ""
        channels = {channel for client in clients for channel in client.subscriptions}
        yield from ((user, channel) for channel in channels if self._watches(channel))

    # ------------------------------------------------------------------ time
    async def sweep(self) -> None:
        """Renew this node's leases, end graces, look for what was lost; where the store is away, nothing."""
        await asyncio.gather(*(self._sweep(partition) for partition in range(self._store.partitions)))

    async def _sweep(self, partition: int) -> None:
        try:
            while True:
                floor = self._floors[partition]
                reply = await self._store.sweep(partition, self._node, SWEEP_LIMIT, floor)
                self._heed(partition, reply)
                if not reply.more:
                    return
        except UpstreamError as error:
            log.debug("the users of a partition were not swept", partition=partition, problem=error.detail)

    def _heed(self, partition: int, reply: SweepReply) -> None:
        lost = self._epochs[partition] not in ("", reply.epoch) or reply.told < self._floors[partition]
        if lost:
            log.warning("Redis lost users' states; they are told again", partition=partition)
        if lost or not reply.registered:
            self._tell_again(partition)
        self._epochs[partition] = reply.epoch
        self._floors[partition] = max(self._floors[partition], reply.seq)
        self._metrics.user_event("other", "collapsed", reply.collapsed)
        self._on_sweep(partition, reply)
        if reply.ready:
            self._on_ready(partition)

    async def leave(self) -> None:
        """All clients are gone: say so, and that this node is."""
        for key in self._told:
            self._marked.setdefault(key, self._lost)
        while self._marked and await self.tell():
            pass
        if self._told:
            return  # what is left of this node the others find, once its leases have run out
        try:
            for partition in range(self._store.partitions):
                await self._store.leave(partition, self._node)
        except UpstreamError as error:
            log.debug("the store was not told that this node leaves", problem=error.detail)
