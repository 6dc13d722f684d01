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

from gateway.backend.base import UploadedFile, UserEvent, UserEventKind
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
from gateway.wechat.callback import WeChatEvent

Handler = Callable[[Caller, Any], Any]
"""Takes the caller and the decoded data; answers with anything that has a JSON form. Sync or async."""

AsyncHandler = Callable[[Caller, Any], Coroutine[Any, Any, Any]]

EventHandler = Callable[[WeChatEvent], Any]
"""Takes a message of WeChat's servers; what it returns is ignored. Sync or async."""

UserHandler = Callable[[UserEvent], Any]
"""Takes a user's coming or going; what it returns is ignored. Sync or async."""

H = TypeVar("H", bound=Handler)
U = TypeVar("U", bound=UserHandler)
T = TypeVar("T")
E = TypeVar("E", bound=EventHandler)

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
        self._upload: AsyncHandler | None = None
        self._wechat_event: Callable[[WeChatEvent], Coroutine[Any, Any, Any]] | None = None
        self._user_events: dict[UserEventKind, Callable[[UserEvent], Coroutine[Any, Any, Any]]] = {}

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

    def on_wechat_event(self, handler: E) -> E:
        """Register the handler of what WeChat's servers push to `/wx/callback`.

            @gateway.on_wechat_event
            async def pushed(event):
                if event.event == "wxa_media_check":
                    ...

        WeChat does not wait for it, and pushes nothing twice because it failed.
        """
        self._wechat_event = _awaitable(handler)
        return handler

    def on_upload(self, handler: H) -> H:
        """Register the handler that sees each file before anybody else does: `handler(caller, file)`.

        It refuses by `raise ClientError(ERROR_FILE_REFUSED, "…")`; an error in it refuses too.
        """
        self._upload = _awaitable(handler)
        return handler

    def on_online(self, handler: U) -> U:
        """Register the handler of users who come; with `on_background`, also of those who come back from it.

            @gateway.on_online
            async def came(event):
                print(event.user, event.generation)

        An event whose handler raises comes again, and a handler may see one twice: compare `event.id` with
        that of the user's last event.
        """
        return self._on_user_event("online", handler)

    def on_background(self, handler: U) -> U:
        """Register the handler of users who may be back in a moment: hidden, or their socket was lost."""
        return self._on_user_event("background", handler)

    def on_disconnect(self, handler: U) -> U:
        """Register the handler of users who are gone: they did not return within the grace."""
        return self._on_user_event("disconnect", handler)

    def on_unsubscribe(self, handler: U) -> U:
        """Register the handler of users who left a channel; its namespace needs `unsubscribe_events`."""
        return self._on_user_event("unsubscribe", handler)

    def _on_user_event(self, kind: UserEventKind, handler: U) -> U:
        self._user_events[kind] = _awaitable(handler)
        return handler

    # ------------------------------------------------------------------ for the gateway
    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        return self._answer(caller, method, data) if self._rpc else None

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._receive(self._send, caller, data) if self._send else None

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._tell(self._wechat_event, event) if self._wechat_event else None

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """See `Backend`."""
        return frozenset(self._user_events)

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        handler = self._user_events.get(event.event)
        return self._tell(handler, event) if handler else None

    async def _tell(self, handler: Callable[[T], Coroutine[Any, Any, Any]], event: T) -> None:
        name = handler.__qualname__
        try:
            async with asyncio.timeout(self._timeout):
                await handler(event)
        except (ClientError, UpstreamError):
            raise
        except TimeoutError:
            raise UpstreamError(ERROR_INTERNAL, f"{name} took more than {self._timeout:g} s") from None
        except Exception as error:
            log.exception("a handler failed", handler=name)
            raise UpstreamError(ERROR_INTERNAL, f"{name} failed: {type(error).__name__}") from error

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._judge(self._upload, caller, file) if self._upload else None

    async def _answer(self, caller: Caller, method: str, data: Raw) -> Raw:
        handler = self._rpc.get(method)
        if handler is None:
            raise ClientError(ERROR_METHOD_NOT_FOUND, "no handler is registered for this method")
        return await self._call(handler, caller, data)

    async def _receive(self, handler: AsyncHandler, caller: Caller, data: Raw) -> None:
        await self._call(handler, caller, data)

    async def _judge(self, handler: AsyncHandler, caller: Caller, file: UploadedFile) -> None:
        await self._call(handler, caller, file)

    async def _call(self, handler: AsyncHandler, caller: Caller, data: Raw | UploadedFile) -> Raw:
        watchdog = self._watchdog
        task = watchdog.enter()
        try:
            argument = data if isinstance(data, UploadedFile) else parse_raw(data)
            return raw(await handler(caller, argument))
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


def _awaitable(handler: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Functions that block run in a thread, so that they stop nobody else."""
    if inspect.iscoroutinefunction(handler):
        return handler

    @functools.wraps(handler)
    async def in_thread(*arguments: Any) -> Any:
        return await asyncio.to_thread(handler, *arguments)

    return in_thread
