"""Publishes on schedule through the server API, and remembers what went out.

Each publication has a time at which it is due, which it carries. If the API is slow, publications queue here
and go out together, and the wait counts as latency: a load that waited politely would hide it. A channel has
one connection, so that this side never changes the order.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from gateway.loadtest import wire
from gateway.loadtest.histogram import note
from gateway.loadtest.http_line import HttpFailed, HttpLine
from gateway.loadtest.tally import Tally

LINES: Final = 8
BATCH_LIMIT: Final = 200
BATCH_BYTES: Final = 4 * 1024 * 1024
TICK: Final = 0.002


class ApiError(Struct):
    code: int = 0
    message: str = ""


class ApiReply(Struct):
    """An answer of one method: `error` is what matters, the result is not looked at."""

    error: ApiError | None = None


class BatchAnswer(Struct):
    replies: list[ApiReply] = []
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Publications to `channels` by turns, all together `per_second`, `size` bytes of data each."""

    channels: list[str]
    per_second: float
    size: int


@dataclass(frozen=True, slots=True)
class Due:
    channel: str
    number: int
    at: int
    size: int


class Publisher:
    """The schedule, and the connections to the API.

    Args:
        tally: gives the tally to count in.

    Attributes:
        published: the last number of each channel; unsure: numbers that may not have gone out.
    """

    def __init__(self, open_line: Callable[[], HttpLine], run: str, tally: Callable[[], Tally]) -> None:
        self.published: dict[str, int] = {}
        self.unsure: dict[str, list[int]] = {}
        self._run = run
        self._tally = tally
        self._lines = [open_line() for _ in range(LINES)]
        self._queues: list[deque[Due]] = [deque() for _ in self._lines]
        self._wake = [asyncio.Event() for _ in self._lines]
        self._ended = False

    async def publish(self, streams: list[Stream], until: Callable[[], float]) -> None:
        """All streams, until the monotonic second that `until` says; then what is queued, to the end."""
        senders = [asyncio.create_task(self._send(number)) for number in range(LINES)]
        try:
            await asyncio.gather(*(self._schedule(stream, until) for stream in streams))
        finally:
            self._ended = True
            for wake in self._wake:
                wake.set()
            await asyncio.gather(*senders)
            for line in self._lines:
                line.close()

    async def _schedule(self, stream: Stream, until: Callable[[], float]) -> None:
        every, began, sent = 1e6 / stream.per_second, _now(), 0
        while stream.channels and (now := _now()) < until() * 1e6:
            while (due := began + int(sent * every)) <= now:
                channel = stream.channels[sent % len(stream.channels)]
                sent += 1
                number = self.published[channel] = self.published.get(channel, 0) + 1
                line = zlib.crc32(channel.encode()) % LINES
                self._queues[line].append(Due(channel, number, due, stream.size))
                self._wake[line].set()
            ahead = (began + int(sent * every) - _now()) / 1e6
            await asyncio.sleep(max(TICK, min(ahead, 0.2)))

    async def _send(self, number: int) -> None:
        queue, wake = self._queues[number], self._wake[number]
        while queue or not self._ended:
            if not queue:
                await wake.wait()
                wake.clear()
                continue
            batch: list[Due] = []
            size = 0
            while queue and len(batch) < BATCH_LIMIT and size < BATCH_BYTES:
                batch.append(queue.popleft())
                size += batch[-1].size + 100
            await self._call(self._lines[number], batch)

    async def _call(self, line: HttpLine, batch: list[Due]) -> None:
        bodies = [self._body(due) for due in batch]
        try:
            if len(bodies) == 1:
                status, answer = await line.request("POST", "/publish", bodies[0])
                errors = [_error(status, answer)]
            else:
                commands = b",".join(b'{"publish":%b}' % body for body in bodies)
                status, answer = await line.request("POST", "/batch", b'{"commands":[%b]}' % commands)
                errors = _errors(status, answer, len(batch))
        except HttpFailed as failed:
            errors = [f"publish: {failed}"] * len(batch)
        now, tally = _now(), self._tally()
        for due, error in zip(batch, errors, strict=True):
            if error:
                tally.fail(error)
                self.unsure.setdefault(due.channel, []).append(due.number)
            else:
                tally.published += 1
                note(tally.publish, now - due.at)

    def _body(self, due: Due) -> bytes:
        data = wire.stamped(self._run, due.number, due.at, due.size)
        return b'{"channel":%b,"data":%b}' % (msgspec.json.encode(due.channel), data)


def _now() -> int:
    return time.monotonic_ns() // 1000


def _error(status: int, answer: bytes) -> str:
    if status != 200:
        return f"publish: HTTP {status}"
    return _said(msgspec.json.decode(answer, type=ApiReply).error)


def _errors(status: int, answer: bytes, count: int) -> list[str]:
    if status != 200:
        return [f"publish: HTTP {status}"] * count
    said = msgspec.json.decode(answer, type=BatchAnswer)
    if len(said.replies) != count:
        return [_said(said.error) or "publish: a batch answered in part"] * count
    return [_said(reply.error) for reply in said.replies]


def _said(error: ApiError | None) -> str:
    return f"publish: error {error.code} {error.message}" if error else ""
