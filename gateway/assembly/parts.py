"""All parts of one process, joined."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from fastapi import APIRouter

from gateway.assembly.backend import attach, build_backend
from gateway.assembly.inbox import InboxParts, build_inbox
from gateway.assembly.protection import ProtectionParts, build_protection
from gateway.assembly.safety import SafetyParts, build_safety
from gateway.assembly.sign_in import SignInParts, build_sign_in
from gateway.assembly.sockets import build_sockets, sweep_interval
from gateway.assembly.stores import build_stores
from gateway.assembly.wechat import WxParts, build_sandbox, build_wx
from gateway.auth.sessions import SessionStore
from gateway.auth.sessions_redis import RedisSessionStore
from gateway.backend.base import Backend
from gateway.config import Settings
from gateway.files.service import Files
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.online.service import Online
from gateway.outbox import Outboxes
from gateway.safety.media import EVENT
from gateway.websocket.connection import Shared


@dataclass(slots=True)
class Parts:
    """What a process is made of."""

    metrics: Metrics
    node: Node
    who: SignInParts
    sessions: SessionStore
    shared: Shared
    sweep_interval: float
    upstream: httpx.AsyncClient
    sandbox: APIRouter | None
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
        self.who.reload(settings)
        self.wx.reload(settings)
        self.safety.load(settings, self.wx.services.open_data.apis)

    async def close(self) -> None:
        """End everything. The clients are gone by now, and so are the listeners."""
        await self.online.close()
        await self.protection.close()
        await self.inbox.close()
        await self.wx.close()
        await self.backend.close()
        await self.files.close()
        await self.safety.close()
        await self.who.close()
        await self.upstream.aclose()
        await self.node.close()


def build(settings: Settings, backend: Backend, call_soon: Callable[..., object], sandbox_url: str) -> Parts:
    """All parts, joined.

    Arguments:
        call_soon: of the running event loop.
        sandbox_url: where the stand-in WeChat will answer, if there is one.
    """
    metrics = Metrics()
    backend = build_backend(settings, backend, metrics)
    outboxes = Outboxes(call_soon, time.monotonic, metrics)
    node_id = secrets.token_hex(8)
    stores = build_stores(settings, backend, node_id, metrics)
    node = Node(
        settings,
        stores.broker,
        stores.presence,
        outboxes,
        metrics,
        node_id=node_id,
        name=socket.gethostname(),
        leaves=stores.leaves,
    )
    protection = build_protection(settings, node, stores.presence, stores.lists, stores.audit)
    upstream = httpx.AsyncClient(trust_env=not settings.wechat.sandbox)
    who = build_sign_in(settings, stores, protection.guard, metrics, upstream, sandbox_url)
    wx = build_wx(settings, backend, node, who.sign_in, stores, metrics, upstream, sandbox_url)
    apis = wx.services.open_data.apis
    safety = build_safety(settings, apis, stores.windows, stores.pending, metrics)
    wx.services.callbacks.watchers[EVENT] = safety.media.on_event
    inbox = build_inbox(settings, node, stores, metrics, lambda: wx.services.open_data.apis)
    online = Online(settings.online, backend, node.hub, node.rules, metrics, stores.users, node=node_id)
    node.membership.watcher = online.tracker
    shared = build_sockets(settings, node, backend, who, protection, inbox, online, safety, outboxes, metrics)
    files = Files(
        settings,
        node,
        who.authenticator,
        backend,
        metrics,
        ledger=stores.ledger,
        texts=safety.texts,
        media=safety.media,
        base_url=sandbox_url.removesuffix("/sandbox") if settings.wechat.sandbox else "",
    )
    attach(backend, node, files)
    return Parts(
        metrics=metrics,
        node=node,
        who=who,
        sessions=stores.sessions,
        shared=shared,
        sweep_interval=sweep_interval(shared.limits),
        upstream=upstream,
        sandbox=build_sandbox(settings, sandbox_url) if settings.wechat.sandbox else None,
        wx=wx,
        files=files,
        protection=protection,
        backend=backend,
        inbox=inbox,
        online=online,
        safety=safety,
    )
