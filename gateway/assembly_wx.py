"""Builds what the routes under /wx need, and takes over changes of the configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from gateway.auth.sessions import SessionStore
from gateway.auth.signin import CodeClaims, SignIn
from gateway.backend.base import Backend
from gateway.config import Settings
from gateway.config.rows import WeChatApp
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
    sessions: SessionStore,
    claims: CodeClaims,
    access_tokens: TokenStorage,
    metrics: Metrics,
    upstream: httpx.AsyncClient,
    sandbox_url: str,
) -> WxParts:
    """All of it. `access_tokens`: where all nodes find them."""
    services = WxServices(
        sign_in=sign_in,
        sessions=sessions,
        node=node,
        metrics=metrics,
        peers=Peers(settings.websocket.trusted_proxies, settings.websocket.allowed_origins),
        open_data=OpenDataDesk({}, sessions, max_calls=settings.wechat.max_sign_ins, wall=time.time),
        callbacks=CallbackDesk({}, claims, backend, node, metrics, time.time),
        wall=time.time,
    )
    parts = WxParts(services, upstream, access_tokens, sandbox_url)
    parts.reload(settings)
    return parts


def _open_apis(settings: Settings, parts: WxParts, known: Mapping[str, OpenAPI]) -> dict[str, OpenAPI]:
    metrics = parts.services.metrics

    def on_call(outcome: Outcome, seconds: float) -> None:
        if outcome != "started":
            metrics.upstream_call("wechat", outcome, seconds)

    apis = {}
    for row in settings.wechat.apps:
        base = parts.sandbox_url if settings.wechat.sandbox else row.api_base
        app = App(row.appid, row.secret.get_secret_value(), base)
        api = known.get(row.appid)
        if api is None or api.app != app:
            calls = WeChatCalls(app, settings.wechat.timeout, parts.upstream, on_call=on_call)
            api = OpenAPI(calls, AccessTokenKeeper(calls, parts.storage))
        apis[row.appid] = api
    return apis


def _callback_apps(settings: Settings) -> dict[str, CallbackApp]:
    rows = [row for row in settings.wechat.apps if row.callback_token.get_secret_value()]
    return {row.appid: _callback_app(row) for row in rows}


def _callback_app(row: WeChatApp) -> CallbackApp:
    key = row.encoding_aes_key.get_secret_value()
    cipher = PushCipher(key, row.appid) if key else None
    return CallbackApp(row.appid, row.callback_token.get_secret_value(), cipher, row.callback_channel)
