"""What is done to connections of this process from outside, by the server API through the control channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from gateway.channels import Channels
from gateway.client import Client, State, Subscription
from gateway.config import ChannelOptions
from gateway.errors import (
    DISCONNECT_EXPIRED,
    DISCONNECT_INSUFFICIENT_STATE,
    UNSUBSCRIBE_INSUFFICIENT_STATE,
    Disconnect,
    Unsubscribe,
)
from gateway.frames import text_frame
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.node.cluster import (
    DisconnectUser,
    Message,
    MessageAll,
    RefreshUser,
    SubscribeUser,
    Target,
    UnsubscribeUser,
)
from gateway.node.membership import Membership, Order
from gateway.outbox import Outboxes
from gateway.protocol import (
    StreamPosition,
    encode_message,
    encode_refresh,
    encode_subscribe,
    encode_unsubscribe,
    ttl_until,
)

MESSAGE_ALL_SLICE: Final = 2_000
"""Connections that a message to everybody reaches in one turn of the loop."""
OVERRIDES: Final = frozenset(
    {"presence", "join_leave", "force_recovery", "force_positioning", "force_push_join_leave"}
)
"""Channel options that one subscription may have otherwise than its channel."""


class LiveConnections:
    """Acts on the connections of this process.

    Arguments:
        clock: monotonic seconds. wall: unix seconds.
    """

    def __init__(
        self,
        hub: Hub,
        rules: Channels,
        outboxes: Outboxes,
        membership: Membership,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._hub = hub
        self._rules = rules
        self._outboxes = outboxes
        self._clock = clock
        self._wall = wall
        self._spawn = spawn
        self._membership = membership
        self._metrics = metrics

    def _targets(self, target: Target) -> list[Client]:
        clients: Iterable[Client]
        if target.user:
            clients = self._hub.of_user(target.user)
        elif target.client:
            client = self._hub.clients.get(target.client)
            clients = [client] if client else []
        else:
            clients = list(self._hub.clients.values()) if target.session else []
        return [
            client
            for client in clients
            if target.client in ("", client.id) and target.session in ("", client.session)
        ]

    def act(self, message: Message) -> None:
        """Do what another node, or this one, asks for."""
        if isinstance(message, MessageAll):
            self._spawn(self._message_all(message))
        elif isinstance(message, SubscribeUser):
            for client in self._signed_in(message.target):
                self._spawn(self._subscribe(client, message))
        elif isinstance(message, DisconnectUser):
            self._disconnect(message)
        elif isinstance(message, UnsubscribeUser):
            for client in self._signed_in(message.target):
                self._unsubscribe(client, message.channel, Unsubscribe(message.code, message.reason))
        elif isinstance(message, RefreshUser):
            for client in self._signed_in(message.target):
                self._refresh(client, message)

    def _signed_in(self, target: Target) -> list[Client]:
        """Not those whose connect is under way: nothing may come before their reply."""
        return [client for client in self._targets(target) if client.state is State.CONNECTED]

    def _disconnect(self, message: DisconnectUser) -> None:
        for client in self._targets(message.target):
            if client.id not in message.whitelist:
                client.sink.disconnect(Disconnect(message.code, message.reason))

    async def _subscribe(self, client: Client, message: SubscribeUser) -> None:
        if message.channel in client.subscriptions or not client.is_open:
            return
        options = self._rules.options(message.channel)
        order = Order(
            channel=message.channel,
            options=override(options, message.override),
            server_side=True,
            since=StreamPosition(message.recover_offset, message.recover_epoch)
            if message.recover_offset >= 0
            else None,
            chan_info=message.info,
            data=message.data,
            expires_at=self.deadline(message.expire_at),
        )
        subscription, result = await self._membership.prepare(client, order)
        client.sink.send(encode_subscribe(message.channel, result))
        self._membership.activate(subscription)
        await self._membership.announce(subscription, order.options)

    def _unsubscribe(self, client: Client, channel: str, unsubscribe: Unsubscribe) -> None:
        names = [channel] if channel else list(client.subscriptions)
        for name in names:
            subscription = client.subscriptions.get(name)
            if subscription is not None:
                self.unsubscribe_client(subscription, unsubscribe)

    def unsubscribe_client(self, subscription: Subscription, unsubscribe: Unsubscribe) -> None:
        """End one subscription and say so: the push is the last that the client hears of it."""
        self._membership.end(subscription)
        self._metrics.unsubscribe(unsubscribe.code)
        push = encode_unsubscribe(subscription.channel, unsubscribe.code, unsubscribe.reason)
        subscription.client.sink.send(push)

    def insufficient(self, subscription: Subscription) -> None:
        if subscription.server_side:
            subscription.client.sink.disconnect(DISCONNECT_INSUFFICIENT_STATE)
        else:
            self.unsubscribe_client(subscription, UNSUBSCRIBE_INSUFFICIENT_STATE)

    def _refresh(self, client: Client, message: RefreshUser) -> None:
        if message.expired:
            client.sink.disconnect(DISCONNECT_EXPIRED)
            return
        client.expires_at = self.deadline(message.expire_at)
        if bytes(message.info):
            client.conn_info = message.info
        ttl = ttl_until(message.expire_at, self._wall())
        client.sink.send(encode_refresh(bool(ttl), ttl))

    async def _message_all(self, message: MessageAll) -> None:
        frame = text_frame(encode_message(message.data))
        clients = list(self._hub.clients.values())
        for start in range(0, len(clients), MESSAGE_ALL_SLICE):
            for client in clients[start : start + MESSAGE_ALL_SLICE]:
                if client.state is State.CONNECTED and message.appid in ("", client.appid):
                    self._outboxes.post(client.sink, frame)
            await asyncio.sleep(0)

    def deadline(self, expire_at: float) -> float:
        """Unix seconds as monotonic ones; 0 stays 0."""
        return expire_at - self._wall() + self._clock() if expire_at else 0.0


def override(options: ChannelOptions, changes: dict[str, bool]) -> ChannelOptions:
    """Channel options with those of `OVERRIDES` changed that are named in `changes`."""
    wanted = {name: value for name, value in changes.items() if name in OVERRIDES}
    return options.model_copy(update=wanted) if wanted else options
