"""Builds what looks after users: the guard at the door, the lists of connections, traces, the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.auth.sessions import SessionStore
from gateway.brokers.base import PresenceStore
from gateway.config import Settings
from gateway.http.api_protection import ProtectionMethods
from gateway.node.node import Node
from gateway.protection.addresses import AddressConnections
from gateway.protection.audit import Audit, AuditLog
from gateway.protection.connections import Connections
from gateway.protection.guard import Guard
from gateway.protection.store import ListStore
from gateway.protection.trace import Tracer
from gateway.websocket.tracing import attach, detach


@dataclass(frozen=True, slots=True)
class ProtectionParts:
    """All of it."""

    node: Node
    guard: Guard
    connections: Connections
    tracer: Tracer
    audit: Audit
    addresses: AddressConnections

    async def start(self, settings: Settings) -> None:
        """Read who is blocked, before anybody is let in. Raises UpstreamError."""
        await self.guard.start()
        self.addresses.start(settings.channels.presence_interval)

    def methods(self, sessions: SessionStore, appids: Callable[[], Iterable[str]]) -> ProtectionMethods:
        """For the server API. `appids`: of the mini-programs as they are configured now."""
        return ProtectionMethods(self.node, self.guard, self.connections, sessions, self.audit, appids)

    async def close(self) -> None:
        """End what runs."""
        await self.tracer.close()
        await self.guard.close()
        await self.addresses.close()


def build_protection(
    settings: Settings, node: Node, presence: PresenceStore, lists: ListStore, audit: AuditLog
) -> ProtectionParts:
    """Everything, not started: the lists are read once the broker is there."""
    return ProtectionParts(
        node,
        Guard(node, lists),
        Connections(node),
        Tracer(node, attach=attach, detach=detach, clock=time.monotonic),
        Audit(audit, time.time),
        AddressConnections(
            settings.client.address_connection_limit, presence if settings.redis.url else None, node.spawn
        ),
    )
