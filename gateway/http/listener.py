"""An HTTP listener inside the running loop: uvicorn's protocol, with our start, our stop and our limits.

`uvicorn.Server.serve` wants the process for itself: it installs signal handlers, wakes ten times a second,
exits the process where it cannot bind, and has no limit on the head of a request. So only its parts are used
here: the configuration, the shared state and the httptools protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import GatewayError

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of request line and headers after which a request is refused: the parser alone has no limit."""

HEAD_TIMEOUT: Final = 15.0
"""Seconds that a client has for the head of a request, however slowly it writes."""

BODY_TIMEOUT: Final = 30.0
"""Seconds that a client may pause within a body."""

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection is kept: longer than nginx keeps its own end (60 s), so that nginx never
writes a request into a connection that is being closed here."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits on size and time of a request's head, and on pauses in its body."""

    _head_size = 0
    _in_head = True
    _in_body = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self._refuse, b"408 Request Timeout")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_goes_on(len(data))
        elif self._in_body:
            self._body_goes_on()
        elif self._timer is not None:
            self._stop_timer()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        self._head_size = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _head_goes_on(self, size: int) -> None:
        # The time runs from the first byte on: who writes a byte a second gets no more of it.
        self._head_size += size
        if self._head_size > HEAD_LIMIT:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_TIMEOUT, self._refuse, b"408 Request Timeout")

    def _body_goes_on(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(BODY_TIMEOUT, self._body_paused)

    def _body_paused(self) -> None:
        if self.flow.read_paused:
            # It is the app that takes its time.
            self._body_goes_on()
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        # An answer to the request before may be half written: then only the close is safe.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()


class HTTPListener:
    """One listener for one ASGI app.

    Args:
        app: the ASGI app; its lifespan is not run.
        host: interface to bind; "" with `sock`.
        port: 0 takes a free one.
        backlog: connections that may wait for `accept`.
        setting: the configuration key that the address comes from, for the error text.
        sock: bound already (a worker gets it from its parent); `host` and `port` are ignored then.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        backlog: int = 4096,
        *,
        setting: str = "listen.http",
        sock: socket.socket | None = None,
    ) -> None:
        self._address = (host, port)
        self._backlog = backlog
        self._setting = setting
        self._socket = sock
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        config.load()
        self._config = config
        self._uvicorn = uvicorn.Server(config)
        self._server: asyncio.Server | None = None
        self._clock: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> int:
        """Listen; the bound port.

        Raises:
            GatewayError: with one line that names the setting, where the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        state = self._uvicorn.server_state

        def protocol() -> BoundedProtocol:
            return BoundedProtocol(config=self._config, server_state=state, app_state={}, _loop=loop)

        # The Date header of the first answers; afterwards the task below keeps it.
        await self._uvicorn.on_tick(0)
        sock = self._socket or await _bind(*self._address, self._setting)
        self.port = sock.getsockname()[1]
        try:
            self._server = await loop.create_server(protocol, sock=sock, backlog=self._backlog)
        except OSError as error:
            sock.close()
            raise _cannot_listen(*self._address, self._setting, error) from error
        self._clock = loop.create_task(self._keep_date())
        return self.port

    async def stop(self, grace: float) -> None:
        """Accept no more, let requests in flight finish within `grace` seconds, cut the rest. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        state = self._uvicorn.server_state
        for connection in list(state.connections):
            # Idle connections close now, busy ones after their answer.
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._quiet()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        if self._clock is not None:
            self._clock.cancel()
            tasks.append(self._clock)
        await asyncio.gather(*tasks, return_exceptions=True)
        # Closed transports report to their protocols in the next turn.
        await asyncio.sleep(0)

    async def _quiet(self) -> None:
        """Until no request runs and each answer has left its buffer."""
        state = self._uvicorn.server_state
        while state.tasks:
            await asyncio.wait(list(state.tasks))
        while state.connections:  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)

    async def _keep_date(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self._uvicorn.on_tick(0)


async def _bind(host: str, port: int, setting: str) -> socket.socket:
    """A bound, non-blocking socket for the first address of `host`."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _cannot_listen(host, port, setting, error) from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _cannot_listen(host, port, setting, error) from error
    return sock


def _cannot_listen(host: str, port: int, setting: str, error: OSError) -> GatewayError:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    reason = error.strerror or str(error)
    return GatewayError(
        f'{setting} = "{shown}": cannot listen there ({reason}); stop what uses it or set another address'
    )
