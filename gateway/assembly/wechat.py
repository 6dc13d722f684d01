"""Builds what speaks with WeChat, or stands in for it: the routes under /wx, and the sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import httpx
from fastapi import APIRouter

from gateway.assembly.stores import Stores
from gateway.auth.signin import SignIn
from gateway.backend.base import Backend
from gateway.config import Settings
from gateway.config.wechat import WeChatApp
from gateway.http.callback import CallbackDesk
from gateway.http.wx import WxServices
from gateway.http.wx_data import OpenDataDesk
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.websocket.peers import Peers
from gateway.wechat.access_token import AccessTokenKeeper, TokenStorage
from gateway.wechat.api import App, Outcome
from gateway.wechat.callback import CallbackApp
from gateway.wechat.calls import WeChatCalls
from gateway.wechat.crypto import PushCipher
from gateway.wechat.open_api import OpenAPI
from gateway.wechat.sandbox import Sandbox, sandbox_router
from gateway.wechat.sandbox_safety import Callback


def wechat_apps(settings: Settings, sandbox_url: str) -> Iterator[App]:
    """The mini-programs as WeChat, or its stand-in, knows them."""
    for row in settings.wechat.apps:
        base = sandbox_url if settings.wechat.sandbox else row.api_base
        yield App(row.appid, row.secret.get_secret_value(), base)


def count_calls(metrics: Metrics) -> Callable[[Outcome, float], None]:
    """What each call of WeChat came to, for the metrics."""

    def on_call(outcome: Outcome, seconds: float) -> None:
        if outcome != "started":
            metrics.upstream_call("wechat", outcome, seconds)

    return on_call


@dataclass(frozen=True, slots=True)
class WxParts:
    """The services, and what is needed to build their mini-programs again."""

    services: WxServices
    upstream: httpx.AsyncClient
    storage: TokenStorage
    sandbox_url: str

    def reload(self, settings: Settings) -> None:
        """Take over the mini-programs of another configuration; those that stay keep their access token."""
        desk = self.services.open_data
        desk.load(_open_apis(settings, self, desk.apis))
        self.services.callbacks.load(_callback_apps(settings))

    async def close(self) -> None:
        """End what is in flight."""
        await self.services.open_data.close()


def build_wx(
    settings: Settings,
    backend: Backend,
    node: Node,
    sign_in: SignIn,
    stores: Stores,
    metrics: Metrics,
    upstream: httpx.AsyncClient,
    sandbox_url: str,
) -> WxParts:
    """All of it, for the routes under /wx."""
    services = WxServices(
        sign_in=sign_in,
        sessions=stores.sessions,
        node=node,
        metrics=metrics,
        peers=Peers(settings.websocket.trusted_proxies, settings.websocket.allowed_origins),
        open_data=OpenDataDesk({}, stores.sessions, max_calls=settings.wechat.max_sign_ins, wall=time.time),
        callbacks=CallbackDesk({}, stores.claims, backend, node, metrics, time.time),
        wall=time.time,
    )
    parts = WxParts(services, upstream, stores.access_tokens, sandbox_url)
    parts.reload(settings)
    return parts


def _open_apis(settings: Settings, parts: WxParts, known: Mapping[str, OpenAPI]) -> dict[str, OpenAPI]:
    on_call = count_calls(parts.services.metrics)
    apis = {}
    for app in wechat_apps(settings, parts.sandbox_url):
        api = known.get(app.appid)
        if api is None or api.app != app:
            calls = WeChatCalls(app, settings.wechat.timeout, parts.upstream, on_call=on_call)
            api = OpenAPI(calls, AccessTokenKeeper(calls, parts.storage))
        apis[app.appid] = api
    return apis


def _callback_apps(settings: Settings) -> dict[str, CallbackApp]:
    rows = [row for row in settings.wechat.apps if row.callback_token.get_secret_value()]
    return {row.appid: _callback_app(row) for row in rows}


def _callback_app(row: WeChatApp) -> CallbackApp:
    key = row.encoding_aes_key.get_secret_value()
    cipher = PushCipher(key, row.appid) if key else None
    return CallbackApp(row.appid, row.callback_token.get_secret_value(), cipher, row.callback_channel)


def build_sandbox(settings: Settings, sandbox_url: str) -> APIRouter:
    """The stand-in for WeChat; it pushes to the callbacks of this gateway."""
    base = sandbox_url.removesuffix("/sandbox")
    rows = settings.wechat.apps
    callbacks = {
        row.appid: Callback(
            f"{base}/wx/callback/{row.appid}",
            row.callback_token.get_secret_value(),
            row.encoding_aes_key.get_secret_value(),
        )
        for row in rows
    }
    apps = {row.appid: row.secret.get_secret_value() for row in rows}
    return sandbox_router(Sandbox(apps, now=time.time, callbacks=callbacks))
