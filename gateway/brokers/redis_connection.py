"""One connection to one Redis server, on `hiredis.Reader`: pipelined commands, or subscriptions.

Commands of one loop turn leave in one write, any number of them are in flight, and replies answer them in
order. Who stops waiting leaves its place in the queue behind, so no reply is ever taken for another's.

Outcomes are values, not exceptions: the future of a command always gets a result, which is the reply or a
`CommandFailure`. So nothing is logged for a caller that went away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import hiredis

WRITE_LIMIT: Final = 32 * 2**20
"""Bytes that wait for a server that does not read; past it commands are refused at once."""

HELD_LIMIT: Final = 100_000
"""Messages kept back while a connection subscribes again; the re-read of the histories covers the rest."""

_NOTHING: Final = object()

pack: Callable[[tuple[str | bytes | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
"""The words of one command as bytes for the wire. (The stub of hiredis says one word.)"""


class CommandFailure(Exception):
    """Why a command has no reply."""


class ReplyError(CommandFailure):
    """Redis refused the command; the first word is the error's code."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class ConnectionLost(CommandFailure):
    """The connection ended before the reply; whether the command took effect is unknown unless `unsent`."""

    def __init__(self, reason: str, unsent: bool = False) -> None:
        super().__init__(reason)
        self.unsent = unsent


class CommandTimeout(CommandFailure):
    """The reply did not come in time; whether the command takes effect is unknown."""


class Connection(asyncio.Protocol):
    """Commands and their replies. `timeout`: seconds until a command's future gives up."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=ReplyError)
        self._transport: asyncio.Transport | None = None
        self._output: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self.blocked = False
        """The server does not read what it is sent."""
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Its result is why the connection ended."""

    @property
    def alive(self) -> bool:
        return self._transport is not None

    # ------------------------------------------------------------------ commands
    def send(self, packed: bytes) -> asyncio.Future[Any]:
        """Queue one packed command; the future's result is the reply or a CommandFailure."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            future.set_result(ConnectionLost(self._reason or "not connected", unsent=True))
        elif self.blocked:
            future.set_result(ReplyError("BLOCKED the server does not read what it is sent"))
        else:
            self._waiting.append((self._loop.time() + self._timeout, future))
            self._write(packed)
        return future

    async def command(self, *words: str | bytes | int) -> Any:
        """Send and await one command. Raises CommandFailure."""
        reply = await self.send(pack(words))
        if isinstance(reply, CommandFailure):
            raise reply
        return reply

    def _write(self, packed: bytes) -> None:
        if not self._output:
            self._loop.call_soon(self._flush)
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout / 4, self._check)
        self._output.append(packed)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._output))
        self._output.clear()

    def _check(self) -> None:
        """Give up on what waits for too long; end a connection whose server has gone silent."""
        self._timer = None
        now = self._loop.time()
        for deadline, future in self._waiting:
            if deadline > now:
                break
            if not future.done():
                future.set_result(CommandTimeout(f"no answer within {self._timeout:g} s"))
        if self._oldest_deadline(now) + self._timeout <= now:
            self.abort(f"no answer for {2 * self._timeout:g} s")
        elif self._busy():
            self._timer = self._loop.call_later(self._timeout / 4, self._check)

    def _oldest_deadline(self, now: float) -> float:
        return self._waiting[0][0] if self._waiting else now

    def _busy(self) -> bool:
        return bool(self._waiting)

    # ------------------------------------------------------------------ the transport's calls
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without deriving from it
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            self._receive()
        except hiredis.ProtocolError as error:
            self.abort(f"this does not speak Redis: {error}")

    def _receive(self) -> None:
        gets, waiting = self._reader.gets, self._waiting
        while (reply := gets()) is not _NOTHING:
            if not waiting:
                self.abort("an answer that nobody asked for")
                return
            future = waiting.popleft()[1]
            if not future.done():
                future.set_result(reply)

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._reason = self._reason or (str(error) if error else "the server closed the connection")
        if self._timer is not None:
            self._timer.cancel()
        self._fail_all(ConnectionLost(self._reason))
        self.lost.set_result(self._reason)

    def _fail_all(self, failure: ConnectionLost) -> None:
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_result(failure)

    def abort(self, reason: str) -> None:
        """End the connection now; what waits fails in the next turn of the loop."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()


