"""Publishes numbered messages at a steady rate, and knows which of them were accepted and where.

Every message has an idempotency key, so what is answered with an error, or not at all, is published again
with the same number until it has a position. Messages do not wait for each other.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import httpx

from chaos.team import API_KEY
from chaos.verdict import Accepted

BROADCAST = 10
"""Channels of one broadcast."""
RETRY = 0.1
"""Seconds before a message is published again."""
PATIENCE = 60.0
"""Seconds after which a message is given up."""
CALL_TIMEOUT = 15.0


class Publisher:
    """Half of the messages go by /api/publish, half by /api/broadcast.

    Attributes:
        accepted: what has a position.
        tops: the newest accepted position by channel.
        given_up: messages that got no position in time.
        calls: start and duration of every call of the server API, in seconds.
    """

    def __init__(self, channels: list[str], rate: float, url: Callable[[], str]) -> None:
        self._channels = channels
        self._rate = rate
        self._url = url
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._open_since: dict[int, float] = {}
        self.accepted: list[Accepted] = []
        self.tops: dict[str, Accepted] = {}
        self.given_up = 0
        self.calls: list[tuple[float, float]] = []

    @property
    def waiting(self) -> int:
        """Messages that have no answer yet."""
        return len(self._open_since)

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """No new messages; those on their way are published to their end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        headers = {"X-API-Key": API_KEY}
        client = httpx.AsyncClient(trust_env=False, headers=headers, timeout=CALL_TIMEOUT, limits=limits)
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                for _ in range(BROADCAST):
                    self._spawn(client, [random.choice(self._channels)])  # noqa: S311
                    due += 1 / self._rate
                    await asyncio.sleep(max(0.0, due - loop.time()))
                self._spawn(client, random.sample(self._channels, BROADCAST))
                due += BROADCAST / self._rate
                await asyncio.sleep(max(0.0, due - loop.time()))
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await client.aclose()

    def _spawn(self, client: httpx.AsyncClient, channels: list[str]) -> None:
        self._number += 1
        task = asyncio.create_task(self._publish(client, self._number, channels))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, client: httpx.AsyncClient, number: int, channels: list[str]) -> None:
        began = self._open_since[number] = time.monotonic()
        left = list(channels)
        try:
            while left and time.monotonic() - began < PATIENCE:
                left = await self._attempt(client, number, left, len(channels) > 1)
                if left:
                    await asyncio.sleep(RETRY * random.uniform(1.0, 2.0))  # noqa: S311
            self.given_up += len(left)
        finally:
            del self._open_since[number]

    async def _attempt(
        self, client: httpx.AsyncClient, number: int, channels: list[str], broadcast: bool
    ) -> list[str]:
        """The channels in which the message has no position yet."""
        method = "broadcast" if broadcast else "publish"
        target: dict[str, Any] = {"channels": channels} if broadcast else {"channel": channels[0]}
        params = {**target, "data": number, "idempotency_key": f"n{number}"}
        began = time.monotonic()
        try:
            answer = (await client.post(f"{self._url()}/{method}", json=params)).json()
        except (httpx.HTTPError, ValueError):
            return channels
        finally:
            self.calls.append((began, time.monotonic() - began))
        answers = answer.get("result", {}).get("responses", []) if broadcast else [answer]
        left = []
        for channel, each in zip(channels, answers or [{}] * len(channels), strict=True):
            result = each.get("result")
            if result and result.get("epoch"):
                self._accept(Accepted(channel, number, result["epoch"], result["offset"], time.monotonic()))
            else:
                left.append(channel)
        return left

    def _accept(self, accepted: Accepted) -> None:
        self.accepted.append(accepted)
        top = self.tops.get(accepted.channel)
        if top is None or top.epoch != accepted.epoch or top.offset < accepted.offset:
            self.tops[accepted.channel] = accepted
