"""Where what outlives a connection lives: in Redis for all nodes, or in this process."""

from __future__ import annotations

import time
from typing import NamedTuple

from gateway.auth.access_tokens_redis import RedisTokenStorage
from gateway.auth.claims_redis import RedisCodeClaims
from gateway.auth.sessions import MemorySessionStore, SessionKeyCipher, SessionStore
from gateway.auth.sessions_redis import RedisSessionStore
from gateway.auth.signin import CodeClaims, MemoryCodeClaims
from gateway.auth.windows import MemoryWindows, RedisWindows, Windows
from gateway.backend.base import Backend
from gateway.brokers.base import Broker, PresenceStore
from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_presence import RedisPresenceStore
from gateway.config import Settings
from gateway.files.ledger import RedisLedger
from gateway.files.quotas import Ledger
from gateway.inbox.base import Bounds, InboxStore
from gateway.inbox.memory import MemoryInboxStore
from gateway.inbox.redis import RedisInboxStore
from gateway.inbox.tally import MemoryTotals, RedisTotals, Totals
from gateway.metrics import Metrics
from gateway.node.lingering import LeaveStore, MemoryLeaves, RedisLeaves
from gateway.notify.base import NotifyStore
from gateway.notify.memory import MemoryNotifyStore
from gateway.notify.redis import RedisNotifyStore
from gateway.online.service import rules_of
from gateway.online.store import PARTITIONS, MemoryOnlineStore, OnlineStore, RedisOnlineStore
from gateway.protection.audit import AuditLog, MemoryAuditLog, RedisAuditLog
from gateway.protection.store import ListStore, MemoryListStore, RedisListStore
from gateway.safety.pending import MemoryPending, Pending, RedisPending
from gateway.wechat.access_token import MemoryTokenStorage, TokenStorage


class Stores(NamedTuple):
    """All of them; a new one is a field here, and a line in each of the two functions below.

    Attributes:
        users: over all nodes; None where nobody wants to know of them.
        ledger: what users have uploaded, where other processes have to know it.
    """

    broker: Broker
    presence: PresenceStore
    leaves: LeaveStore
    sessions: SessionStore
    claims: CodeClaims
    access_tokens: TokenStorage
    windows: Windows
    lists: ListStore
    audit: AuditLog
    pending: Pending
    inbox: InboxStore
    totals: Totals
    notifications: NotifyStore
    users: OnlineStore | None
    ledger: Ledger | None


def build_stores(settings: Settings, backend: Backend, node_id: str, metrics: Metrics) -> Stores:
    """As `redis.url` says."""
    if settings.redis.url:
        return _in_redis(settings, backend, node_id, metrics)
    return _in_memory(settings, backend)


def _in_memory(settings: Settings, backend: Backend) -> Stores:
    now = time.time
    broker = MemoryBroker()
    return Stores(
        broker=broker,
        presence=MemoryPresenceStore(settings.channels.presence_ttl),
        leaves=MemoryLeaves(),
        sessions=MemorySessionStore(_cipher(settings), ttl=settings.session.ttl, now=now),
        claims=MemoryCodeClaims(now=now),
        access_tokens=MemoryTokenStorage(),
        windows=MemoryWindows(now),
        lists=MemoryListStore(),
        audit=MemoryAuditLog(),
        pending=MemoryPending(),
        inbox=MemoryInboxStore(broker, _bounds(settings), now),
        totals=MemoryTotals(),
        notifications=MemoryNotifyStore(now),
        users=MemoryOnlineStore(rules_of(settings.online, backend, 1))
        if _wants_users(settings, backend)
        else None,
        ledger=None,
    )


def _in_redis(settings: Settings, backend: Backend, node_id: str, metrics: Metrics) -> Stores:
    now, prefix, cipher = time.time, settings.redis.prefix, _cipher(settings)
    urls = [settings.redis.url, *settings.redis.shards]
    broker = RedisBroker(urls, prefix, node_id, on_error=metrics.broker_error)
    topology = broker.topology
    return Stores(
        broker=broker,
        presence=RedisPresenceStore(broker, settings.channels.presence_ttl),
        leaves=RedisLeaves(topology, prefix),
        sessions=RedisSessionStore(topology, cipher, ttl=settings.session.ttl, now=now),
        claims=RedisCodeClaims(topology, prefix),
        access_tokens=RedisTokenStorage(topology, cipher, prefix, now),
        windows=RedisWindows(topology, prefix, now),
        lists=RedisListStore(topology, prefix),
        audit=RedisAuditLog(topology, prefix),
        pending=RedisPending(topology, prefix),
        inbox=RedisInboxStore(topology, _bounds(settings), now),
        totals=RedisTotals(topology),
        notifications=RedisNotifyStore(topology),
        users=RedisOnlineStore(topology, rules_of(settings.online, backend, PARTITIONS))
        if _wants_users(settings, backend)
        else None,
        ledger=RedisLedger(topology, prefix),
    )


def _cipher(settings: Settings) -> SessionKeyCipher:
    key = settings.session.key()
    return SessionKeyCipher(key.hex()) if key else SessionKeyCipher.random()


def _bounds(settings: Settings) -> Bounds:
    rows = settings.inbox
    return Bounds(rows.user_messages, rows.user_size, rows.status_ttl)


def _wants_users(settings: Settings, backend: Backend) -> bool:
    return settings.online.enabled or bool(backend.user_events)