class Subscription(Connection):
    """A connection for messages: `on_message(name, payload)` is called for each, in order.

    Messages are held back until `release`, so that a node hears of a gap before it hears what came after.
    """

    def __init__(self, timeout: float, on_message: Callable[[bytes, bytes], None]) -> None:
        super().__init__(timeout)
        self._on_message = on_message
        self._held: list[tuple[bytes, bytes]] | None = []
        self._requests: list[tuple[bytes, bytes, asyncio.Future[Any]]] = []
        self._batches: deque[_Batch] = deque()

    def request(self, verb: bytes, name: bytes) -> asyncio.Future[Any]:
        """Ask for SUBSCRIBE, UNSUBSCRIBE or their sharded twins of one name.

        The requests of one turn leave together. The future's result is None once Redis confirmed it, or
        a CommandFailure.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            future.set_result(ConnectionLost(self._reason or "not connected", unsent=True))
            return future
        if not self._requests:
            self._loop.call_soon(self._flush_requests)
        self._requests.append((verb, name, future))
        return future

    def release(self) -> None:
        """Hand out what was held back, and from now on everything at once."""
        held, self._held = self._held or [], None
        for name, payload in held:
            self._on_message(name, payload)

    def _flush_requests(self) -> None:
        requests, self._requests = self._requests, []
        if self._transport is None:
            return
        deadline = self._loop.time() + self._timeout
        for batch in _batches(requests, deadline):
            self._batches.append(batch)
            self._write(pack((batch.verb, *batch.names)))

    def _receive(self) -> None:
        gets, on_message = self._reader.gets, self._on_message
        while (reply := gets()) is not _NOTHING:
            if type(reply) is list and (reply[0] == b"message" or reply[0] == b"smessage"):
                if self._held is None:
                    on_message(reply[1], reply[2])
                elif len(self._held) < HELD_LIMIT:
                    self._held.append((reply[1], reply[2]))
            else:
                self._control(reply)

    def _control(self, reply: Any) -> None:
        """A confirmation, or the reply to a command of the sign-in."""
        batch = self._batches[0] if self._batches else None
        if type(reply) is list and reply[0] in _CONFIRMATIONS:
            if batch and batch.confirmed_by(reply):
                batch.left -= 1
                if not batch.left:
                    self._batches.popleft().settle(None)
            elif reply[0] == b"sunsubscribe":
                self.abort("a slot of the cluster moved to another node")
        elif self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_result(reply)
        elif batch and isinstance(reply, ReplyError):
            self._batches.popleft().settle(reply)

    def _check(self) -> None:
        now = self._loop.time()
        for batch in self._batches:
            if batch.deadline > now:
                break
            batch.settle(CommandTimeout(f"not confirmed within {self._timeout:g} s"))
        super()._check()

    def _oldest_deadline(self, now: float) -> float:
        return self._batches[0].deadline if self._batches else super()._oldest_deadline(now)

    def _busy(self) -> bool:
        return bool(self._waiting or self._batches)

    def _fail_all(self, failure: ConnectionLost) -> None:
        super()._fail_all(failure)
        while self._batches:
            self._batches.popleft().settle(failure)
        for _, _, future in self._requests:
            if not future.done():
                future.set_result(failure)
        self._requests.clear()


_CONFIRMATIONS: Final = frozenset({b"subscribe", b"unsubscribe", b"ssubscribe", b"sunsubscribe"})

BATCH: Final = 500
"""Names in one SUBSCRIBE: a few tens of kilobytes, and other clients of the server get their turn."""


class _Batch:
    """One SUBSCRIBE on its way: Redis confirms its names one by one, in order, or refuses all of them."""

    __slots__ = ("deadline", "futures", "left", "names", "verb")

    def __init__(self, verb: bytes, deadline: float) -> None:
        self.verb = verb
        self.deadline = deadline
        self.names: list[bytes] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.left = 0

    def add(self, name: bytes, future: asyncio.Future[Any]) -> None:
        self.names.append(name)
        self.futures.append(future)
        self.left += 1

    def takes(self, verb: bytes) -> bool:
        """A cluster takes the names of a sharded verb one slot at a time, so those go one by one."""
        return verb == self.verb and self.left < BATCH and verb in (b"SUBSCRIBE", b"UNSUBSCRIBE")

    def confirmed_by(self, reply: list[Any]) -> bool:
        expected: bytes = self.names[len(self.names) - self.left]
        return bool(reply[0] == self.verb.lower() and reply[1] == expected)

    def settle(self, outcome: CommandFailure | None) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(outcome)


def _batches(
    requests: Iterable[tuple[bytes, bytes, asyncio.Future[Any]]], deadline: float
) -> Iterator[_Batch]:
    """Runs of one verb, in the order of the requests: a name that was left and entered again stays so."""
    batch: _Batch | None = None
    for verb, name, future in requests:
        if batch is None or not batch.takes(verb):
            if batch is not None:
                yield batch
            batch = _Batch(verb, deadline)
        batch.add(name, future)
    if batch is not None:
        yield batch
