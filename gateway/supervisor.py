"""`gateway serve --workers N`: N processes for sockets on one port, and one for HTTP beside them.

The supervisor binds all listeners and hands them down. Each worker has a socket of its own on the same port,
and the kernel spreads new connections over them. Because the supervisor keeps every socket open, a worker
that crashed refuses nobody: connections wait until its successor takes them.

SIGTERM: the workers drain, then the HTTP process; a second one ends them at once. SIGHUP: the configuration
is read again, and a good one is passed on. A child whose supervisor has died sees its standard input end, and
leaves. SIGTERM to one child restarts that one: it drains, and its successor takes over its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from gateway.brokers.redis import RedisBroker
from gateway.config import ConfigError, Settings
from gateway.config.units import parse_address
from gateway.errors import GatewayError
from gateway.protocol import ClientInfo, Publication
from gateway.sockets import bind, port_of

BACKOFF: Final = 0.5
"""Seconds before a crashed child is started again; doubled with each crash in a row."""
BACKOFF_MAX: Final = 30.0
STABLE_AFTER: Final = 30.0
"""Seconds after which a child's earlier crashes are forgotten."""
HELD_SIGNALS: Final = frozenset({signal.SIGHUP, signal.SIGTERM})
KILL_AFTER: Final = 5.0
"""Seconds past `shutdown.timeout` after which a child is killed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a child process is to run; travels as JSON on its command line."""

    name: str
    sockets: dict[str, int]
    config: str = ""
    handlers: str = ""
    http: str = ""
    """Where the HTTP process listens; its port may have been chosen by the kernel."""

    def to_json(self) -> str:
        return json.dumps(
            {
                "name": self.name,
                "sockets": self.sockets,
                "config": self.config,
                "handlers": self.handlers,
                "http": self.http,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        return cls(**json.loads(text))


@dataclass(slots=True)
class Child:
    """One process of the team, through all its lives."""

    assignment: Assignment
    process: Process | None = None
    crashes: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Starts the children, starts them again, and ends them in order.

    Arguments:
        config: the file that the children read, too.
        reload: reads the configuration again; raises ConfigError.
    """

    def __init__(
        self,
        settings: Settings,
        workers: int,
        *,
        config: Path | None,
        handlers: str,
        reload: Callable[[], Settings],
    ) -> None:
        if workers > 1 and not settings.redis.url:
            raise GatewayError(
                f"--workers {workers} needs redis.url: without Redis each process would be a world of its own"
            )
        self._settings = settings
        self._reload = reload
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self.ports: dict[str, list[int]] = {}
        self._children = self._assign(workers, str(config.resolve()) if config else "", handlers)

    # ------------------------------------------------------------------ sockets
    def _assign(self, workers: int, config: str, handlers: str) -> list[Child]:
        """Workers first, the HTTP process last: the order in which they leave."""
        listen = self._settings.listen
        http = self._bind("http", listen.http)
        http_address = _with_port(listen.http, port_of(http))
        internal = self._bind("internal", listen.internal)
        websocket_address = listen.websocket
        children: list[Child] = []
        for index in range(workers):
            websocket = self._bind("websocket", websocket_address, shared=True)
            websocket_address = _with_port(websocket_address, port_of(websocket))
            # Each worker has its own metrics, on the ports after the HTTP process's.
            own = self._bind("internal", _with_port(listen.internal, self._own_port(internal, index)))
            sockets = {"websocket": websocket.fileno(), "internal": own.fileno()}
            children.append(Child(Assignment(f"worker {index + 1}", sockets, config, handlers, http_address)))
        sockets = {"http": http.fileno(), "internal": internal.fileno()}
        children.append(Child(Assignment("http", sockets, config, handlers, http_address)))
        return children

    def _bind(self, name: str, address: str, *, shared: bool = False) -> socket.socket:
        sock = bind(address, self._settings.listen.backlog, f"listen.{name}", shared=shared)
        self._sockets.append(sock)
        self.ports.setdefault(name, []).append(port_of(sock))
        return sock

    def _own_port(self, internal: socket.socket, index: int) -> int:
        """Where the first was the kernel's choice, the others are, too."""
        chosen = parse_address(self._settings.listen.internal)[1] == 0
        return 0 if chosen else port_of(internal) + 1 + index

    # ------------------------------------------------------------------ life
    async def run(self, started: Callable[[Supervisor], None]) -> int:
        """Run until a signal; the exit code: 0 if every child left in good order.

        Raises:
            UpstreamError: Redis cannot be used; said once, here, and not by every child again and again.
        """
        if self._settings.redis.url:
            await _try_redis(self._settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        for child in self._children:
            child.task = asyncio.create_task(self._keep(child))
        started(self)
        await self._stopping.wait()
        codes = await self._stop()
        for sock in self._sockets:
            sock.close()
        return 0 if not any(codes) else 1

    def _on_signal(self) -> None:
        (self._forced if self._stopping.is_set() else self._stopping).set()

    def _on_hangup(self) -> None:
        try:
            self._settings = self._reload()
        except ConfigError as error:
            log.error("the new configuration is wrong and was not taken", problem=str(error))
            return
        for child in self._children:
            _signal(child, signal.SIGHUP)

    async def _keep(self, child: Child) -> None:
        """Start a child, and again after each crash, until we stop."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            child.process = await self._start(child.assignment)
            if self._stopping.is_set():  # meanwhile; whoever ends the children has not seen this one
                await self._end(child)
                return
            code = await child.process.wait()
            if self._stopping.is_set():
                return
            name = child.assignment.name
            if not code and loop.time() - began > BACKOFF:
                # It was told to leave, and did; connections wait in its socket for the successor.
                log.info("a process left and is started again", process=name)
                continue
            child.crashes = 0 if loop.time() - began > STABLE_AFTER else child.crashes + 1
            pause = min(BACKOFF_MAX, BACKOFF * 2 ** max(0, child.crashes - 1))
            pause *= random.uniform(0.75, 1.25)  # noqa: S311
            log.error("a process ended", process=name, exit_code=code, again_in=round(pause, 1))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _start(self, assignment: Assignment) -> Process:
        # A child inherits the mask: until it has its handlers, signals wait instead of ending it.
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "worker", assignment.to_json()),
                stdin=PIPE,
                pass_fds=tuple(assignment.sockets.values()),
                # Ctrl-C reaches the whole foreground group: the children are told by us, and in order.
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)

    async def _stop(self) -> list[int]:
        """The workers together, then the HTTP process, so that files on their way can finish."""
        force = asyncio.create_task(self._force())
        *workers, http = self._children
        codes = await asyncio.gather(*map(self._end, workers))
        codes.append(await self._end(http))
        force.cancel()
        await asyncio.gather(*(child.task for child in self._children if child.task), return_exceptions=True)
        return codes

    async def _end(self, child: Child) -> int:
        process = child.process
        if process is None:
            return 0
        _signal(child, signal.SIGTERM)
        try:
            return await asyncio.wait_for(process.wait(), self._settings.shutdown.timeout + KILL_AFTER)
        except TimeoutError:
            log.error("a process did not leave and is killed", process=child.assignment.name)
            process.kill()
            return await process.wait()

    async def _force(self) -> None:
        await self._forced.wait()
        for child in self._children:
            _signal(child, signal.SIGTERM)
            await asyncio.sleep(0)
            _signal(child, signal.SIGTERM)


def watch_supervisor(on_death: Callable[[], None]) -> None:
    """In a child that can be signalled now: call `on_death` when the supervisor has died."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            on_death()

    loop.add_reader(0, readable)


class _Nobody:
    """Hears a broker and does nothing. See `BrokerEvents`."""

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None: ...

    def on_join(self, channel: str, info: ClientInfo) -> None: ...

    def on_leave(self, channel: str, info: ClientInfo) -> None: ...

    def on_control(self, message: bytes) -> None: ...

    def on_gap(self, channel: str | None) -> None: ...


async def _try_redis(settings: Settings) -> None:
    """Start and close a broker. Raises UpstreamError with one line."""
    redis = settings.redis
    broker = RedisBroker([redis.url, *redis.shards], redis.prefix)
    await broker.start(_Nobody())
    await broker.close()


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.returncode is None:
        child.process.send_signal(number)


def _with_port(address: str, port: int) -> str:
    host, _ = parse_address(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
