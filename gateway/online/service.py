"""Users online, in the background and gone: what the rest of the gateway knows of this room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog
from msgspec import Raw

from gateway.backend.base import Backend
from gateway.channels import Channels
from gateway.client import Client
from gateway.config.online import Online as OnlineSettings
from gateway.errors import ERROR_BAD_REQUEST, ERROR_NOT_AVAILABLE, ClientError
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.online.contract import Described, Rules, SweepReply
from gateway.online.delivery import Deliverer
from gateway.online.store import PARTITIONS, OnlineStore
from gateway.online.tracker import Tracker

SWEEP_INTERVAL: Final = 1.0
"""Seconds between two sweeps; shorter where a grace or a lease is."""
CLAIM: Final = 2.0
"""Lengths of `online.node_timeout` after which an event that a node took is another node's to deliver."""
DELIVERY: Final = 1.5
"""The same until the node itself gives up, so that no two nodes deliver events of one user."""
EMPTY: Final = Raw(b"{}")

log = structlog.get_logger()


def rules_of(settings: OnlineSettings, backend: Backend, partitions: int) -> Rules:
    """The settings as the rules of one partition."""
    return Rules(
        wanted=backend.user_events,
        lease=_ms(settings.node_timeout),
        claim=_ms(CLAIM * settings.node_timeout),
        user_limit=settings.user_event_limit,
        total_limit=max(1, settings.event_limit // partitions),
        event_ttl=_ms(settings.event_ttl),
        grace=_ms(settings.grace),
    )


class Online:
    """What is known of users over all nodes.

    Arguments:
        store: None where nobody wants to know: then nothing is kept track of.
    """

    def __init__(
        self,
        settings: OnlineSettings,
        backend: Backend,
        hub: Hub,
        channels: Channels,
        metrics: Metrics,
        store: OnlineStore | None,
        *,
        node: str,
    ) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._sweeps: dict[int, SweepReply] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.tracker: Tracker | None = None
        if store is None:
            return
        self._deliverer = Deliverer(store, backend, metrics, DELIVERY * settings.node_timeout)
        self.tracker = Tracker(
            store,
            hub,
            node,
            grace=_ms(settings.grace),
            goodbye_grace=_ms(min(settings.goodbye_grace, settings.grace)),
            metrics=metrics,
            on_ready=self._deliverer.ready,
            on_sweep=self._swept,
            watches=lambda channel: channels.options(channel).unsubscribe_events,
        )

    # ------------------------------------------------------------------ life
    async def check(self) -> None:
        """Raises UpstreamError with one line where Redis does not permit what it takes."""
        if self._store is not None:
            await self._store.check()

    async def start(self) -> None:
        """Begin to look and to deliver."""
        tracker = self.tracker
        if self._store is None or tracker is None:
            return
        await tracker.sweep()
        self._tasks = [
            asyncio.create_task(tracker.tell_forever()),
            asyncio.create_task(self._deliverer.deliver_forever()),
            asyncio.create_task(self._sweep_forever(tracker)),
        ]

    async def close(self) -> None:
        """Leave; the clients are gone by now. What waits is for the other nodes, or for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.tracker is not None and self._tasks:
            await self._deliverer.close()
            await self.tracker.leave()
        self._tasks = []

    async def _sweep_forever(self, tracker: Tracker) -> None:
        shortest = min(self._settings.node_timeout, self._settings.grace or SWEEP_INTERVAL)
        interval = min(SWEEP_INTERVAL, shortest / 5)
        while True:
            await asyncio.sleep(interval)
            await tracker.sweep()

    def _swept(self, partition: int, reply: SweepReply) -> None:
        self._sweeps[partition] = reply
        replies = self._sweeps.values()
        metrics = self._metrics
        metrics.users_online = sum(each.online for each in replies)
        metrics.users_background = sum(each.background for each in replies)
        metrics.user_events_waiting = sum(each.queued for each in replies)
        metrics.user_events_age = max(each.oldest for each in replies) / 1000

    # ------------------------------------------------------------------ to whoever asks
    def _needed(self) -> OnlineStore:
        if self._store is None:
            raise ClientError(
                ERROR_NOT_AVAILABLE, "the setting online.enabled is false, and no handler needs it"
            )
        return self._store

    async def states(self, users: Sequence[str]) -> list[Described]:
        """How it is with each user, in the order asked. Raises ClientError 108 where nobody keeps track."""
        store = self._needed()
        by_partition: dict[int, list[str]] = {}
        for user in users:
            by_partition.setdefault(store.partition_of(user), []).append(user)
        answers = await asyncio.gather(
            *(store.states(partition, portion) for partition, portion in by_partition.items())
        )
        found = {each.user: each for portion in answers for each in portion}
        return [found[user] for user in users]

    async def snapshot(self, cursor: str, limit: int) -> tuple[str, int, list[Described]]:
        """A page of the users who are not gone: where to go on (empty: nowhere), the position, the users.

        Every user who was here from the first page to the last is in one of them. The position is that of the
        first page: an event with an id up to it had happened before.
        """
        store = self._needed()
        partition, position, inner = _read_cursor(cursor, store.partitions) if cursor else (0, 0, "")
        if not cursor:
            marks = (store.mark(each, 0) for each in range(store.partitions))
            position = min(await asyncio.gather(*marks))
        found: list[Described] = []
        while partition < store.partitions and len(found) < limit:
            inner, page = await store.page(partition, inner, limit - len(found))
            found += page
            partition += not inner
        following = f"{partition}.{position}.{inner}" if partition < store.partitions else ""
        return following, position, found

    # ------------------------------------------------------------------ to clients
    @property
    def builtins(self) -> dict[str, Callable[[Client, Raw], Coroutine[Any, Any, Raw]]]:
        """The rpc methods by which a client says that nobody sees it, or that somebody does again."""
        return {"gateway.hide": self._hide, "gateway.show": self._show}

    async def _hide(self, client: Client, _data: Raw) -> Raw:
        return self._turn(client, hidden=True)

    async def _show(self, client: Client, _data: Raw) -> Raw:
        return self._turn(client, hidden=False)

    def _turn(self, client: Client, *, hidden: bool) -> Raw:
        if client.hidden != hidden:
            client.hidden = hidden
            if self.tracker is not None:
                self.tracker.shown_or_hidden(client)
        return EMPTY


def _read_cursor(cursor: str, partitions: int) -> tuple[int, int, str]:
    partition, _, rest = cursor.partition(".")
    position, _, inner = rest.partition(".")
    numbers = partition.isdecimal() and position.isdecimal() and max(len(partition), len(position)) < 17
    if not numbers or int(partition) >= partitions or (partitions == PARTITIONS and not _is_scan(inner)):
        raise ClientError(ERROR_BAD_REQUEST, "this is no cursor of a snapshot")
    return int(partition), int(position), inner


def _is_scan(inner: str) -> bool:
    return not inner or (inner.isdecimal() and inner.isascii() and len(inner) <= 20)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
