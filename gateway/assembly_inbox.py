"""Builds what waits for users: the inboxes, their rpc methods and their methods of the server API."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.brokers.base import Broker
from gateway.brokers.redis import RedisBroker
from gateway.config import Settings
from gateway.http.api_inbox import inbox_methods
from gateway.http.api_methods import Method
from gateway.inbox.base import Bounds, InboxStore
from gateway.inbox.memory import MemoryInboxStore
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.service import Inbox
from gateway.inbox.tally import MemoryTotals, RedisTotals, Tally, Totals
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.websocket.builtins import inbox_builtins
from gateway.websocket.commands import Builtin


@dataclass(frozen=True, slots=True)
class InboxParts:
    """`builtins`: rpc methods of clients. `methods`: of the server API."""

    inbox: Inbox
    builtins: dict[str, Builtin]
    methods: dict[str, Method]

    async def check(self) -> None:
        """What is asked of Redis once, so that a missing permission shows at start."""
        if isinstance(self.inbox.store, RedisInboxStore):
            await self.inbox.store.check()

    def start(self) -> None:
        """Begin what happens from time to time."""
        self.inbox.start()

    async def close(self) -> None:
        """End it."""
        await self.inbox.close()


def build_inbox(settings: Settings, node: Node, broker: Broker, metrics: Metrics) -> InboxParts:
    """All of it; `broker` is the node's."""
    rows = settings.inbox
    bounds = Bounds(rows.user_messages, rows.user_size, rows.status_ttl)
    store: InboxStore
    totals: Totals
    if isinstance(broker, RedisBroker):
        store = RedisInboxStore(broker.topology, bounds, time.time)
        totals = RedisTotals(broker.topology)
    else:
        store, totals = MemoryInboxStore(broker, bounds, time.time), MemoryTotals()
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
    return InboxParts(inbox, inbox_builtins(inbox), inbox_methods(inbox))
