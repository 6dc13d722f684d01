"""One process of the gateway: it listens, it serves, and it leaves without losing anything.

Leaving: no new clients and `/readyz` says so; every client is told to go, spread over the drain window; what
is under way finishes; the broker is left. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable
from typing import Final

import structlog

from gateway.assembly import Parts, build
from gateway.backend.base import Backend
from gateway.config import Settings
from gateway.errors import DISCONNECT_SHUTDOWN, GatewayError
from gateway.http.app import build_public_app
from gateway.http.internal import InternalApp
from gateway.http.listener import HTTPListener
from gateway.http.ops import OpsApp
from gateway.http.server_api import ServerAPI
from gateway.sweeper import sweep_forever
from gateway.units import parse_address
from gateway.websocket import CLOSE_TIMEOUT, Connection

DRAIN_STEP: Final = 0.05
"""Seconds between two portions of clients that are told to go."""

log = structlog.get_logger()


class Server:
    """The listeners and everything behind them.

    Arguments:
        backend: the team's own code.
        dev: with the page at `/` of the http listener.
    """

    def __init__(self, settings: Settings, backend: Backend, *, dev: bool = False) -> None:
        self._settings = settings
        self._backend = backend
        self._dev = dev
        self._parts: Parts | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._http: list[HTTPListener] = []
        self.ports: dict[str, int] = {}

    # ------------------------------------------------------------------ up
    async def start(self) -> None:
        """Listen and serve. Raises GatewayError or UpstreamError with one line that says what to mend."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        host, port = parse_address(settings.listen.http)
        public_socket = _bind(host, port, settings.listen.backlog, "listen.http")
        self.ports["http"] = public_socket.getsockname()[1]
        parts = self._parts = build(
            settings, self._backend, loop.call_soon, f"http://{_literal(host)}:{self.ports['http']}/sandbox"
        )
        await parts.node.start()
        await self._listen_http(parts, public_socket)
        host, port = parse_address(settings.listen.websocket)
        sock = _bind(host, port, settings.listen.backlog, "listen.websocket")
        self.ports["websocket"] = sock.getsockname()[1]
        shared = parts.shared
        self._listener = await loop.create_server(
            lambda: Connection(shared), sock=sock, backlog=settings.listen.backlog
        )
        self._sweeper = asyncio.create_task(
            sweep_forever(shared.deadlines, parts.sweep_interval, shared.clock, parts.metrics)
        )
        log.info("the gateway serves", node=parts.node.id, **self.ports)

    async def _listen_http(self, parts: Parts, public_socket: socket.socket) -> None:
        settings, node = self._settings, parts.node
        internal_host, internal_port = parse_address(settings.listen.internal)
        public = build_public_app(
            settings,
            node,
            parts.sign_in,
            parts.sandbox,
            self._dev,
            ports=lambda: (self.ports["websocket"], self.ports["internal"]),
        )
        internal = InternalApp(ServerAPI(node, settings, parts.metrics), OpsApp(node, parts.metrics))
        backlog = settings.listen.backlog
        self._http = [
            HTTPListener(public, "", 0, backlog, sock=public_socket),
            HTTPListener(internal, internal_host, internal_port, backlog, setting="listen.internal"),
        ]
        await self._http[0].start()
        self.ports["internal"] = await self._http[1].start()

    # ------------------------------------------------------------------ down
    async def stop(self) -> None:
        """Leave; see the module. Idempotent."""
        parts, self._parts = self._parts, None
        if parts is None:
            return
        shutdown = self._settings.shutdown
        deadline = asyncio.get_running_loop().time() + shutdown.timeout
        parts.node.draining = True
        parts.metrics.draining = True
        if self._listener is not None:
            self._listener.close()
        await self._drain_clients(parts, shutdown.drain)
        remaining = max(0.5, deadline - asyncio.get_running_loop().time())
        await parts.shared.dispatcher.drain(remaining / 2)
        await asyncio.gather(*(listener.stop(remaining / 2) for listener in self._http))
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await parts.sign_in.close()
        if parts.jwks is not None:
            await parts.jwks.close()
        await parts.upstream.aclose()
        await parts.node.close()
        log.info("the gateway has left", node=parts.node.id)

    async def _drain_clients(self, parts: Parts, window: float) -> None:
        """Tell every client to go, spread over `window` seconds so that they do not come back at once."""
        connections = list(parts.shared.connections)
        steps = max(1, min(len(connections), int(window / DRAIN_STEP)))
        for step in range(steps):
            for connection in connections[step::steps]:
                connection.disconnect(DISCONNECT_SHUTDOWN)
            if step + 1 < steps:
                await asyncio.sleep(window / steps)
        loop = asyncio.get_running_loop()
        patience = loop.time() + CLOSE_TIMEOUT
        while parts.shared.connections and loop.time() < patience:  # noqa: ASYNC110 (no event per connection)
            await asyncio.sleep(DRAIN_STEP)
        for connection in list(parts.shared.connections):
            connection.abort()


def tune_garbage_collection() -> None:
    """Fewer and cheaper collections: hundreds of thousands of live objects are no garbage.

    What was built at start is left out of all of them. Connections leave no cycles behind, so the oldest
    generation, whose collection would hold the loop for as long as there are many clients, comes rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)


async def run(server: Server, started: Callable[[Server], None] = lambda server: None) -> int:
    """Serve until a signal; the exit code. A second signal leaves at once, with 1."""
    loop = asyncio.get_running_loop()
    stopping, forced = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (forced if stopping.is_set() else stopping).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await server.start()
    tune_garbage_collection()
    started(server)
    await stopping.wait()
    log.info("leaving; another signal ends it at once")
    leaving = asyncio.create_task(server.stop())
    force = asyncio.create_task(forced.wait())
    await asyncio.wait({leaving, force}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        log.warning("forced to leave")
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        return 1
    force.cancel()
    leaving.result()
    return 0


def _bind(host: str, port: int, backlog: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise GatewayError(
            f"{setting} = {_literal(host)}:{port}: {error.strerror}; choose another address, or end the "
            "program that has it"
        ) from None
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host
