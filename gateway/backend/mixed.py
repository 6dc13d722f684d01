"""Python for some events, HTTP for the others: what one backend does not handle, the next one is asked."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from msgspec import Raw

from gateway.backend.app import Gateway
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
from gateway.client import Caller
from gateway.config import ChannelOptions
from gateway.wechat.callback import WeChatEvent


class Mixed(Backend):
    """Handlers in Python, which go first, and another backend behind them."""

    def __init__(self, handlers: Gateway, others: Backend) -> None:
        self._handlers = handlers
        self._others = others

    def attach(self, operations: Operations) -> None:
        """See `Backend`."""
        self._handlers.attach(operations)
        self._others.attach(operations)

    async def close(self) -> None:
        """See `Backend`."""
        await self._handlers.close()
        await self._others.close()

    def handle_connect(
        self, caller: Caller, event: ConnectEvent
    ) -> Coroutine[Any, Any, Connected | None] | None:
        """See `Backend`."""
        return self._handlers.handle_connect(caller, event) or self._others.handle_connect(caller, event)

    def handle_refresh(self, caller: Caller) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        return self._handlers.handle_refresh(caller) or self._others.handle_refresh(caller)

    def handle_subscribe(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Subscribed] | None:
        """See `Backend`."""
        return self._handlers.handle_subscribe(
            caller, channel, data, options
        ) or self._others.handle_subscribe(caller, channel, data, options)

    def handle_sub_refresh(
        self, caller: Caller, channel: str, options: ChannelOptions
    ) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        return self._handlers.handle_sub_refresh(caller, channel, options) or self._others.handle_sub_refresh(
            caller, channel, options
        )

    def handle_publish(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Published] | None:
        """See `Backend`."""
        return self._handlers.handle_publish(caller, channel, data, options) or self._others.handle_publish(
            caller, channel, data, options
        )

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`. A method without a Python handler is the others', who may say that it is unknown."""
        if self._handlers.handles_rpc(method):
            return self._handlers.handle_rpc(caller, method, data)
        return self._others.handle_rpc(caller, method, data) or self._handlers.handle_rpc(
            caller, method, data
        )

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._handlers.handle_send(caller, data) or self._others.handle_send(caller, data)

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._handlers.handle_wechat_event(event) or self._others.handle_wechat_event(event)

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._handlers.handle_upload(caller, file) or self._others.handle_upload(caller, file)

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """See `Backend`."""
        return self._handlers.user_events | self._others.user_events

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return self._handlers.handle_user_event(event) or self._others.handle_user_event(event)
