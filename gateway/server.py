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
from typing import Any, Final

import structlog

from gateway.assembly.parts import Parts, build
from gateway.backend.base import Backend
from gateway.config import ChannelOptions, ConfigError, Settings
from gateway.errors import DISCONNECT_SHUTDOWN
from gateway.http.api_online import OnlineMethods
from gateway.http.app import build_public_app
from gateway.http.dashboard import Dashboard
from gateway.http.dev import DevPage
from gateway.http.internal import InternalApp
from gateway.http.listener import HTTPListener
from gateway.http.local import LocalHosts
from gateway.http.ops import OpsApp
from gateway.http.server_api import ServerAPI
from gateway.http.trace import TraceApp
from gateway.sockets import bind_all, port_of, url_of
from gateway.systemd import notify
from gateway.websocket.connection import CLOSE_TIMEOUT, Connection
from gateway.websocket.sweeper import sweep_forever

DRAIN_STEP: Final = 0.05
"""Seconds between two portions of clients that are told to go."""

log = structlog.get_logger()


class Server:
    """The listeners and everything behind them.

    Arguments:
        backend: the team's own code.
        sockets: the listeners to run, by name, bound already; None binds all three.
        dev: with the page at `/` of the http listener.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        sockets: dict[str, socket.socket] | None = None,
        dev: bool = False,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._sockets = sockets
        self._dev = dev
        self._parts: Parts | None = None
        self._api: ServerAPI | None = None
        self._dashboard: Dashboard | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._http: list[HTTPListener] = []
        self.ports: dict[str, int] = {}

    # ------------------------------------------------------------------ up
    async def start(self) -> None:
        """Listen and serve. Raises GatewayError or UpstreamError with one line that says what to mend."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        sockets = self._sockets if self._sockets is not None else bind_all(settings)
        self.ports = {name: port_of(sock) for name, sock in sockets.items()}
        http = url_of(sockets["http"]) if "http" in sockets else f"http://{settings.listen.http}"
        parts = self._parts = build(settings, self._backend, loop.call_soon, f"{http}/sandbox")
        await parts.node.start()
        await parts.check()
        await parts.online.start()
        await parts.protection.start(settings)
        parts.inbox.start()
        await self._listen_http(parts, sockets)
        shared = parts.shared
        if "websocket" in sockets:
            self._listener = await loop.create_server(
                lambda: Connection(shared), sock=sockets["websocket"], backlog=settings.listen.backlog
            )
        self._sweeper = asyncio.create_task(
            sweep_forever(shared.deadlines, parts.sweep_interval, shared.clock, parts.metrics)
        )
        log.info("the gateway serves", node=parts.node.id, **self.ports)

    async def _listen_http(self, parts: Parts, sockets: dict[str, socket.socket]) -> None:
        settings, node = self._settings, parts.node
        backlog = settings.listen.backlog
        protection = parts.protection
        methods = protection.methods(parts.sessions, lambda: tuple(parts.wx.services.open_data.apis))
        api = self._api = ServerAPI(
            node,
            settings,
            parts.metrics,
            more=[methods.table, parts.inbox.methods, OnlineMethods(parts.online).table],
            audit=protection.audit,
            inbox=parts.inbox.inbox,
        )
        trace = TraceApp(protection.tracer, api, protection.audit)
        self._dashboard = Dashboard(settings, api, trace)
        internal = InternalApp(api, OpsApp(node, parts.metrics), trace, self._dashboard)
        apps: dict[str, Any] = {"internal": LocalHosts(internal) if self._dev else internal}
        if "http" in sockets:
            apps["http"] = build_public_app(
                settings,
                parts.who.sign_in,
                parts.sandbox,
                dev=DevPage(settings, api, trace, self._page_ports) if self._dev else None,
                wx=parts.wx.services,
                files=parts.files,
            )
            parts.files.start()
        for name, app in apps.items():
            listener = HTTPListener(app, "", 0, backlog, setting=f"listen.{name}", sock=sockets[name])
            self._http.append(listener)
            await listener.start()

    def _page_ports(self) -> tuple[int, int]:
        """Of the websocket and of the internal listener, for the page of `gateway dev`."""
        return self.ports.get("websocket", 0), self.ports["internal"]

    def reload(self, settings: Settings) -> None:
        """Take over what can change while clients are connected: namespaces, keys, secrets, mini-programs."""
        parts, api, dashboard = self._parts, self._api, self._dashboard
        if parts is None or api is None or dashboard is None:
            return
        parts.node.rules.load(settings)
        api.load_keys(settings)
        dashboard.load(settings)
        parts.reload(settings)
        log.info("the configuration was read again", needs_restart=restart_needed(self._settings, settings))

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
        await parts.close()
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


async def run(
    server: Server,
    started: Callable[[Server], None] = lambda server: None,
    *,
    reload: Callable[[], Settings] | None = None,
    watch: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Serve until a signal; the exit code. A second signal leaves at once, with 1.

    Arguments:
        reload: reads the configuration again, on SIGHUP.
        watch: is given what to call when there is another reason to leave.
    """
    loop = asyncio.get_running_loop()
    stopping, forced = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (forced if stopping.is_set() else stopping).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, _reload, server, reload)
    await server.start()
    if watch is not None:
        watch(stopping.set)
    tune_garbage_collection()
    started(server)
    notify("READY=1")
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


def _reload(server: Server, reload: Callable[[], Settings]) -> None:
    try:
        server.reload(reload())
    except ConfigError as error:
        log.error("the new configuration is wrong and was not taken", problem=str(error))


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """The keys that have changed and that a reload does not take over."""
    taken = {
        "channels": {*ChannelOptions.model_fields, "namespaces", "max_name_length"},
        "api": {"keys"},
        "admin": {"password", "hosts", "session_ttl"},
        "wechat": {"apps"},
        "client": {"token_hmac_secret", "token_hmac_previous_secret", "token_public_key"},
    }
    before, after = old.model_dump(), new.model_dump()
    return [
        f"{section}.{key}"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key] and key not in taken.get(section, ())
    ]
