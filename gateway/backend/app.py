"""Handlers in Python, beside the gateway.

    from gateway import Gateway

    gw = Gateway()

    @gw.rpc("order.pay")
    async def pay(ctx, order: Order):
        return {"paid": order.number}

Run it with `gateway serve shop:gw` or `gateway dev shop:gw`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from msgspec import Raw

from gateway.backend.answers import (
    Reader,
    read_connect,
    read_publish,
    read_refresh,
    read_subscribe,
)
from gateway.backend.base import (
    Backend,
    Connected,
    ConnectEvent,
    Operations,
    Published,
    Refreshed,
    Subscribed,
    UploadedFile,
    UserEvent,
    UserEventKind,
)
from gateway.backend.calls import Calls, Handler
from gateway.backend.context import encode_json
from gateway.backend.signatures import Shape
from gateway.backend.testing import TestClient
from gateway.client import Caller
from gateway.config import ChannelOptions
from gateway.errors import (
    ERROR_METHOD_NOT_FOUND,
    ERROR_PERMISSION_DENIED,
    ClientError,
    GatewayError,
)
from gateway.protocol import EMPTY_RAW
from gateway.wechat.callback import WeChatEvent

H = TypeVar("H", bound=Callable[..., Any])
Answer = TypeVar("Answer")

METHOD_LIMIT: Final = 128
"""Characters of an rpc method's name."""

_NOBODY: Final = Caller("", "", "", "")


