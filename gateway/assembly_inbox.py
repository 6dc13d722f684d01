"""Builds what waits for users: inboxes and notifications, their rpc methods and their methods of the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.brokers.base import Broker
from gateway.brokers.redis import RedisBroker
from gateway.config import Settings
from gateway.http.api_inbox import inbox_methods
from gateway.http.api_methods import Method
from gateway.http.api_notify import notify_methods
from gateway.inbox.base import Bounds, InboxStore
from gateway.inbox.memory import MemoryInboxStore
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.service import Inbox
from gateway.inbox.tally import MemoryTotals, RedisTotals, Tally, Totals
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.notify.base import NotifyStore
from gateway.notify.ledger import Ledger
from gateway.notify.memory import MemoryNotifyStore
from gateway.notify.redis import RedisNotifyStore
from gateway.notify.service import Notifier
from gateway.websocket.builtins import grant_builtins, inbox_builtins
from gateway.websocket.commands import Builtin
from gateway.wechat.open_api import OpenAPI


@dataclass(frozen=True, slots=True)
class InboxParts:
    """`builtins`: rpc methods of clients. `methods`: of the server API."""

    inbox: Inbox
    notifier: Notifier
    builtins: dict[str, Builtin]
    methods: dict[str, Method]

    async def check(self) -> None:
        """What is asked of Redis once, so that a missing permission shows at start."""
        for store in (self.inbox.store, self.notifier.store):
            if isinstance(store, RedisInboxStore | RedisNotifyStore):
                await store.check()

    def start(self) -> None:
        """Begin what happens from time to time."""
        self.inbox.start()
        self.notifier.start()

    async def close(self) -> None:
        """End it."""
        await self.notifier.close()
        await self.inbox.close()


def build_inbox(
    settings: Settings,
    node: Node,
    broker: Broker,
    metrics: Metrics,
    apis: Callable[[], Mapping[str, OpenAPI]],
) -> InboxParts:
    """All of it; `broker` is the node's, `apis` the mini-programs as they are configured now."""
    rows = settings.inbox
    bounds = Bounds(rows.user_messages, rows.user_size, rows.status_ttl)
    store: InboxStore
    totals: Totals
    notes: NotifyStore
    if isinstance(broker, RedisBroker):
        store = RedisInboxStore(broker.topology, bounds, time.time)
        totals, notes = RedisTotals(broker.topology), RedisNotifyStore(broker.topology)
    else:
        store, totals = MemoryInboxStore(broker, bounds, time.time), MemoryTotals()
        notes = MemoryNotifyStore(time.time)
    inbox = Inbox(
        rows,
        node.rules,
        node.hub,
        store,
        Tally(totals, rows.total_size, time.time),
        metrics,
        personal=settings.client.personal_channel,
        spawn=node.spawn,
    )
    node.show_letters(inbox)
    node.on_loss.append(inbox.on_loss)
    notifier = Notifier(
        settings.notify,
        inbox,
        notes,
        apis,
        metrics,
        channel_of=node.rules.personal,
    )
    inbox.observer = notifier
    ledger = Ledger(store, node.rules.personal)
    return InboxParts(
        inbox,
        notifier,
        inbox_builtins(inbox) | grant_builtins(ledger),
        inbox_methods(inbox)
        | notify_methods(notifier, ledger, node.rules, settings.channels.max_publication_size),
    )
