"""Builds the parts of one process from its settings. Nothing here starts anything."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import httpx
from fastapi import APIRouter

from gateway.assembly_backend import attach, build_backend, kept_headers
from gateway.assembly_inbox import InboxParts, build_inbox
from gateway.assembly_protection import ProtectionParts, build_protection
from gateway.assembly_safety import SafetyParts, build_safety
from gateway.assembly_wx import WxParts, build_wx
from gateway.auth.access_tokens_redis import RedisTokenStorage
from gateway.auth.claims_redis import RedisCodeClaims
from gateway.auth.credentials import Authenticator
from gateway.auth.jwks import Jwks
from gateway.auth.sessions import MemorySessionStore, SessionKeyCipher, SessionStore
from gateway.auth.sessions_redis import RedisSessionStore
from gateway.auth.signin import CodeClaims, MemoryCodeClaims, SignIn
from gateway.auth.tokens import TokenVerifier
from gateway.auth.windows import MemoryWindows, RedisWindows, Windows
from gateway.backend.base import Backend
from gateway.brokers.base import Broker, PresenceStore
from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_presence import RedisPresenceStore
from gateway.client import Limits
from gateway.config import Settings
from gateway.deadlines import Deadlines
from gateway.files.ledger import RedisLedger
from gateway.files.quotas import Ledger
from gateway.files.service import Files
from gateway.metrics import Counts, Metrics
from gateway.node.lingering import RedisLeaves
from gateway.node.node import Node
from gateway.online.service import Online, rules_of
from gateway.online.store import PARTITIONS, MemoryOnlineStore, OnlineStore, RedisOnlineStore
from gateway.outbox import Outboxes
from gateway.protection.audit import AuditLog, MemoryAuditLog, RedisAuditLog
from gateway.protection.store import ListStore, MemoryListStore, RedisListStore
from gateway.safety.media import EVENT
from gateway.safety.pending import MemoryPending, Pending, RedisPending
from gateway.sockets import connections_possible
from gateway.websocket.commands import Commands
from gateway.websocket.connecting import Connecting
from gateway.websocket.connection import Connection, Shared
from gateway.websocket.dispatch import Dispatcher
from gateway.websocket.expiry import Expiry
from gateway.websocket.handshake import Handshakes
from gateway.websocket.peers import Peers
from gateway.wechat.access_token import MemoryTokenStorage, TokenStorage
from gateway.wechat.api import App, Outcome, WeChatAPI
from gateway.wechat.sandbox import Sandbox, sandbox_router
from gateway.wechat.sandbox_safety import Callback

SWEEPS_PER_INTERVAL = 20
"""How finely the shortest deadline is kept: a ping timeout of 8 s is noticed within 0.4 s."""


@dataclass(slots=True)
class Parts:
    """What a process is made of."""

    metrics: Metrics
    node: Node
    sign_in: SignIn
    sessions: SessionStore
    shared: Shared
    sweep_interval: float
    upstream: httpx.AsyncClient
    jwks: Jwks | None
    tokens: TokenVerifier
    sandbox: APIRouter | None
    sandbox_url: str
    wx: WxParts
    files: Files
    protection: ProtectionParts
    backend: Backend
    inbox: InboxParts
    online: Online
    safety: SafetyParts

    async def check(self) -> None:
        """Everything that is asked of Redis once, so that a missing permission shows at start."""
        if isinstance(self.sessions, RedisSessionStore):
            await self.sessions.check()
        await self.inbox.check()
        await self.online.check()

    def reload(self, settings: Settings) -> None:
        """Take over the secrets and mini-programs of another configuration."""
        self.tokens.load_keys(*_token_keys(settings))
        self.sign_in.load_apps(_apps(settings, self.upstream, self.metrics, self.sandbox_url))
        self.wx.reload(settings)
        self.safety.load(settings, self.wx.services.open_data.apis)


def build(settings: Settings, backend: Backend, call_soon: Callable[..., object], sandbox_url: str) -> Parts:
    """All parts, joined.

    Arguments:
        call_soon: of the running event loop.
        sandbox_url: where the stand-in WeChat will answer, if there is one.
    """
    metrics = Metrics()
    backend = build_backend(settings, backend, metrics)
    clock = time.monotonic
    outboxes = Outboxes(call_soon, clock, metrics)
    node_id = secrets.token_hex(8)
    stores = _stores(settings, node_id, metrics)
    broker, presence, sessions, claims = stores.broker, stores.presence, stores.sessions, stores.claims
    node = Node(
        settings,
        broker,
        presence,
        outboxes,
        metrics,
        node_id=node_id,
        name=socket.gethostname(),
        clock=clock,
        leaves=RedisLeaves(broker.topology, settings.redis.prefix)
        if isinstance(broker, RedisBroker)
        else None,
    )
    protection = build_protection(settings, node, presence, stores.lists, stores.audit)
    upstream = httpx.AsyncClient(trust_env=not settings.wechat.sandbox)
    sign_in = SignIn(
        _apps(settings, upstream, metrics, sandbox_url),
        sessions,
        claims,
        max_sign_ins=settings.wechat.max_sign_ins,
        max_sign_ins_per_ip=settings.wechat.max_sign_ins_per_ip,
        gate=protection.guard,
        windows=stores.windows,
        max_per_minute=settings.wechat.sign_ins_per_minute_per_ip,
    )
    wx = build_wx(
        settings,
        backend,
        node,
        sign_in,
        sessions,
        claims,
        stores.access_tokens,
        metrics,
        upstream,
        sandbox_url,
    )
    apis = wx.services.open_data.apis
    safety = build_safety(settings, apis, stores.windows, stores.pending, metrics)
    wx.services.callbacks.watchers[EVENT] = safety.media.on_event
    inbox = build_inbox(settings, node, broker, metrics, lambda: wx.services.open_data.apis)
    jwks = Jwks(settings.client.token_jwks_url, upstream) if settings.client.token_jwks_url else None
    tokens = _tokens(settings, jwks)
    authenticator = Authenticator(
        settings.client,
        sign_in,
        tokens,
        metrics,
        time.time,
        protection.guard,
        foreign_tokens=settings.backend.foreign_tokens,
    )
    online = _online(settings, backend, node, broker, metrics)
    node.membership.watcher = online.tracker
    connecting = Connecting(
        settings,
        node,
        authenticator,
        backend,
        metrics,
        clock=clock,
        gate=protection.guard,
        watch=protection.tracer.entered,
        welcome=inbox.inbox.welcome,
        tracker=online.tracker,
        addresses=protection.addresses if settings.client.address_connection_limit else None,
    )
    commands = Commands(
        settings,
        node,
        connecting,
        tokens,
        backend,
        builtins={**inbox.builtins, **online.builtins},
        texts=safety.texts,
        wall=time.time,
    )
    expiry = Expiry(node, backend, clock=clock)
    shared = _sockets(settings, node, connecting, expiry, commands, outboxes, metrics)
    shared.tap = protection.tracer.tap
    files = Files(
        settings,
        node,
        authenticator,
        backend,
        metrics,
        ledger=stores.ledger,
        texts=safety.texts,
        media=safety.media,
        base_url=sandbox_url.removesuffix("/sandbox") if settings.wechat.sandbox else "",
    )
    attach(backend, node, files)
    metrics.watch(lambda: _counts(node, shared.connections))
    return Parts(
        metrics=metrics,
        node=node,
        sign_in=sign_in,
        sessions=sessions,
        shared=shared,
        sweep_interval=_sweep_interval(shared.limits),
        upstream=upstream,
        jwks=jwks,
        tokens=tokens,
        sandbox=_sandbox(settings, sandbox_url),
        sandbox_url=sandbox_url,
        wx=wx,
        files=files,
        backend=backend,
        protection=protection,
        inbox=inbox,
        online=online,
        safety=safety,
    )


def _online(settings: Settings, backend: Backend, node: Node, broker: Broker, metrics: Metrics) -> Online:
    """Users over all nodes, where somebody wants to know of them."""
    store: OnlineStore | None = None
    if settings.online.enabled or backend.user_events:
        if isinstance(broker, RedisBroker):
            store = RedisOnlineStore(broker.topology, rules_of(settings.online, backend, PARTITIONS))
        else:
            store = MemoryOnlineStore(rules_of(settings.online, backend, 1))
    return Online(settings.online, backend, node.hub, node.rules, metrics, store, node=node.id)


def _sockets(
    settings: Settings,
    node: Node,
    connecting: Connecting,
    expiry: Expiry,
    commands: Commands,
    outboxes: Outboxes,
    metrics: Metrics,
) -> Shared:
    """What all connections of the process share."""
    clock = time.monotonic
    limits = _limits(settings)
    return Shared(
        node=node,
        connecting=connecting,
        expiry=expiry,
        dispatcher=Dispatcher(commands, metrics, clock),
        outboxes=outboxes,
        handshakes=Handshakes(
            Peers(settings.websocket.trusted_proxies, settings.websocket.allowed_origins),
            message_limit=settings.websocket.message_size_limit,
            compression=settings.websocket.compression,
            kept_headers=kept_headers(settings),
        ),
        deadlines=Deadlines(_sweep_interval(limits), clock()),
        metrics=metrics,
        limits=limits,
        message_limit=settings.websocket.message_size_limit,
        queue_size=settings.websocket.queue_size,
        max_connections=settings.client.max_connections or connections_possible(),
        clock=clock,
        connections=set(),
    )


class Stores(NamedTuple):
    """Where what outlives a connection lives: in Redis, or in this process."""

    broker: Broker
    presence: PresenceStore
    sessions: SessionStore
    claims: CodeClaims
    access_tokens: TokenStorage
    lists: ListStore
    audit: AuditLog
    windows: Windows
    pending: Pending
    ledger: Ledger | None
    """What users have uploaded, where other processes have to know it."""


def _stores(settings: Settings, node_id: str, metrics: Metrics) -> Stores:
    key = settings.session.key()
    cipher = SessionKeyCipher(key.hex()) if key else SessionKeyCipher.random()
    ttl, presence_ttl = settings.session.ttl, settings.channels.presence_ttl
    if not settings.redis.url:
        return Stores(
            MemoryBroker(),
            MemoryPresenceStore(presence_ttl),
            MemorySessionStore(cipher, ttl=ttl, now=time.time),
            MemoryCodeClaims(now=time.time),
            MemoryTokenStorage(),
            MemoryListStore(),
            MemoryAuditLog(),
            MemoryWindows(time.time),
            MemoryPending(),
            None,
        )
    prefix = settings.redis.prefix
    urls = [settings.redis.url, *settings.redis.shards]
    broker = RedisBroker(urls, prefix, node_id, on_error=metrics.broker_error)
    return Stores(
        broker,
        RedisPresenceStore(broker, presence_ttl),
        RedisSessionStore(broker.topology, cipher, ttl=ttl, now=time.time),
        RedisCodeClaims(broker.topology, prefix),
        RedisTokenStorage(broker.topology, cipher, prefix, time.time),
        RedisListStore(broker.topology, prefix),
        RedisAuditLog(broker.topology, prefix),
        RedisWindows(broker.topology, prefix, time.time),
        RedisPending(broker.topology, prefix),
        RedisLedger(broker.topology, prefix),
    )


def _apps(
    settings: Settings, upstream: httpx.AsyncClient, metrics: Metrics, sandbox_url: str
) -> dict[str, WeChatAPI]:
    def on_call(outcome: Outcome, seconds: float) -> None:
        if outcome != "started":
            metrics.upstream_call("wechat", outcome, seconds)

    return {
        app.appid: WeChatAPI(
            App(
                app.appid,
                app.secret.get_secret_value(),
                sandbox_url if settings.wechat.sandbox else app.api_base,
            ),
            settings.wechat.timeout,
            upstream,
            on_call=on_call,
        )
        for app in settings.wechat.apps
    }


def _tokens(settings: Settings, jwks: Jwks | None) -> TokenVerifier:
    secret, previous, pem = _token_keys(settings)
    return TokenVerifier(
        hmac_secret=secret,
        hmac_previous_secret=previous,
        public_key_pem=pem,
        jwks=jwks,
        audience=settings.client.token_audience,
        issuer=settings.client.token_issuer,
    )


def _token_keys(settings: Settings) -> tuple[str, str, str]:
    """The HMAC secret, the one before it, and the public key."""
    client = settings.client
    return (
        client.token_hmac_secret.get_secret_value(),
        client.token_hmac_previous_secret.get_secret_value(),
        client.public_key_pem(),
    )


def _sandbox(settings: Settings, sandbox_url: str) -> APIRouter | None:
    if not settings.wechat.sandbox:
        return None
    apps = {app.appid: app.secret.get_secret_value() for app in settings.wechat.apps}
    base = sandbox_url.removesuffix("/sandbox")
    callbacks = {
        app.appid: Callback(
            f"{base}/wx/callback/{app.appid}",
            app.callback_token.get_secret_value(),
            app.encoding_aes_key.get_secret_value(),
        )
        for app in settings.wechat.apps
    }
    return sandbox_router(Sandbox(apps, now=time.time, callbacks=callbacks))


def _limits(settings: Settings) -> Limits:
    client = settings.client
    return Limits(
        ping_interval=client.ping_interval,
        pong_timeout=client.pong_timeout,
        first_message_timeout=client.first_message_timeout,
        expired_close_delay=client.expired_close_delay,
        commands_per_second=client.commands_per_second,
        command_burst=client.command_burst,
    )


def _sweep_interval(limits: Limits) -> float:
    shortest = min(limits.ping_interval, limits.pong_timeout, limits.first_message_timeout)
    return min(1.0, max(0.005, shortest / SWEEPS_PER_INTERVAL))


def _counts(node: Node, connections: set[Connection]) -> Counts:
    hub = node.hub
    return Counts(
        connections=len(connections),
        users=hub.num_users,
        subscriptions=hub.num_subscriptions,
        channels=hub.num_channels,
        outbox_bytes=sum(each.waiting_bytes for each in connections),
    )
