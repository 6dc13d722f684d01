"""What one user's, or one client's, connections send and get, live, from whichever nodes they are on.

The node that was asked tells all nodes what to look for, again every few seconds, so that nodes that start
and messages that are lost do not matter; a node that does not hear of a trace any more ends it. Lines come
back over the control channel in portions. A trace is bounded in time, in lines a second and in lines; what is
above is counted, not kept.

While nobody traces there is nothing: no list is looked at per message, and connections are of their plain
class (see `websocket.tracing`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from msgspec import Raw, Struct

from gateway.client import Client
from gateway.errors import ERROR_TOO_MANY_REQUESTS, ClientError, UpstreamError
from gateway.node.node import Node
from gateway.protection.lines import lines

TRACES_LIMIT: Final = 16
"""Traces that run at a time."""
CLIENTS_LIMIT: Final = 64
"""Connections that one trace watches on one node."""
SECONDS_LIMIT: Final = 600
LINES_PER_SECOND: Final = 200
"""Of one trace, on one node."""
LINES_LIMIT: Final = 50_000
"""Of one trace; then it ends."""
QUEUE_LIMIT: Final = 5_000
"""Lines that wait for who reads them."""
SEND_INTERVAL: Final = 0.1
"""Seconds that lines are gathered before they travel to the node that was asked."""
LOOK_UP_INTERVAL: Final = 0.5
"""Seconds after which somebody who reads gets an empty portion: time to see that nobody reads any more."""
RENEW_INTERVAL: Final = 3.0
FORGET_AFTER: Final = 3 * RENEW_INTERVAL
"""Seconds after which a node ends a trace that nobody renews."""

LOOK: Final = "trace"
FOUND: Final = "trace_lines"

Line = dict[str, Any]

log = structlog.get_logger()


class Look(Struct, frozen=True, omit_defaults=True):
    """To all nodes: watch these connections, and tell `node`; or stop."""

    id: str
    node: str
    user: str = ""
    client: str = ""
    payloads: bool = False
    stop: bool = False


class Found(Struct, frozen=True):
    """To the node that asked."""

    id: str
    lines: list[Line]


_decode_look: Final = msgspec.json.Decoder(Look).decode
_decode_found: Final = msgspec.json.Decoder(Found).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class _Watch:
    """A trace as a node sees it whose connections are watched."""

    look: Look
    until: float
    clients: set[str] = field(default_factory=set)
    waiting: list[Line] = field(default_factory=list)
    second: int = 0
    in_second: int = 0
    dropped: int = 0


class Tracer:
    """Both sides of all traces of one node.

    Arguments:
        attach, detach: begin and end to hand a connection's messages to `tap`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        node: Node,
        *,
        attach: Callable[[Client], None],
        detach: Callable[[Client], None],
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._attach = attach
        self._detach = detach
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._readers: dict[str, asyncio.Queue[Line]] = {}
        self._sender: asyncio.Task[None] | None = None
        node.notices[LOOK] = self._look
        node.notices[FOUND] = self._found

    # ------------------------------------------------------------------ who asks
    async def run(
        self, user: str, client: str, *, payloads: bool, seconds: float
    ) -> AsyncGenerator[list[Line], None]:
        """Lines as they come, in portions; an empty one now and then. Ends by itself after `seconds`.

        Raises ClientError 111 where too many traces run, UpstreamError where the nodes cannot be told.
        """
        if len(self._readers) >= TRACES_LIMIT:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, f"at most {TRACES_LIMIT} traces at a time")
        look = Look(secrets.token_hex(8), self._node.id, user, client, payloads)
        queue: asyncio.Queue[Line] = asyncio.Queue(QUEUE_LIMIT)
        self._readers[look.id] = queue
        end, renewal, sent = self._clock() + seconds, self._clock() + RENEW_INTERVAL, 0
        try:
            await self._node.tell(LOOK, _encode(look))
            yield [self._about("begin", seconds=int(seconds))]
            while sent < LINES_LIMIT and not self._node.draining and (now := self._clock()) < end:
                if now >= renewal:
                    renewal = now + RENEW_INTERVAL
                    await self._renew(look)
                portion = await _portion(queue, min(LOOK_UP_INTERVAL, end - now))
                sent += len(portion)
                yield portion
            yield [self._about("end")]
        finally:
            del self._readers[look.id]
            self._node.spawn(self._stop(look))

    async def _renew(self, look: Look) -> None:
        try:
            await self._node.tell(LOOK, _encode(look))
        except UpstreamError as error:
            log.info("a trace could not be renewed", problem=error.detail)

    async def _stop(self, look: Look) -> None:
        await self._node.tell(LOOK, _encode(Look(look.id, look.node, stop=True)))

    def _about(self, kind: str, **more: int) -> Line:
        return {
            "at": self._now(),
            "node": self._node.id,
            "client": "",
            "direction": "",
            "kind": kind,
            "bytes": 0,
            **more,
        }

    def _now(self) -> int:
        return int(self._node.wall() * 1000)

    def _found(self, content: Raw) -> None:
        found = _decode_found(content)
        queue = self._readers.get(found.id)
        for line in found.lines if queue is not None else ():
            if queue is not None and not queue.full():
                queue.put_nowait(line)

    # ------------------------------------------------------------------ who is watched
    def _look(self, content: Raw) -> None:
        look = _decode_look(content)
        if look.stop:
            self._end(look.id)
            return
        until = self._clock() + FORGET_AFTER
        known = self._watches.get(look.id)
        if known is not None:
            known.until = until
            return
        if len(self._watches) >= TRACES_LIMIT * 4:  # all nodes together
            return
        watch = self._watches[look.id] = _Watch(look, until)
        hub = self._node.hub
        one = hub.clients.get(look.client)
        for client in hub.of_user(look.user) if look.user else [one] if one is not None else []:
            self._begin(watch, client)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_forever(), name="trace")

    def _begin(self, watch: _Watch, client: Client) -> None:
        if len(watch.clients) < CLIENTS_LIMIT and watch.look.client in ("", client.id):
            watch.clients.add(client.id)
            self._attach(client)

    def _end(self, trace: str) -> None:
        watch = self._watches.pop(trace, None)
        if watch is None:
            return
        others = {client for each in self._watches.values() for client in each.clients}
        for name in watch.clients - others:
            client = self._node.hub.clients.get(name)
            if client is not None:
                self._detach(client)

    def entered(self, client: Client) -> None:
        """A client has just said who it is; the reply is not out yet."""
        for watch in self._watches.values() if client.user else ():
            if watch.look.user == client.user:
                self._begin(watch, client)
                self._note(watch, client.id, {"direction": "in", "kind": "connect", "bytes": 0})

    def tap(self, client: str, direction: str, message: bytes) -> None:
        """A message of a connection that is watched. Never raises."""
        read: dict[bool, list[Line]] = {}  # once for all who watch the same
        for watch in self._watches.values():
            if client in watch.clients and self._has_room(watch, message.count(b"\n") + 1):
                payloads = watch.look.payloads
                if payloads not in read:
                    read[payloads] = list(lines(direction, message, payloads))
                for line in read[payloads]:
                    self._note(watch, client, line)

    def _has_room(self, watch: _Watch, count: int) -> bool:
        """Within the rate; before anything is parsed."""
        second = int(self._clock())
        if second != watch.second:
            watch.second, watch.in_second = second, 0
        watch.in_second += count
        if watch.in_second > LINES_PER_SECOND:
            watch.dropped += count
            return False
        return True

    def _note(self, watch: _Watch, client: str, line: Line) -> None:
        watch.waiting.append({"at": self._now(), "node": self._node.id, "client": client, **line})

    async def _send_forever(self) -> None:
        """While there are traces."""
        try:
            while self._watches:
                await asyncio.sleep(SEND_INTERVAL)
                now = self._clock()
                for trace, watch in list(self._watches.items()):
                    if watch.waiting or watch.dropped:
                        await self._send(watch)
                    if now >= watch.until:
                        self._end(trace)
        finally:
            self._sender = None

    async def _send(self, watch: _Watch) -> None:
        portion, watch.waiting = watch.waiting, []
        if watch.dropped:
            portion.append(self._about("dropped", count=watch.dropped))
            watch.dropped = 0
        try:
            await self._node.tell(FOUND, _encode(Found(watch.look.id, portion)), watch.look.node)
        except UpstreamError:
            watch.dropped += len(portion)

    async def close(self) -> None:
        """End what runs."""
        for trace in list(self._watches):
            self._end(trace)
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)


async def _portion(queue: asyncio.Queue[Line], patience: float) -> list[Line]:
    """All that has come, or what comes first within `patience` seconds; empty if nothing does."""
    try:
        async with asyncio.timeout(patience):
            portion = [await queue.get()]
    except TimeoutError:
        return []
    while not queue.empty():
        portion.append(queue.get_nowait())
    return portion
