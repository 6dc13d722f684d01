"""Commands of one client, strictly one after the other; each has its reply before the next one starts.

A command that can be answered at once is. One that has to wait - for WeChat, for Redis, for the team's code -
goes on in a task, and what the client sends meanwhile stands in its backlog. So a connection that waits for
nothing has no task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, cast

import structlog

from gateway.client import Client, State
from gateway.errors import (
    DISCONNECT_INTERNAL,
    ERROR_INTERNAL,
    ClientError,
    Disconnect,
    Error,
    HandlerError,
    UpstreamError,
)
from gateway.metrics import Metrics
from gateway.protocol import Command, encode_error

AT_A_TIME: Final = 64
"""Commands of one client that run in one turn of the loop, so that a full frame of them holds nobody up."""
TURN: Final = 0.001
"""Seconds after which those that stood in line give way before that: some are 64 KB of JSON to look into."""
ROOM_INTERVAL: Final = 0.02
"""Seconds between two looks whether a client that reads slowly has taken what it was answered."""
BACKLOG_HIGH: Final = 256
"""Commands that may wait before the client's socket is read no further."""

log = structlog.get_logger()


class Handlers(Protocol):
    """What each command does."""

    def handle(self, client: Client, command: Command) -> Coroutine[Any, Any, None] | None:
        """Carry out and reply; or return what has to be awaited for that."""


class Dispatcher:
    """Runs the commands of all clients of a process."""

    def __init__(self, handlers: Handlers, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._handlers = handlers
        self._metrics = metrics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def receive(self, client: Client, commands: list[Command]) -> None:
        """The commands of one frame."""
        if client.backlog is not None:
            if len(commands) == 1 and commands[0].method == "pong" and client.state is State.CONNECTED:
                # A sign of life waits behind nothing: else a slow answer of ours looks like a dead client.
                self._begin(client, commands[0])
                return
            client.backlog.extend(commands)
            if len(client.backlog) > BACKLOG_HIGH:
                client.sink.pause_reading()
        elif len(commands) == 1:
            pending = self._begin(client, commands[0])
            if pending is not None:
                client.backlog = deque()
                self._continue(client, commands[0], pending)
        else:
            self._receive_many(client, commands)

    def _receive_many(self, client: Client, commands: list[Command]) -> None:
        for index, command in enumerate(commands):
            if not client.is_open:
                return
            pending = self._begin(client, command)
            if pending is not None or index == AT_A_TIME:
                client.backlog = deque(commands[index + 1 :])
                self._continue(client, command, pending)
                return

    async def drain(self, seconds: float) -> None:
        """Wait for the commands under way, then cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, client: Client, command: Command) -> Coroutine[Any, Any, None] | None:
        """Run a command, or start it; its errors are answered here."""
        self._metrics.command(command.method)
        try:
            client.admit(command.method, self._clock())
            return self._handlers.handle(client, command)
        except Exception as error:
            self._fail(client, command, error)
            return None

    def _continue(self, client: Client, command: Command, pending: Coroutine[Any, Any, None] | None) -> None:
        # The set keeps the task alive; it takes itself out, which is cheaper than a callback.
        loop = self._loop
        if loop is None:
            # Kept, because asking for it costs a system call each time (a look at the process id).
            loop = self._loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._run(client, command, pending)))

    async def _run(self, client: Client, command: Command, pending: Coroutine[Any, Any, None] | None) -> None:
        """Finish a command, and then all that came meanwhile."""
        done, began = 0, self._clock()
        try:
            while True:
                if pending is not None:
                    try:
                        await pending
                    except Exception as error:
                        self._fail(client, command, error)
                done += 1
                if client.backlog and (
                    done % AT_A_TIME == 0 or client.sink.is_full or self._clock() - began > TURN
                ):
                    await self._give_way(client)
                    began = self._clock()
                if not client.backlog:
                    break
                command = client.backlog.popleft()
                pending = self._begin(client, command)
        finally:
            client.backlog = None
            if done > 1:
                client.sink.resume_reading()
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task(self._loop)))

    async def _give_way(self, client: Client) -> None:
        """Let others have their turn, and a client that reads slowly take what it was answered."""
        await asyncio.sleep(0)
        while client.is_open and client.sink.is_full:  # noqa: ASYNC110 (rare; an event per client is not)
            await asyncio.sleep(ROOM_INTERVAL)
        if len(client.backlog or ()) <= BACKLOG_HIGH:
            client.sink.resume_reading()

    def _fail(self, client: Client, command: Command, error: Exception) -> None:
        """Tell the client what its command came to."""
        match error:
            case ClientError(outcome=Disconnect() as disconnect):
                log.info(
                    "client is disconnected",
                    client=client.id,
                    ip=client.ip,
                    code=disconnect.code,
                    method=command.method,
                    why=error.detail,
                )
                client.sink.disconnect(disconnect)
            case ClientError(outcome=Error() as outcome):
                self._answer(client, command, outcome, error.detail)
            case HandlerError():
                # A message without an answer is dropped: to close the connection would have the phone come
                # back and send it again, for as long as the backend is down.
                if command.id:
                    self._answer(client, command, error.error)
            case UpstreamError():
                log.warning("upstream failed", client=client.id, method=command.method, why=error.detail)
                self._answer(client, command, error.error)
            case _:
                log.error("a command failed", client=client.id, method=command.method, exc_info=error)
                self._answer(client, command, ERROR_INTERNAL)

    def _answer(self, client: Client, command: Command, error: Error, detail: str = "") -> None:
        self._metrics.error(error.code)
        if client.state is State.CONNECTING:
            client.refused()
            if client.backlog:  # sent in good faith before the answer: the refusal answers them, too
                client.backlog.clear()
        if command.id:
            message = f"{error.message}: {detail}" if detail else ""
            client.sink.send(encode_error(command.id, error, message))
        elif error is ERROR_INTERNAL:  # a `send` has no reply to carry the error
            client.sink.disconnect(DISCONNECT_INTERNAL)