class Gateway(Backend):
    """The team's handlers.

    A handler is a function with or without `async`; `gateway.backend.signatures` says what its parameters
    mean. It refuses by `raise ClientError(Error(1000, "sold out"))`, and ends the connection by
    `raise ClientError(Disconnect(4500, "banned"))`.

    Arguments:
        timeout: seconds that a handler may take before its caller gets error 100.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._calls = Calls(timeout)
        self._rpc: dict[str, Handler] = {}
        self._connect: Handler | None = None
        self._refresh: Handler | None = None
        self._subscribe = Patterns("on_subscribe")
        self._sub_refresh = Patterns("on_sub_refresh")
        self._publish = Patterns("on_publish")
        self._send: Handler | None = None
        self._upload: Handler | None = None
        self._wechat_event: Handler | None = None
        self._user_events: dict[UserEventKind, Handler] = {}

    # ------------------------------------------------------------------ for the team
    def on_connect(self, handler: H) -> H:
        """Register what sees each client that connects; it answers with a `ConnectAnswer` or None.

        `ctx.user` has signed in with WeChat or a JWT. It is empty for a client that brought nothing: there
        the answer says who it is, and None leaves it to `client.allow_anonymous`.
        """
        self._connect = Handler(handler, "on_connect", Shape(event=ConnectEvent), insistent=True)
        return handler

    def on_refresh(self, handler: H) -> H:
        """Register what is asked when the `expire_at` of a connection has come; see `RefreshAnswer`."""
        self._refresh = Handler(handler, "on_refresh", Shape(data=False), insistent=True)
        return handler

    def on_subscribe(self, channels: str) -> Callable[[H], H]:
        """Register who may subscribe to `channels`, such as `orders:*`; see `SubscribeAnswer`.

        To return, also None or True, is to let in; False refuses with error 103.
        """
        return self._subscribe.register(channels, Shape(channel=True))

    def on_sub_refresh(self, channels: str) -> Callable[[H], H]:
        """Register what is asked when the `expire_at` of a subscription has come; see `SubRefreshAnswer`."""
        return self._sub_refresh.register(channels, Shape(channel=True, data=False), insistent=True)

    def on_publish(self, channels: str) -> Callable[[H], H]:
        """Register who may publish what to `channels`; see `PublishAnswer`.

        To return, also None or True, is to let it through as it is; False refuses with error 103.
        """
        return self._publish.register(channels, Shape(channel=True))

    def rpc(self, method: str) -> Callable[[H], H]:
        """Register the handler of `method`; it answers with anything that has a JSON form."""
        if not method or len(method) > METHOD_LIMIT:
            raise GatewayError(f"an rpc method has 1 to {METHOD_LIMIT} characters: {method!r}")
        if method == "ack" or method.startswith("gateway."):
            raise GatewayError(f"rpc method {method!r} is the gateway's own")
        if method in self._rpc:
            raise GatewayError(f"rpc method {method!r} is registered twice")

        def register(handler: H) -> H:
            self._rpc[method] = Handler(handler, f"rpc {method}")
            return handler

        return register

    def on_send(self, handler: H) -> H:
        """Register the handler of messages that want no answer."""
        self._send = Handler(handler, "on_send")
        return handler

    def on_wechat_event(self, handler: H) -> H:
        """Register the handler of what WeChat's servers push to `/wx/callback`.

            @gw.on_wechat_event
            async def pushed(event):
                if event.event == "wxa_media_check":
                    ...

        WeChat does not wait for it, and pushes nothing twice because it failed.
        """
        self._wechat_event = Handler(handler, "on_wechat_event", Shape(data=False, event=WeChatEvent))
        return handler

    def on_upload(self, handler: H) -> H:
        """Register the handler that sees each file before anybody else does: `handler(ctx, file)`.

        It refuses by `raise ClientError(ERROR_FILE_REFUSED, "…")`; an error in it refuses too.
        """
        self._upload = Handler(handler, "on_upload", Shape(data=False, event=UploadedFile))
        return handler

    def on_online(self, handler: H) -> H:
        """Register the handler of users who come; with `on_background`, also of those who come back from it.

            @gw.on_online
            async def came(event):
                print(event.user, event.generation)

        An event whose handler raises comes again, and a handler may see one twice: compare `event.id` with
        that of the user's last event.
        """
        return self._on_user_event("online", handler)

    def on_background(self, handler: H) -> H:
        """Register the handler of users who may be back in a moment: hidden, or their socket was lost."""
        return self._on_user_event("background", handler)

    def on_disconnect(self, handler: H) -> H:
        """Register the handler of users who are gone: they did not return within the grace."""
        return self._on_user_event("disconnect", handler)

    def on_unsubscribe(self, handler: H) -> H:
        """Register the handler of users who left a channel; its namespace needs `unsubscribe_events`."""
        return self._on_user_event("unsubscribe", handler)

    def _on_user_event(self, kind: UserEventKind, handler: H) -> H:
        self._user_events[kind] = Handler(handler, f"on_{kind}", Shape(data=False, event=UserEvent))
        return handler

    def test_client(self, user: str = "", **who: Any) -> TestClient:
        """Calls the handlers as a phone of `user` would, without a socket; see `TestClient`."""
        double = copy.copy(self)  # the same handlers, and a life of its own
        double._calls = Calls(self._timeout)
        return TestClient(double, user=user, **who)

    # ------------------------------------------------------------------ for the gateway
    def attach(self, operations: Operations) -> None:
        """See `Backend`."""
        self._calls.operations = operations

    def resize(self, threads: int) -> None:
        """How many threads the handlers without `async` share."""
        self._calls.resize(threads)

    async def close(self) -> None:
        """See `Backend`."""
        self._calls.close()

    def handle_connect(
        self, caller: Caller, event: ConnectEvent
    ) -> Coroutine[Any, Any, Connected | None] | None:
        """See `Backend`."""
        return self._admit(self._connect, caller, event) if self._connect else None

    def handle_refresh(self, caller: Caller) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        return self._ask(read_refresh, self._refresh, caller) if self._refresh else None

    def handle_subscribe(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Subscribed] | None:
        """See `Backend`."""
        handler = self._subscribe.find(channel)
        return self._ask(read_subscribe, handler, caller, data, channel) if handler else None

    def handle_sub_refresh(
        self, caller: Caller, channel: str, options: ChannelOptions
    ) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        handler = self._sub_refresh.find(channel)
        return self._ask(read_refresh, handler, caller, channel=channel) if handler else None

    def handle_publish(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Published] | None:
        """See `Backend`."""
        handler = self._publish.find(channel)
        return self._ask(read_publish, handler, caller, data, channel) if handler else None

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        return self._answer(caller, method, data) if self._rpc else None

    def handles_rpc(self, method: str) -> bool:
        """Whether there is a handler for `method`."""
        return method in self._rpc

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._tell(self._send, caller, data) if self._send else None

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._tell(self._wechat_event, _NOBODY, event=event) if self._wechat_event else None

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._tell(self._upload, caller, event=file) if self._upload else None

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """See `Backend`."""
        return frozenset(self._user_events)

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        handler = self._user_events.get(event.event)
        return self._tell(handler, _NOBODY, event=event) if handler else None

    # ------------------------------------------------------------------ the calls
    async def _admit(self, handler: Handler, caller: Caller, event: ConnectEvent) -> Connected | None:
        answer = await self._calls.run(handler, caller, event.data, event=event)
        return None if answer is None else self._read(read_connect, handler, caller, answer)

    async def _ask(
        self, read: Reader[Answer], handler: Handler, caller: Caller, data: Raw = EMPTY_RAW, channel: str = ""
    ) -> Answer:
        answer = await self._calls.run(handler, caller, data, channel)
        if answer is False:
            raise ClientError(ERROR_PERMISSION_DENIED, f"{handler.label} refused")
        return self._read(read, handler, caller, {} if answer is None or answer is True else answer)

    def _read(self, read: Reader[Answer], handler: Handler, caller: Caller, answer: object) -> Answer:
        try:
            return read(encode_json(answer))
        except (TypeError, ValueError, RecursionError) as error:
            raise self._calls.failure(handler, caller, error) from error

    async def _answer(self, caller: Caller, method: str, data: Raw) -> Raw:
        handler = self._rpc.get(method)
        if handler is None:
            raise ClientError(ERROR_METHOD_NOT_FOUND, "no handler is registered for this method")
        answer = await self._calls.run(handler, caller, data)
        try:
            return Raw(encode_json(answer))
        except (TypeError, ValueError, RecursionError) as error:
            raise self._calls.failure(handler, caller, error) from error

    async def _tell(
        self, handler: Handler, caller: Caller, data: Raw = EMPTY_RAW, event: object = None
    ) -> None:
        await self._calls.run(handler, caller, data, event=event)


class Patterns:
    """Handlers by the channels that they are for.

    A pattern without `*` is one channel, and goes before the others; of these the first that fits decides.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._exact: dict[str, Handler] = {}
        self._patterns: list[tuple[re.Pattern[str], Handler]] = []
        self._seen: set[str] = set()

    def register(self, channels: str, shape: Shape, *, insistent: bool = False) -> Callable[[H], H]:
        """A decorator for the handler of `channels`."""
        if not isinstance(channels, str) or not channels:
            raise GatewayError(f'{self._event} takes a channel or a pattern: @gw.{self._event}("orders:*")')
        if channels in self._seen:
            raise GatewayError(f"{self._event}({channels!r}) is registered twice")

        def register(handler: H) -> H:
            found = Handler(handler, f"{self._event} {channels}", shape, insistent=insistent)
            self._seen.add(channels)
            if "*" in channels:
                # Only `*` is special: `?` and `[` may be in the name of a channel.
                pattern = ".*".join(re.escape(part) for part in channels.split("*"))
                self._patterns.append((re.compile(pattern, re.DOTALL), found))
            else:
                self._exact[channels] = found
            return handler

        return register

    def find(self, channel: str) -> Handler | None:
        """The handler of `channel`; None: there is none."""
        if not self._seen:
            return None
        handler = self._exact.get(channel)
        if handler is not None:
            return handler
        return next((each for pattern, each in self._patterns if pattern.fullmatch(channel)), None)
