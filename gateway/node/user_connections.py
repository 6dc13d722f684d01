"""How many connections a user may have, over all nodes.

In one process the hub knows them all. Nodes that share a broker list each user's connections in the presence
store, under a channel that no client can name, with the time at which each came; whoever is past the limit by
that time has to go, wherever it is connected. An entry whose node died ages out like any presence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.brokers.base import PresenceStore
from gateway.client import Client
from gateway.config.client import Client as ClientSettings
from gateway.errors import (
    DISCONNECT_CONNECTION_LIMIT,
    DISCONNECT_REPLACED,
    ClientError,
    Disconnect,
    UpstreamError,
)
from gateway.hub import Hub
from gateway.protocol import ClientInfo, parse_raw, raw

REFRESHED_AT_A_TIME: Final = 200

log = structlog.get_logger()


class UserConnections:
    """Keeps users within their limit.

    Arguments:
        registry: where all nodes list connections; None: the hub of this process has them all.
        wall: unix seconds.
        disconnect: ends a connection of a user on whichever node it is.
    """

    def __init__(
        self,
        settings: ClientSettings,
        hub: Hub,
        registry: PresenceStore | None,
        *,
        wall: Callable[[], float],
        disconnect: Callable[[str, str, Disconnect], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        single = settings.personal_channel_single_connection
        self._limit = 1 if single else settings.user_connection_limit
        self._refuse = settings.user_connection_policy == "refuse" and not single
        self._replaced = DISCONNECT_CONNECTION_LIMIT if single else DISCONNECT_REPLACED
        self._hub = hub
        self._registry = registry
        self._wall = wall
        self._disconnect = disconnect
        self._spawn = spawn

    async def enter(self, client: Client) -> None:
        """`client` is in the hub; make room for it. Raises ClientError where it is the one too many."""
        if not self._limit or not client.user:
            return
        present = await self._list(client)
        surplus = len(present) - self._limit
        if surplus <= 0:
            return
        if self._refuse:
            # Of several that came at once, those who came first stay.
            if client.id in present[self._limit :]:
                raise ClientError(
                    DISCONNECT_CONNECTION_LIMIT, "the user has as many connections as are allowed"
                )
            return
        for oldest in present[:surplus]:
            if oldest != client.id:
                await self._disconnect(client.user, oldest, self._replaced)

    async def _list(self, client: Client) -> list[str]:
        """The ids of the user's connections, oldest first."""
        if self._registry is None:
            return [each.id for each in self._hub.of_user(client.user)]
        name = _name(client.user)
        await self._registry.add(name, client.id, self._entry(client))
        entries = await self._registry.get(name)
        return sorted(entries, key=lambda each: (_came(entries[each]), each))

    def _entry(self, client: Client) -> ClientInfo:
        if not client.entered_at:
            client.entered_at = self._wall()
        return ClientInfo(client.user, client.id, raw(client.entered_at))

    def leave(self, client: Client) -> None:
        """`client` is gone."""
        if self._registry is not None and client.entered_at:
            self._spawn(self._remove(self._registry, client))

    async def _remove(self, registry: PresenceStore, client: Client) -> None:
        try:
            await registry.remove(_name(client.user), client.id, client.user)
        except UpstreamError as error:  # the entry ages out by itself
            log.debug("a connection is still listed", client=client.id, problem=error.detail)

    async def refresh(self) -> None:
        """Keep the entries of this process's connections alive."""
        registry = self._registry
        if registry is None:
            return
        listed = [each for each in self._hub.clients.values() if each.entered_at]
        for start in range(0, len(listed), REFRESHED_AT_A_TIME):
            portion = [each for each in listed[start : start + REFRESHED_AT_A_TIME] if each.is_open]
            await asyncio.gather(
                *(registry.add(_name(each.user), each.id, self._entry(each)) for each in portion)
            )


def _name(user: str) -> str:
    """A channel that no client can name, because names have no control characters."""
    return f"\x1fuser:{user}"


def _came(entry: ClientInfo) -> float:
    value = parse_raw(entry.conn_info)
    return value if isinstance(value, float) else 0.0
