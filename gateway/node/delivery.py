"""From the broker to the subscribers: every publication takes this one way, whoever published it.

The positions of a channel are followed here. A publication that does not follow the one before it opens a
gap: what comes next waits, the history is read, and the subscribers get what was missed, in order, before it.
Only where the history no longer has it are they told that their state is insufficient, and start anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import structlog

from gateway.brokers.base import Broker, HistoryFilter
from gateway.client import Subscription
from gateway.errors import DISCONNECT_INSUFFICIENT_STATE, UpstreamError
from gateway.frames import deflated_text_frame, text_frame
from gateway.hub import Channel, Hub
from gateway.metrics import Metrics
from gateway.node.latency import LatencySampler
from gateway.node.recovery import recover_stream
from gateway.outbox import Outboxes
from gateway.protocol import (
    ClientInfo,
    Publication,
    StreamPosition,
    encode_join,
    encode_leave,
    encode_publication,
)

DEFLATE_FROM: Final = 512
"""Bytes from which a publication is compressed for those who can read it; below, it does not pay."""
MISSED_LIMIT: Final = 10_000
"""Publications that may wait behind a gap; beyond, they are read from the history again."""
RETRY_AFTER: Final = 0.5
"""Seconds before the history is asked again while the broker cannot answer."""
POSITION_CHECKS: Final = 64
"""Channels whose positions are compared at a time."""

log = structlog.get_logger()


class Letters(Protocol):
    """Who minds publications that want to be acknowledged: those with tags are shown to it."""

    def on_publication(self, channel: str, tags: Mapping[str, str]) -> None:
        """It was handed to the subscribers of this process."""


class Delivery:
    """Hands publications, joins and leaves to the subscribers of this process.

    Arguments:
        spawn: starts a coroutine in the background and keeps hold of it.
        insufficient: ends a subscription whose missed publications are lost.
    """

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        outboxes: Outboxes,
        metrics: Metrics,
        *,
        meta_ttl: float,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        insufficient: Callable[[Subscription], None],
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._outboxes = outboxes
        self._metrics = metrics
        self._meta_ttl = meta_ttl
        self.latency = LatencySampler(outboxes, metrics, clock)
        self._clock = clock
        self._spawn = spawn
        self._insufficient = insufficient
        self.letters: Letters | None = None
        self._losses = 0
        self._loss_reported = -1.0

    # ------------------------------------------------------------------ what the broker says
    def on_publication(self, name: str, publication: Publication, epoch: str) -> None:
        """See `BrokerEvents`."""
        channel = self._hub.channels.get(name)
        if channel is not None:
            self._metrics.publications_received += 1
            self._take(channel, publication, epoch)

    def _take(self, channel: Channel, publication: Publication, epoch: str) -> None:
        if not publication.offset:
            self._hand_on(channel, publication)
        elif self._follows(channel, publication, epoch):
            channel.offset = publication.offset
            channel.touched = self._clock()
            self._hand_on(channel, publication)

    def on_join(self, name: str, info: ClientInfo) -> None:
        """See `BrokerEvents`."""
        self._tell(name, encode_join(name, info))

    def on_leave(self, name: str, info: ClientInfo) -> None:
        """See `BrokerEvents`."""
        self._tell(name, encode_leave(name, info))

    def on_gap(self, name: str | None) -> None:
        """See `BrokerEvents`."""
        channels = self._hub.channels
        affected = list(channels.values()) if name is None else [channels[name]] if name in channels else []
        positioned = [channel for channel in affected if channel.positioned]
        if positioned:
            self._spawn(self._check_all(positioned))

    def _follows(self, channel: Channel, publication: Publication, epoch: str) -> bool:
        """Whether it is the next one; if not, it is an old one, or it waits until the gap is closed."""
        if channel.missed is not None:
            self._keep_missed(channel, publication, epoch)
            return False
        if epoch == channel.epoch:
            if publication.offset == channel.offset + 1:
                return True
            if publication.offset <= channel.offset:
                return False
        if not channel.positioned:  # nobody here has a position to lose
            channel.epoch = epoch
            return True
        channel.missed = [(publication, epoch)]
        self._metrics.broker_gaps += 1
        self._spawn(self.close_gap(channel))
        return False

    @staticmethod
    def _keep_missed(channel: Channel, publication: Publication, epoch: str) -> None:
        missed = channel.missed
        if missed is not None:
            if len(missed) >= MISSED_LIMIT:
                missed.clear()
            missed.append((publication, epoch))

    # ------------------------------------------------------------------ to the subscribers
    def _hand_on(self, channel: Channel, publication: Publication) -> None:
        payload = encode_publication(channel.name, publication)
        frame = text_frame(payload)
        if channel.plain:
            self._outboxes.fan_out(channel.plain, frame)
        if channel.deflated:
            small = len(payload) < DEFLATE_FROM
            self._outboxes.fan_out(channel.deflated, frame if small else deflated_text_frame(payload))
        if channel.settling:
            for subscription in list(channel.settling.values()):
                self._settle(channel, subscription, publication.offset, frame)
        if self.latency.wanted:
            self.latency.handed_on(channel.name, bytes(publication.data))
        if publication.tags and self.letters is not None and len(channel):
            self.letters.on_publication(channel.name, publication.tags)

    def _settle(self, channel: Channel, subscription: Subscription, offset: int, frame: bytes) -> None:
        if subscription.buffer is not None:
            if len(subscription.buffer) >= MISSED_LIMIT:
                subscription.client.sink.disconnect(DISCONNECT_INSUFFICIENT_STATE)
                return
            subscription.buffer.append((offset, channel.epoch, frame))
            return
        if not offset or offset > subscription.floor:
            self._outboxes.post(subscription.client.sink, frame)
        if offset >= subscription.floor:
            channel.go_live(subscription)

    def activate(self, subscription: Subscription) -> None:
        """The subscribe reply is out: what came meanwhile follows it, and then everything else."""
        buffered, subscription.buffer = subscription.buffer, None
        if subscription.client.subscriptions.get(subscription.channel) is not subscription:
            return  # it ended before its reply was out
        channel, at = self._hub.channels[subscription.channel], subscription.floor
        for offset, epoch, frame in buffered or ():
            if offset and subscription.positioned:
                if offset != at + 1 or epoch != subscription.epoch:
                    continue  # it is part of the reply, behind a gap, or of a stream that is no more
                at = offset
            self._outboxes.post(subscription.client.sink, frame)
        if subscription.positioned and (at < channel.offset or subscription.epoch != channel.epoch):
            self._insufficient(subscription)
        elif not subscription.positioned or channel.offset >= subscription.floor:
            channel.go_live(subscription)

    def _tell(self, name: str, payload: bytes) -> None:
        channel = self._hub.channels.get(name)
        if channel is None:
            return
        frame = text_frame(payload)
        for subscription in channel.subscriptions():
            if subscription.wants_joins and subscription.buffer is None:
                self._outboxes.post(subscription.client.sink, frame)

    # ------------------------------------------------------------------ positions
    async def position(
        self, channel: Channel, query: HistoryFilter
    ) -> tuple[StreamPosition, list[Publication]]:
        """Read the history for a new subscriber, and make sure that the channel's own position is sound."""
        had = StreamPosition(channel.offset, channel.epoch)
        history = await self._broker.history(channel.name, query, self._meta_ttl)
        if not channel.epoch:
            channel.epoch, channel.offset = history.top.epoch, history.top.offset
            channel.touched = self._clock()
        elif _lost(had, history.top) and channel.missed is None:
            channel.missed = []
            await self.close_gap(channel)
            return await self.position(channel, query)  # the answer may be older than the channel by now
        return history.top, history.publications

    async def close_gap(self, channel: Channel) -> None:
        """Read what was missed and hand it on; whatever waits behind it follows."""
        while True:
            position = StreamPosition(channel.offset, channel.epoch)
            older = len(channel.missed or ())
            try:
                history = await self._broker.history(
                    channel.name, HistoryFilter(limit=-1, since=position), self._meta_ttl
                )
                break
            except UpstreamError as error:
                log.warning(
                    "a gap stays open: the broker cannot answer", channel=channel.name, problem=error.detail
                )
                await asyncio.sleep(RETRY_AFTER)
        self._catch_up(channel, position, history.top, history.publications)
        missed, channel.missed = channel.missed or [], None
        for number, (publication, epoch) in enumerate(missed):
            if epoch == channel.epoch or number >= older:  # else it is of a stream that is no more
                self._take(channel, publication, epoch)

    def _catch_up(
        self, channel: Channel, position: StreamPosition, top: StreamPosition, items: list[Publication]
    ) -> None:
        recovery = recover_stream(position, top, items)
        channel.touched = self._clock()
        if recovery.recovered:
            for publication in recovery.publications:
                channel.offset = publication.offset
                self._hand_on(channel, publication)
            return
        self._report_loss(channel.name)
        channel.epoch, channel.offset = top.epoch, top.offset
        for subscription in list(channel.subscriptions()):
            if subscription.positioned:
                self._insufficient(subscription)

    def _report_loss(self, name: str) -> None:
        """One line a second at most: a Redis that lost everything lost ten thousand channels at once."""
        now = self._clock()
        self._losses += 1
        if now - self._loss_reported >= 1.0:
            log.warning("publications were lost: subscribers are told", channel=name, channels=self._losses)
            self._losses, self._loss_reported = 0, now

    async def check_positions(self, older_than: float) -> None:
        """Compare with the broker the channels that were silent since `older_than` (monotonic seconds)."""
        quiet = [
            each for each in self._hub.channels.values() if each.positioned and each.touched < older_than
        ]
        for start in range(0, len(quiet), POSITION_CHECKS):
            await self._check(quiet[start : start + POSITION_CHECKS])

    async def _check_all(self, channels: list[Channel]) -> None:
        """Until each was compared: after a gap the broker may hear again before it can be asked again."""
        unknown = await self._check(channels)
        while unknown := [channel for channel in unknown if channel.positioned]:
            await asyncio.sleep(RETRY_AFTER)
            unknown = await self._check(unknown)

    async def _check(self, channels: list[Channel]) -> list[Channel]:
        """Those for which the broker did not answer."""
        unknown: list[Channel] = []
        for start in range(0, len(channels), POSITION_CHECKS):
            some = channels[start : start + POSITION_CHECKS]
            answered = await asyncio.gather(*map(self._check_one, some))
            unknown += [channel for channel, known in zip(some, answered, strict=True) if not known]
        return unknown

    async def _check_one(self, channel: Channel) -> bool:
        """False where the broker could not answer."""
        if channel.missed is not None:
            return True
        had = StreamPosition(channel.offset, channel.epoch)
        try:
            top = (await self._broker.history(channel.name, HistoryFilter(), self._meta_ttl)).top
        except UpstreamError:
            return False
        channel.touched = self._clock()
        wrong = _lost(had, top) or channel.offset < top.offset
        if wrong and channel.missed is None and channel.epoch:
            channel.missed = []
            self._metrics.broker_gaps += 1
            await self.close_gap(channel)
        return True


def _lost(had: StreamPosition, top: StreamPosition) -> bool:
    """Whether the stream that a channel followed is gone, or has lost its end, as after a failover.

    The history holds a publication before anybody hears of it, so a top below what was heard before the
    question can be nothing else.
    """
    return bool(had.epoch) and (had.epoch != top.epoch or top.offset < had.offset)
