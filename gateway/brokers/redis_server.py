"""One Redis server as a node sees it: a connection for commands, one for messages, both kept alive.

A lost connection is opened again with jittered back-off. A new connection for messages subscribes to
everything first, then tells of the gap, then hands out messages: nothing that came after the gap is heard
before it. A canary, published through one connection and heard on the other, finds a subscription that went
deaf without a sign, as behind a half-open connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from gateway.brokers.redis_connection import (
    CommandFailure,
    Connection,
    ConnectionLost,
    ReplyError,
    Subscription,
    pack,
)
from gateway.brokers.redis_handshake import check_server, explain, open_connection
from gateway.brokers.redis_keys import Request, Script
from gateway.brokers.redis_url import Endpoint
from gateway.errors import UpstreamError

# The standard library's: the publisher runs in programs of others, which have logging of their own.
log = logging.getLogger("gateway.redis")

C = TypeVar("C", bound=Connection)

NOT_NOW: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"})
"""Refusals without effect that end by themselves: the command is sent again until its time is up."""

RETRY_DELAY: Final = 0.05
"""Seconds before a command that was refused for now is sent again."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times in seconds.

    Attributes:
        timeout: until a command, or the wait for a connection to send it on, gives up.
        connect_timeout: until a connection attempt gives up.
        canary_interval: between two canaries; a deaf subscription is found within two of them.
        backoff: the pause after the first failed attempt to reconnect; it doubles with each.
        backoff_max: the longest pause. Every pause is cut by a random part of up to a half.
    """

    timeout: float = 2.0
    connect_timeout: float = 3.0
    canary_interval: float = 2.5
    backoff: float = 0.1
    backoff_max: float = 2.0


class MovedError(UpstreamError):
    """A node of a cluster does not have this slot (any more)."""


class Supervisor(Generic[C]):
    """Keeps one connection open. `connection` may be dead for a moment; `ready` waits for a live one."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[C]],
        tuning: Tuning,
        on_error: Callable[[str], None],
    ) -> None:
        self._name = name
        self._connect = connect
        self._tuning = tuning
        self._on_error = on_error
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connection: C | None = None
        self.problem = "not connected"
        self.reconnects = 0

    async def start(self) -> None:
        """The first connection. Raises UpstreamError where it is impossible."""
        await self._open()
        self._task = asyncio.create_task(self._keep(), name=f"redis-{self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.problem = "closed"
        self._up.clear()
        if self.connection is not None:
            self.connection.abort("closed")
            await asyncio.wait([self.connection.lost])
            self.connection = None

    async def ready(self, timeout: float) -> C:
        """A live connection, awaited for at most `timeout` seconds. Raises UpstreamError."""
        if self.connection is not None and self.connection.alive:
            return self.connection
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self._up.wait()
                    if self.connection is not None and self.connection.alive:
                        return self.connection
                    await asyncio.sleep(0)  # it died in this turn, the keeper has not seen it yet
        except TimeoutError:
            raise UpstreamError(detail=f"Redis is away: {self.problem or 'just lost'}") from None

    async def _open(self) -> None:
        self.connection = await self._connect()
        self.problem = ""
        self._up.set()

    async def _keep(self) -> None:
        while self.connection is not None:
            await asyncio.wait([self.connection.lost])
            self._up.clear()
            self.problem = f"lost the Redis connection for {self._name}: {self.connection.lost.result()}"
            log.warning("%s", self.problem)
            await self._reopen()
            self.reconnects += 1
            log.info("the connection for %s is back", self._name)

    async def _reopen(self) -> None:
        pause = self._tuning.backoff
        await asyncio.sleep(pause * random.random())  # noqa: S311  all nodes lost it in the same moment
        while True:
            try:
                await self._open()
                return
            except UpstreamError as error:
                self.problem = str(error)
            except Exception:
                self.problem = f"the Redis connection for {self._name} failed in an unforeseen way"
                log.exception("%s", self.problem)
            self._on_error("connect")
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, self._tuning.backoff_max)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears a server's messages. `on_gap`: messages of these names may have been missed."""

    on_message: Callable[[bytes, bytes], None]
    on_gap: Callable[[Collection[bytes]], None]
    canary: bytes
    """A name that nobody else listens to."""
    on_error: Callable[[str], None] = lambda operation: None
    """An operation failed for good: `connect`, `subscribe` or `command`."""


