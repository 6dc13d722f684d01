"""Handlers in Python, beside the gateway.

    from gateway import Gateway

    gateway = Gateway()

    @gateway.rpc("order.pay")
    async def pay(caller, data):
        return {"paid": data["order"]}

Run it with `gateway serve shop:gateway` or `gateway dev shop:gateway`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from msgspec import Raw

from gateway.backend.watchdog import Watchdog
from gateway.client import Caller
from gateway.errors import (
    ERROR_INTERNAL,
    ERROR_METHOD_NOT_FOUND,
    ClientError,
    GatewayError,
    UpstreamError,
)
from gateway.protocol import parse_raw, raw

Handler = Callable[[Caller, Any], Any]
"""Takes the caller and the decoded data; answers with anything that has a JSON form. Sync or async."""

AsyncHandler = Callable[[Caller, Any], Coroutine[Any, Any, Any]]

H = TypeVar("H", bound=Handler)

METHOD_LIMIT = 128
"""Characters of an rpc method's name."""

log = structlog.get_logger()


class Gateway:
    """The team's handlers; an implementation of `gateway.backend.base.Backend`.

    Arguments:
        timeout: seconds that a handler may take before its caller gets error 100.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._watchdog = Watchdog(timeout)
        self._rpc: dict[str, AsyncHandler] = {}
        self._send: AsyncHandler | None = None

    # ------------------------------------------------------------------ for the team
    def rpc(self, method: str) -> Callable[[H], H]:
        """Register the handler of `method`. It refuses by `raise ClientError(Error(1000, "sold out"))`."""
        if not method or len(method) > METHOD_LIMIT:
            raise GatewayError(f"an rpc method has 1 to {METHOD_LIMIT} characters: {method!r}")
        if method in self._rpc:
            raise GatewayError(f"rpc method {method!r} is registered twice")

        def register(handler: H) -> H:
            self._rpc[method] = _awaitable(handler)
            return handler

        return register

    def on_send(self, handler: H) -> H:
        """Register the handler of messages that want no answer."""
        self._send = _awaitable(handler)
        return handler

    # ------------------------------------------------------------------ for the gateway
    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        return self._answer(caller, method, data) if self._rpc else None

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._receive(self._send, caller, data) if self._send else None

    async def _answer(self, caller: Caller, method: str, data: Raw) -> Raw:
        handler = self._rpc.get(method)
        if handler is None:
            raise ClientError(ERROR_METHOD_NOT_FOUND, "no handler is registered for this method")
        return await self._call(handler, caller, data)

    async def _receive(self, handler: AsyncHandler, caller: Caller, data: Raw) -> None:
        await self._call(handler, caller, data)

    async def _call(self, handler: AsyncHandler, caller: Caller, data: Raw) -> Raw:
        watchdog = self._watchdog
        task = watchdog.enter()
        try:
            return raw(await handler(caller, parse_raw(data)))
        except (ClientError, UpstreamError):
            raise
        except asyncio.CancelledError:
            if watchdog.expired(task):
                detail = f"{handler.__qualname__} took more than {self._timeout:g} s"
                raise UpstreamError(ERROR_INTERNAL, detail) from None
            raise
        except Exception as error:
            log.exception("a handler failed", handler=handler.__qualname__, client=caller.client)
            detail = f"{handler.__qualname__} failed: {type(error).__name__}"
            raise UpstreamError(ERROR_INTERNAL, detail) from error
        finally:
            watchdog.leave(task)


def _awaitable(handler: Handler) -> AsyncHandler:
    """Functions that block run in a thread, so that they stop nobody else."""
    if inspect.iscoroutinefunction(handler):
        return handler

    @functools.wraps(handler)
    async def in_thread(caller: Caller, data: Any) -> Any:
        return await asyncio.to_thread(handler, caller, data)

    return in_thread
