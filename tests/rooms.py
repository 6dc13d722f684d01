"""What tests of single rooms share: a client that keeps what it is sent, a node around a broker, a clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from gateway.brokers.base import Broker, PresenceStore
from gateway.brokers.memory import MemoryPresenceStore
from gateway.client import Client, Limits
from gateway.config import load
from gateway.errors import Disconnect
from gateway.frames import text_frame
from gateway.metrics import Metrics
from gateway.node.membership import Order
from gateway.node.node import Node
from gateway.outbox import Outboxes
from gateway.protocol import encode_disconnect, encode_reply

LIMITS = Limits(
    ping_interval=25.0,
    pong_timeout=8.0,
    first_message_timeout=10.0,
    expired_close_delay=25.0,
    commands_per_second=0.0,
    command_burst=400.0,
)


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def unframe(data: bytes) -> list[bytes]:
    """The payloads of whole server frames."""
    payloads, position = [], 0
    while position < len(data):
        size = data[position + 1]
        start = position + 2
        if size > 125:
            extra = 2 if size == 126 else 8
            size = int.from_bytes(data[start : start + extra])
            start += extra
        payloads.append(data[start : start + size])
        position = start + size
    return payloads


class Phone:
    """A `ClientSink` that keeps what it is sent. `on_close` is what a connection does when it ends.

    Attributes:
        received: replies and pushes, parsed, in the order in which they were written.
        ended: why the gateway closed it.
        reading: whether more is read from its socket; `pauses`: how often that stopped.
    """

    def __init__(self, outboxes: Outboxes | None = None) -> None:
        self.outbox: list[bytes] = []
        self.is_full = False
        self.waiting_bytes = 0
        self.received: list[dict[str, Any]] = []
        self.ended: Disconnect | None = None
        self.on_close: Callable[[], None] = lambda: None
        self.reading = True
        self.pauses = 0
        self.parted = False
        self.rescheduled = 0
        self._outboxes = outboxes

    def send(self, payload: bytes) -> None:
        if self.ended is not None:
            return
        if self._outboxes is not None:
            self._outboxes.post(self, text_frame(payload))
        else:
            self.received.append(json.loads(payload))

    def flush(self) -> None:
        written = b"".join(self.outbox)
        self.outbox.clear()
        if self.ended is None:
            self.received += map(json.loads, unframe(written))

    def disconnect(self, disconnect: Disconnect) -> None:
        if self.ended is not None:
            return
        self.flush()
        self.received.append(json.loads(encode_disconnect(disconnect)))
        self.ended = disconnect
        self.on_close()

    def part(self) -> None:
        self.parted = True

    def pause_reading(self) -> None:
        self.pauses += self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def reschedule(self) -> None:
        self.rescheduled += 1


class House:
    """A node around `broker`, without the timers: the test does what they do."""

    def __init__(
        self,
        broker: Broker,
        presence: PresenceStore | None = None,
        *,
        clock: Clock | None = None,
        channels: dict[str, Any] | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.settings = load(None, {}, {"channels": channels or {}})
        self.broker = broker
        self.presence = presence or MemoryPresenceStore(60.0, self.clock)
        self.metrics = Metrics()
        loop = asyncio.get_running_loop()
        self.outboxes = Outboxes(loop.call_soon, loop.time, self.metrics)
        self.node = Node(
            self.settings,
            broker,
            self.presence,
            self.outboxes,
            self.metrics,
            node_id="n1",
            name="n1",
            clock=self.clock,
        )
        self.hub = self.node.hub
        self.membership = self.node.membership

    async def start(self) -> None:
        await self.broker.start(self.node)

    async def close(self) -> None:
        await self.broker.close()
        tasks = list(self.node._background._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def client(self, name: str, user: str = "") -> tuple[Client, Phone]:
        """A client that has connected."""
        phone = Phone(self.outboxes)
        client = Client(name, phone, LIMITS, ip="", now=self.clock())
        client.begin_connect()
        client.sign_in(user, "", "")
        self.hub.add(client)
        client.connected(self.clock() + 25.0)
        phone.on_close = lambda: self.leave(client)
        return client, phone

    def leave(self, client: Client) -> None:
        """As a connection that is lost."""
        if client.is_open:
            client.close()
            for subscription in list(client.subscriptions.values()):
                self.membership.end(subscription)
            self.hub.remove(client)

    async def subscribe(self, client: Client, order: Order, command_id: int = 1) -> None:
        """The three steps, with the reply between the first two."""
        subscription, result = await self.membership.prepare(client, order)
        client.sink.send(encode_reply(command_id, "subscribe", result))
        self.membership.activate(subscription)
        await self.membership.announce(subscription, order.options)

    def order(self, channel: str, **wishes: Any) -> Order:
        """Of a client that may do everything."""
        allowed = {"may_read_history": True, "may_read_presence": True}
        return Order(channel, self.node.rules.options(channel), **{**allowed, **wishes})


async def quiet(turns: int = 12) -> None:
    """Let the loop do all that needs no time."""
    for _ in range(turns):
        await asyncio.sleep(0)