class Server:
    """See the module. `locate` says where the server is now; `mode` is the topology that the URL promised."""

    def __init__(
        self,
        locate: Callable[[], Awaitable[Endpoint]],
        mode: str,
        client_name: str,
        tuning: Tuning,
        listener: Listener | None = None,
    ) -> None:
        self._locate = locate
        self._mode = mode
        self._client_name = client_name
        self._tuning = tuning
        self._listener = listener
        self._canary = listener.canary if listener else b""
        self._canary_task: asyncio.Task[None] | None = None
        self._canaries_heard = 0
        self._heard_before = False
        self.endpoint = Endpoint()
        """Where the newest connection went."""
        self.displaced = False
        """A node of a cluster that was asked for a slot it does not have: the map of slots is old."""
        self.wanted: dict[bytes, bytes] = {}
        """Names that this node listens to, each with the verb that subscribes to it."""
        self._on_error = listener.on_error if listener else lambda operation: None
        self.commands = Supervisor("commands", self._connect_commands, tuning, self._on_error)
        self.messages = Supervisor("messages", self._connect_messages, tuning, self._on_error)

    async def start(self) -> None:
        """Raises UpstreamError with one line where the server cannot be used."""
        await self.commands.start()
        if self._listener is None:
            return
        self.wanted[self._canary] = b"SUBSCRIBE"
        await self.messages.start()
        self._canary_task = asyncio.create_task(self._watch(), name="redis-canary")

    async def close(self) -> None:
        if self._canary_task is not None:
            self._canary_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._canary_task
        await self.messages.close()
        await self.commands.close()

    @property
    def problem(self) -> str:
        return self.commands.problem or (self.messages.problem if self._listener else "")

    # ------------------------------------------------------------------ connecting
    async def _connect_commands(self) -> Connection:
        connection, endpoint = await self._enter(partial(Connection, self._tuning.timeout))
        try:
            for script in Script.all:
                await connection.command("SCRIPT", "LOAD", script.source)
        except CommandFailure as failure:
            connection.abort("the sign-in failed")
            raise UpstreamError(detail=f"Redis at {endpoint}: {explain(failure, endpoint)}") from None
        return connection

    async def _connect_messages(self) -> Subscription:
        connection, endpoint = await self._enter(
            partial(Subscription, self._tuning.timeout, self._on_message)
        )
        try:
            await self._subscribe_all(connection)
        except CommandFailure as failure:
            connection.abort("subscribing failed")
            raise UpstreamError(detail=f"Redis at {endpoint}: {explain(failure, endpoint)}") from None
        if self._heard_before and self._listener is not None:
            self._listener.on_gap(self.wanted)
        self._heard_before = True
        connection.release()
        return connection

    async def _enter(self, make: Callable[[], C]) -> tuple[C, Endpoint]:
        endpoint = self.endpoint = await self._locate()
        connection, hello = await open_connection(
            endpoint, make, self._client_name, self._tuning.connect_timeout
        )
        try:
            check_server(hello, endpoint, self._mode)
        except UpstreamError:
            connection.abort("not the right server")
            raise
        return connection, endpoint

    async def _subscribe_all(self, connection: Subscription) -> None:
        """Subscribe to what is wanted, and leave what was given up meanwhile. Raises CommandFailure."""
        asked = dict(self.wanted)
        for future in [connection.request(verb, name) for name, verb in asked.items()]:
            failure = await future
            if isinstance(failure, ReplyError) and failure.code == "MOVED":
                self.displaced = True
            elif failure:
                raise failure
        for name, verb in asked.items():
            if name not in self.wanted:
                connection.request(_leaving(verb), name)

    # ------------------------------------------------------------------ messages
    async def subscribe(self, name: bytes, verb: bytes = b"SUBSCRIBE") -> None:
        """From its return on, messages of `name` are heard. Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._tuning.timeout
        self.wanted[name] = verb
        try:
            while True:
                connection = await self.messages.ready(deadline - loop.time())
                failure = await connection.request(verb, name)
                if failure is None:
                    return
                if isinstance(failure, ReplyError) and failure.code == "MOVED":
                    raise MovedError(detail=str(failure))
                if not isinstance(failure, ConnectionLost):
                    detail = f"Redis at {self.endpoint}: {explain(failure, self.endpoint)}"
                    raise UpstreamError(detail=detail)
        except BaseException as error:
            self.unsubscribe(name)
            if isinstance(error, UpstreamError) and not isinstance(error, MovedError):
                self._on_error("subscribe")
            raise

    def unsubscribe(self, name: bytes) -> None:
        """Nothing of `name` is heard from now on; Redis learns of it with the next write."""
        verb = self.wanted.pop(name, None)
        if verb is not None and self.messages.connection is not None:
            self.messages.connection.request(_leaving(verb), name)

    def _on_message(self, name: bytes, payload: bytes) -> None:
        if name == self._canary:
            self._canaries_heard += 1
        elif name in self.wanted and self._listener is not None:
            self._listener.on_message(name, payload)

    async def _watch(self) -> None:
        """Publish canaries; a subscription that misses one is dropped, so that it is opened again."""
        pause = self._tuning.canary_interval
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311
            pause = self._tuning.canary_interval
            commands, messages = self.commands.connection, self.messages.connection
            if commands is None or messages is None or not messages.alive:
                continue
            heard = self._canaries_heard
            reply = await commands.send(pack(("PUBLISH", self._canary, b"1")))
            if isinstance(reply, CommandFailure):
                # What silenced this connection may have silenced the other one: look as soon as it is back.
                pause = min(pause, self._tuning.backoff)
                continue
            if reply == 0:
                messages.abort("the server forgot this subscription")
                continue
            if self._canaries_heard == heard:
                await asyncio.sleep(self._tuning.canary_interval / 2)
            if self._canaries_heard == heard:
                messages.abort("the subscription is deaf: it missed a canary")

    # ------------------------------------------------------------------ commands
    def post(self, request: Request) -> asyncio.Future[Any]:
        """Queue a command; give what the future yields to `settle`."""
        if self.commands.connection is not None:
            return self.commands.connection.send(request.packed())
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(ConnectionLost("not connected", unsent=True))
        return future

    async def call(self, request: Request) -> Any:
        """One command. Raises UpstreamError after at most twice the timeout."""
        reply = await self.post(request)
        return await self.settle(request, reply) if isinstance(reply, CommandFailure) else reply

    async def settle(self, request: Request, failure: CommandFailure) -> Any:
        """Send a command again where that is safe; the reply, or UpstreamError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._tuning.timeout
        while self._may_repeat(request, failure):
            if isinstance(failure, ReplyError) and failure.code in NOT_NOW:
                await asyncio.sleep(RETRY_DELAY)
            connection = await self._ready(deadline - loop.time())
            forgotten = isinstance(failure, ReplyError) and failure.code == "NOSCRIPT"
            try:
                async with asyncio.timeout_at(deadline):
                    reply = await connection.send(request.with_source() if forgotten else request.packed())
            except TimeoutError:
                break
            if not isinstance(reply, CommandFailure):
                return reply
            failure = reply
            if loop.time() > deadline:
                break
        if isinstance(failure, ReplyError) and failure.code in ("MOVED", "ASK"):
            raise MovedError(detail=str(failure))
        self._on_error("command")
        raise UpstreamError(detail=f"Redis at {self.endpoint}: {explain(failure, self.endpoint)}")

    async def _ready(self, timeout: float) -> Connection:
        try:
            return await self.commands.ready(timeout)
        except UpstreamError:
            self._on_error("command")
            raise

    def _may_repeat(self, request: Request, failure: CommandFailure) -> bool:
        if isinstance(failure, ConnectionLost):
            return request.repeatable or failure.unsent
        if not isinstance(failure, ReplyError):
            return False
        if failure.code == "READONLY" and self.commands.connection is not None:
            # The master became a replica: find the new one, for messages too.
            self.commands.connection.abort("this server is a replica now")
            if self.messages.connection is not None:
                self.messages.connection.abort("this server is a replica now")
        return failure.code in NOT_NOW or (failure.code == "NOSCRIPT" and request.script is not None)


def _leaving(verb: bytes) -> bytes:
    return b"SUNSUBSCRIBE" if verb == b"SSUBSCRIBE" else b"UNSUBSCRIBE"
