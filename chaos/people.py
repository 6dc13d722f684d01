"""The clients: centrifuge-python, subscribed to every channel, coming back by itself, noting all it hears."""

from __future__ import annotations

import time
from typing import Any

import centrifuge  # type: ignore[import-untyped]

from chaos.team import HMAC_SECRET
from chaos.verdict import Record
from gateway.auth.token_maker import make_token

RECONNECT = 0.05
RECONNECT_MAX = 1.0
"""Seconds: users' programs wait longer; here the gateway's part of a stall is to be seen."""


class Person:
    """One client and its records.

    Attributes:
        arrivals: when publications came, monotonic seconds.
        kicks: codes and reasons with which the connection was lost.
        gone: how it ended for good, which must not happen.
    """

    def __init__(self, name: str, channels: list[str]) -> None:
        self.name = name
        self.records = {channel: Record(name, channel) for channel in channels}
        self.arrivals: list[float] = []
        self.kicks: list[str] = []
        self.gone = ""
        self.positions: dict[str, tuple[str, int]] = {}
        self._client: Any = None
        self._leaving = False

    async def enter(self, url: str) -> None:
        """Connect and subscribe; from then on the SDK does the rest."""
        events = centrifuge.ClientEventHandler()
        events.on_connecting = self._on_connecting
        events.on_disconnected = self._on_disconnected
        token = make_token(HMAC_SECRET, {"sub": self.name, "exp": int(time.time()) + 86400})
        self._client = centrifuge.Client(
            url,
            events=events,
            token=token,
            min_reconnect_delay=RECONNECT,
            max_reconnect_delay=RECONNECT_MAX,
            proxy=None,
        )
        for channel in self.records:
            subscription = self._client.new_subscription(
                channel,
                events=self._events(channel),
                min_resubscribe_delay=RECONNECT,
                max_resubscribe_delay=RECONNECT_MAX,
            )
            await subscription.subscribe()
        await self._client.connect()

    async def leave(self) -> None:
        if self._client is not None:
            self._leaving = True
            await self._client.disconnect()

    def has(self, channel: str, epoch: str, offset: int) -> bool:
        """Whether this client stands there, or further on."""
        at_epoch, at_offset = self.positions.get(channel, ("", 0))
        return at_epoch == epoch and at_offset >= offset

    @property
    def subscribed(self) -> bool:
        """To all of them, once."""
        return len(self.positions) == len(self.records)

    def _events(self, channel: str) -> Any:
        record = self.records[channel]
        events = centrifuge.SubscriptionEventHandler()

        async def on_subscribed(context: Any) -> None:
            position = context.stream_position
            record.subscribed(position.epoch, position.offset, context.recovered, time.monotonic())
            self.positions[channel] = (position.epoch, position.offset)

        async def on_publication(context: Any) -> None:
            offset = context.pub.offset
            record.heard(offset, int(context.pub.data))
            self.arrivals.append(time.monotonic())
            epoch, before = self.positions.get(channel, ("", 0))
            self.positions[channel] = (epoch, max(before, offset))

        async def on_unsubscribed(context: Any) -> None:
            self._end(f"unsubscribed from {channel}: {context.code} {context.reason}")

        events.on_subscribed = on_subscribed
        events.on_publication = on_publication
        events.on_unsubscribed = on_unsubscribed
        return events

    async def _on_connecting(self, context: Any) -> None:
        self.kicks.append(f"{context.code} {context.reason}")

    async def _on_disconnected(self, context: Any) -> None:
        self._end(f"disconnected: {context.code} {context.reason}")

    def _end(self, why: str) -> None:
        if not self._leaving:
            self.gone = f"{self.name} was {why}"
