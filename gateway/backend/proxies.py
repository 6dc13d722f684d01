"""HTTP backends: each event as a POST in Centrifugo's JSON, to the proxy that the configuration names for it.

Beside Centrifugo's keys a request has `appid` and `session` of a client that signed in with WeChat, and the
`token` of a connect that is the hook's to judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.backend.answers import read_connect, read_publish, read_refresh, read_rpc, read_subscribe
from gateway.backend.base import (
    USER_EVENTS,
    Backend,
    Connected,
    ConnectEvent,
    Published,
    Refreshed,
    Subscribed,
    UploadedFile,
    UserEvent,
    UserEventKind,
)
from gateway.backend.proxy import Proxy
from gateway.client import Caller
from gateway.config import ChannelOptions
from gateway.config.backend import Backend as BackendSettings
from gateway.metrics import Metrics
from gateway.wechat.callback import WeChatEvent

_TRANSPORT: Final = {"transport": "websocket", "protocol": "json", "encoding": "json"}


class Proxies(Backend):
    """All rows of `backend.proxies`.

    Raises GatewayError where one of them cannot be.
    """

    def __init__(self, settings: BackendSettings, metrics: Metrics) -> None:
        self._by_name = {row.name: Proxy(row, metrics) for row in settings.proxies}
        self._connect = self._by_name.get(settings.connect)
        self._refresh = self._by_name.get(settings.refresh)
        self._rpc = self._by_name.get(settings.rpc)
        self._send = self._by_name.get(settings.send)
        self._upload = self._by_name.get(settings.upload)
        self._wechat_event = self._by_name.get(settings.wechat_event)
        self._user_event = self._by_name.get(settings.user_event)

    async def close(self) -> None:
        """See `Backend`."""
        await asyncio.gather(*(proxy.close() for proxy in self._by_name.values()))

    # ------------------------------------------------------------------ of clients
    def handle_connect(
        self, caller: Caller, event: ConnectEvent
    ) -> Coroutine[Any, Any, Connected | None] | None:
        """See `Backend`."""
        proxy = self._connect
        if proxy is None:
            return None
        request = _of(caller, data=event.data, name=event.name, version=event.version, token=event.token)
        if event.channels:
            request["channels"] = event.channels
        return proxy.ask("connect", request, caller.headers, _read_connect)

    def handle_refresh(self, caller: Caller) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        proxy = self._refresh
        return proxy.ask("refresh", _of(caller), caller.headers, read_refresh) if proxy else None

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        proxy = self._rpc
        if proxy is None:
            return None
        return proxy.ask("rpc", _of(caller, method=method, data=data), caller.headers, read_rpc)

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        proxy = self._send
        return proxy.ask("send", _of(caller, data=data), caller.headers, _read_nothing) if proxy else None

    # ------------------------------------------------------------------ of channels
    def handle_subscribe(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Subscribed] | None:
        """See `Backend`."""
        proxy = self._by_name.get(options.subscribe_proxy)
        if proxy is None:
            return None
        return proxy.ask("subscribe", _of(caller, channel=channel, data=data), caller.headers, read_subscribe)

    def handle_sub_refresh(
        self, caller: Caller, channel: str, options: ChannelOptions
    ) -> Coroutine[Any, Any, Refreshed] | None:
        """See `Backend`."""
        proxy = self._by_name.get(options.sub_refresh_proxy)
        if proxy is None:
            return None
        return proxy.ask("sub_refresh", _of(caller, channel=channel), caller.headers, read_refresh)

    def handle_publish(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Published] | None:
        """See `Backend`."""
        proxy = self._by_name.get(options.publish_proxy)
        if proxy is None:
            return None
        return proxy.ask("publish", _of(caller, channel=channel, data=data), caller.headers, read_publish)

    # ------------------------------------------------------------------ of everything else
    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """See `Backend`. What is known of the file; its content is not sent."""
        proxy = self._upload
        if proxy is None:
            return None
        known = {
            "id": file.id,
            "name": file.name,
            "type": file.type,
            "size": file.size,
            "sha256": file.sha256,
            "channel": file.channel,
            "visibility": file.visibility,
        }
        who = {"user": caller.user, "appid": caller.appid, "session": caller.session}
        return proxy.ask("upload", {**who, "file": known}, None, _read_nothing)

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        proxy = self._wechat_event
        return proxy.ask("wechat_event", _fields(event), None, _read_nothing) if proxy else None

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """See `Backend`."""
        return frozenset(USER_EVENTS) if self._user_event is not None else frozenset()

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        proxy = self._user_event
        return proxy.ask("user_event", _fields(event), None, _read_nothing) if proxy else None


def _of(caller: Caller, **fields: Any) -> dict[str, Any]:
    """A request about a client; of `fields` those that are not empty."""
    request: dict[str, Any] = {"client": caller.client, **_TRANSPORT, "user": caller.user}
    more = {"appid": caller.appid, "session": caller.session, "meta": caller.meta, **fields}
    request.update((name, value) for name, value in more.items() if value)
    return request


def _fields(event: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return fields


def _read_connect(result: bytes) -> Connected | None:
    """No result at all is no opinion, as for Centrifugo."""
    return None if result in (b"", b"null") else read_connect(result)


def _read_nothing(result: bytes) -> None:
    if not result:
        raise ValueError("an answer without a result")
