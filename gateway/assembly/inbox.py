"""Builds what waits for users: inboxes and notifications, their rpc methods and their methods of the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.assembly.stores import Stores
from gateway.config import Settings
from gateway.http.api_inbox import inbox_methods
from gateway.http.api_methods import Method
from gateway.http.api_notify import notify_methods
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.service import Inbox
from gateway.inbox.tally import Tally
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.notify.ledger import Ledger
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
    stores: Stores,
    metrics: Metrics,
    apis: Callable[[], Mapping[str, OpenAPI]],
) -> InboxParts:
    """All of it; `apis`: the mini-programs as they are configured now."""
    rows = settings.inbox
    inbox = Inbox(
        rows,
        node.rules,
        node.hub,
        stores.inbox,
        Tally(stores.totals, rows.total_size, time.time),
        metrics,
        personal=settings.client.personal_channel,
        spawn=node.spawn,
    )
    node.show_letters(inbox)
    node.on_loss.append(inbox.on_loss)
    notifier = Notifier(
        settings.notify,
        inbox,
        stores.notifications,
        apis,
        metrics,
        channel_of=node.rules.personal,
    )
    inbox.observer = notifier
    ledger = Ledger(stores.inbox, node.rules.personal)
    return InboxParts(
        inbox,
        notifier,
        inbox_builtins(inbox) | grant_builtins(ledger),
        inbox_methods(inbox)
        | notify_methods(notifier, ledger, node.rules, settings.channels.max_publication_size),
    )
