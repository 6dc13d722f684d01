"""Builds what all connections of the process share."""

from __future__ import annotations

import time
from typing import Final

from gateway.assembly.backend import kept_headers
from gateway.assembly.inbox import InboxParts
from gateway.assembly.protection import ProtectionParts
from gateway.assembly.safety import SafetyParts
from gateway.assembly.sign_in import SignInParts
from gateway.backend.base import Backend
from gateway.client import Limits
from gateway.config import Settings
from gateway.deadlines import Deadlines
from gateway.metrics import Counts, Metrics
from gateway.node.node import Node
from gateway.online.service import Online
from gateway.outbox import Outboxes
from gateway.sockets import connections_possible
from gateway.websocket.commands import Commands
from gateway.websocket.connecting import Connecting
from gateway.websocket.connection import Connection, Shared
from gateway.websocket.dispatch import Dispatcher
from gateway.websocket.expiry import Expiry
from gateway.websocket.handshake import Handshakes
from gateway.websocket.peers import Peers

SWEEPS_PER_INTERVAL: Final = 20
"""How finely the shortest deadline is kept: a ping timeout of 8 s is noticed within 0.4 s."""


def build_sockets(
    settings: Settings,
    node: Node,
    backend: Backend,
    who: SignInParts,
    protection: ProtectionParts,
    inbox: InboxParts,
    online: Online,
    safety: SafetyParts,
    outboxes: Outboxes,
    metrics: Metrics,
) -> Shared:
    """All of it; the gauges of `metrics` are read from it."""
    clock = time.monotonic
    connecting = Connecting(
        settings,
        node,
        who.authenticator,
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
        who.tokens,
        backend,
        builtins={**inbox.builtins, **online.builtins},
        texts=safety.texts,
        wall=time.time,
    )
    limits = _limits(settings)
    rows = settings.websocket
    shared = Shared(
        node=node,
        connecting=connecting,
        expiry=Expiry(node, backend, clock=clock),
        dispatcher=Dispatcher(commands, metrics, clock),
        outboxes=outboxes,
        handshakes=Handshakes(
            Peers(rows.trusted_proxies, rows.allowed_origins),
            message_limit=rows.message_size_limit,
            compression=rows.compression,
            kept_headers=kept_headers(settings),
        ),
        deadlines=Deadlines(sweep_interval(limits), clock()),
        metrics=metrics,
        limits=limits,
        message_limit=rows.message_size_limit,
        queue_size=rows.queue_size,
        max_connections=settings.client.max_connections or connections_possible(),
        clock=clock,
        connections=set(),
    )
    shared.tap = protection.tracer.tap
    metrics.watch(lambda: _counts(node, shared.connections))
    return shared


def sweep_interval(limits: Limits) -> float:
    """Seconds between two looks at the deadlines."""
    shortest = min(limits.ping_interval, limits.pong_timeout, limits.first_message_timeout)
    return min(1.0, max(0.005, shortest / SWEEPS_PER_INTERVAL))


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


def _counts(node: Node, connections: set[Connection]) -> Counts:
    hub = node.hub
    return Counts(
        connections=len(connections),
        users=hub.num_users,
        subscriptions=hub.num_subscriptions,
        channels=hub.num_channels,
        outbox_bytes=sum(each.waiting_bytes for each in connections),
    )
