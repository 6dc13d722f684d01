"""Into a channel and out of it: the broker's subscription, presence, positions, recovery, joins and leaves.

A subscribe has three steps, because the reply has to come between the second and the third:

    prepare     join the hub (publications are buffered from now on), subscribe at the broker, appear in
                presence, read the history: the result for the reply
    [reply]
    activate    what was buffered, then everything that comes
    announce    the join event; the joiner hears its own
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog
from msgspec import Raw, Struct

from gateway.brokers.base import Broker, HistoryFilter, PresenceStore
from gateway.channels import has_history
from gateway.client import Client, Subscription
from gateway.config import ChannelOptions
from gateway.config.units import MB
from gateway.errors import (
    DISCONNECT_NORMAL,
    ERROR_ALREADY_SUBSCRIBED,
    ERROR_UNRECOVERABLE_POSITION,
    ClientError,
    UpstreamError,
)
from gateway.hub import Channel, Hub
from gateway.metrics import Metrics
from gateway.node.delivery import Delivery
from gateway.node.lingering import LeaveStore, Lingering
from gateway.node.recovery import Recovery, recover_cache, recover_stream, within
from gateway.protocol import EMPTY_RAW, Publication, StreamPosition, SubscribeResult

IDLE_BEFORE_UNSUBSCRIBE: Final = 1.0
"""Seconds a channel without subscribers stays subscribed at the broker: reconnect storms do not flap."""
ANSWER_LIMIT: Final = 4 * MB
"""Bytes of publications in one answer: a phone takes it in one piece, and asking for it costs little."""
CLOSE_AT_ONCE: Final = 200
"""Idle channels closed at the broker at a time."""

log = structlog.get_logger()


class Order(Struct, frozen=True):
    """A subscribe that was permitted.

    Attributes:
        options: the channel's options, overrides of a token applied.
        since: where the client stands, if it wants to recover.
        positioned, recoverable, join_leave: what the client asks for; granted where the options allow it.
        only_recovered: refuse (112) rather than subscribe without recovery.
        expires_at: monotonic seconds, 0 is never; `ttl` the same in seconds from now, for the reply.
    """

    channel: str
    options: ChannelOptions
    server_side: bool = False
    since: StreamPosition | None = None
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    only_recovered: bool = False
    may_read_history: bool = False
    may_read_presence: bool = False
    chan_info: Raw = EMPTY_RAW
    data: Raw = EMPTY_RAW
    expires_at: float = 0.0
    ttl: int = 0
    client_refresh: bool = False


class Watcher(Protocol):
    """Who wants to know who is in a channel whose namespace has `unsubscribe_events`."""

    def subscribed(self, subscription: Subscription) -> None: ...

    def unsubscribed(self, subscription: Subscription) -> None: ...


class Membership:
    """Subscriptions of this process's clients. `watcher`: None where nobody wants to know."""

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        presence: PresenceStore,
        delivery: Delivery,
        metrics: Metrics,
        *,
        recovery_limit: int,
        leaves: LeaveStore,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._presence = presence
        self._delivery = delivery
        self._metrics = metrics
        self._recovery_limit = recovery_limit
        self._clock = clock
        self._spawn = spawn
        self._idle: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._leaving: dict[tuple[str, str], asyncio.Event] = {}
        self.watcher: Watcher | None = None
        self._lingering = Lingering(leaves, broker.publish_leave, clock)

    # ------------------------------------------------------------------ in
    async def prepare(self, client: Client, order: Order) -> tuple[Subscription, SubscribeResult]:
        """Everything up to the reply.

        Raises:
            ClientError: 112 where the client insists on recovery; disconnect 3000 if it left meanwhile.
            UpstreamError: the broker could not; nothing of the subscription is left behind.
        """
        await self._wait_for_leave(client, order.channel)
        if order.channel in client.subscriptions:  # two subscribes at once
            raise ClientError(ERROR_ALREADY_SUBSCRIBED)
        subscription, _ = self._hub.join(client, order.channel, server_side=order.server_side)
        subscription.chan_info = order.chan_info
        subscription.expires_at = order.expires_at
        subscription.client_refresh = order.client_refresh
        subscription.watched = self.watcher is not None and order.options.unsubscribe_events
        try:
            await self._open(self._hub.channels[order.channel])
            self._still_there(subscription)
            await self._appear(subscription, order)
            self._still_there(subscription)
            result = await self._position(subscription, order)
            self._still_there(subscription)
        except BaseException:
            self.end(subscription)
            raise
        return subscription, result

    def activate(self, subscription: Subscription) -> None:
        """The reply is out."""
        self._delivery.activate(subscription)
        if subscription.watched and self.watcher is not None:
            self.watcher.subscribed(subscription)

    async def announce(self, subscription: Subscription, options: ChannelOptions) -> None:
        """Publish the join. A join that the broker cannot take is lost: presence says who is there."""
        if (
            not options.join_leave
            or subscription.client.subscriptions.get(subscription.channel) is not subscription
        ):
            return
        channel, info = subscription.channel, subscription.info()
        try:
            if options.join_leave_grace and info.user:
                subscription.leave_grace = options.join_leave_grace
                if await self._goes_on(subscription):
                    return
            subscription.announced = info
            await self._broker.publish_join(channel, info)
        except UpstreamError as error:
            log.warning("a join was not published", channel=channel, problem=error.detail)

    async def _goes_on(self, subscription: Subscription) -> bool:
        """Whether there is no join to publish: its user was here a moment ago, or it has left again."""
        channel, client = subscription.channel, subscription.client
        before = await self._lingering.returned(channel, client.user)
        if client.subscriptions.get(channel) is subscription:
            subscription.announced = before
            return before is not None
        if before is not None:
            await self._lingering.leave(channel, before, subscription.leave_grace)
        return True

    async def _open(self, channel: Channel) -> None:
        """Subscribe at the broker, once for all subscribers of this process."""
        self._idle.pop(channel.name, None)
        if channel.subscribed:
            return
        async with self._lock(channel.name):
            if not channel.subscribed and len(channel):  # else all who waited have left, and it was dropped
                await self._broker.subscribe(channel.name)
                channel.subscribed = True

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _appear(self, subscription: Subscription, order: Order) -> None:
        options = order.options
        subscription.wants_joins = options.join_leave and (
            options.force_push_join_leave or (order.join_leave and order.may_read_presence)
        )
        if options.presence:
            subscription.presence = True
            await self._presence.add(order.channel, subscription.client.id, subscription.info())

    async def _position(self, subscription: Subscription, order: Order) -> SubscribeResult:
        options, data = order.options, order.data
        expires, ttl = bool(order.ttl), order.ttl
        recoverable = has_history(options) and (
            options.force_recovery or (order.recoverable and order.may_read_history)
        )
        positioned = recoverable or (
            has_history(options)
            and (options.force_positioning or (order.positioned and order.may_read_history))
        )
        if not positioned:
            if order.only_recovered:
                raise ClientError(ERROR_UNRECOVERABLE_POSITION, "the channel has no positions")
            return SubscribeResult(
                data=data, expires=expires, ttl=ttl, was_recovering=order.since is not None
            )
        channel = self._hub.channels[order.channel]
        top, recovery = await self._recover(channel, order, recoverable)
        if order.only_recovered and not (recovery and recovery.recovered):
            raise ClientError(ERROR_UNRECOVERABLE_POSITION)
        self._still_there(subscription)
        subscription.positioned = True
        subscription.epoch, subscription.floor = top.epoch, top.offset
        channel.positioned += 1
        recovered = recovery is not None and recovery.recovered
        # A recovered client advances by applying the publications, so it is answered with where it stood.
        stood = order.since.offset if recovered and order.since is not None else top.offset
        return SubscribeResult(
            expires=expires,
            ttl=ttl,
            recoverable=recoverable,
            positioned=True,
            epoch=top.epoch,
            offset=stood,
            publications=list(recovery.publications) or None if recovery else None,
            recovered=recovered,
            was_recovering=recovery is not None,
            data=data,
        )

    async def _recover(
        self, channel: Channel, order: Order, recoverable: bool
    ) -> tuple[StreamPosition, Recovery | None]:
        """The top of the stream, and what a returning client missed (None: it did not ask)."""
        cache = order.options.recovery_mode == "cache"
        wanted = recoverable and (order.since is not None or (cache and order.options.auto_cache_recover))
        if not wanted:
            top, _ = await self._delivery.position(channel, HistoryFilter())
            return top, None
        since = order.since or StreamPosition()
        if cache:
            top, items = await self._delivery.position(channel, HistoryFilter(limit=1, reverse=True))
            recovery = recover_cache(since, top, _first(items))
        else:
            query = HistoryFilter(limit=self._recovery_limit, since=since)
            top, items = await self._delivery.position(channel, query)
            # Cut like a history that is too long for one answer: not recovered, the client loads its state.
            recovery = recover_stream(since, top, within(items, ANSWER_LIMIT))
        self._metrics.recovery(_outcome(recovery, since, top))
        return top, recovery

    @staticmethod
    def _still_there(subscription: Subscription) -> None:
        client = subscription.client
        if not client.is_open or client.subscriptions.get(subscription.channel) is not subscription:
            raise ClientError(DISCONNECT_NORMAL, "the client left while it subscribed")

    # ------------------------------------------------------------------ out
    def end(self, subscription: Subscription) -> None:
        """End a subscription now; presence and the leave event follow in the background."""
        client, name = subscription.client, subscription.channel
        if client.subscriptions.get(name) is not subscription:
            return
        if self._hub.leave(subscription):
            self._idle[name] = self._clock()
        if subscription.watched and self.watcher is not None:
            self.watcher.unsubscribed(subscription)
        if subscription.presence or subscription.announced:
            self._leaving[client.id, name] = asyncio.Event()
            self._spawn(self._farewell(subscription, lost=not client.is_open))

    async def _farewell(self, subscription: Subscription, *, lost: bool) -> None:
        """`lost`: with its client; a client that unsubscribes has left for sure."""
        client, name = subscription.client, subscription.channel
        try:
            if subscription.presence:
                await self._presence.remove(name, client.id, client.user)
            if subscription.announced is None:
                return
            if lost and subscription.leave_grace:
                await self._lingering.leave(name, subscription.announced, subscription.leave_grace)
            else:
                await self._broker.publish_leave(name, subscription.announced)
        except UpstreamError as error:  # the presence entry ages out by itself
            log.warning("a leave was not published", channel=name, problem=error.detail)
        finally:
            self._leaving.pop((client.id, name)).set()

    async def _wait_for_leave(self, client: Client, name: str) -> None:
        """A subscription that has just ended must not take the new one's presence with it."""
        while event := self._leaving.get((client.id, name)):
            await event.wait()

    # ------------------------------------------------------------------ from time to time
    async def publish_leaves(self, now: float) -> None:
        """Those whose grace is over by `now`."""
        await self._lingering.sweep(now)

    async def close_idle(self, now: float) -> None:
        """Unsubscribe at the broker from channels that nobody has listened to for a while."""
        due = [name for name, since in self._idle.items() if now - since >= IDLE_BEFORE_UNSUBSCRIBE]
        for start in range(0, len(due), CLOSE_AT_ONCE):
            await asyncio.gather(*map(self._close, due[start : start + CLOSE_AT_ONCE]))

    async def _close(self, name: str) -> None:
        self._idle.pop(name, None)
        channel = self._hub.channels.get(name)
        if channel is None or len(channel):
            return
        async with self._lock(name):
            if not len(channel) and channel.subscribed:
                channel.subscribed = False
                try:
                    await self._broker.unsubscribe(name)
                except UpstreamError as error:
                    log.debug("the broker did not take an unsubscribe", channel=name, problem=error.detail)
            self._hub.drop(channel)
        if name not in self._hub.channels:
            self._locks.pop(name, None)

    async def refresh_presence(self) -> None:
        """Keep the presence entries of this process alive."""
        entries = [
            subscription
            for client in list(self._hub.clients.values())
            for subscription in client.subscriptions.values()
            if subscription.presence
        ]
        for start in range(0, len(entries), CLOSE_AT_ONCE):
            batch = entries[start : start + CLOSE_AT_ONCE]
            answers = await asyncio.gather(*map(self._refresh_entry, batch), return_exceptions=True)
            failed = [answer for answer in answers if isinstance(answer, Exception)]
            if failed:  # the others' turn comes all the same; the next round tries these again
                log.warning("presence was not refreshed", entries=len(failed), problem=str(failed[0]))

    async def _refresh_entry(self, subscription: Subscription) -> None:
        if subscription.client.subscriptions.get(subscription.channel) is subscription:
            await self._presence.add(subscription.channel, subscription.client.id, subscription.info())


def _first(items: list[Publication]) -> Publication | None:
    return items[0] if items else None


def _outcome(recovery: Recovery, since: StreamPosition, top: StreamPosition) -> str:
    if recovery.recovered:
        return "recovered"
    return "other_epoch" if since.epoch and since.epoch != top.epoch else "too_old"
