"""How many connections one address may have, over all nodes.

Each node knows its own; nodes that share a broker list them in the presence store too, under a channel that
no client can name. An entry whose node died ages out like any presence. An IPv6 address counts as its /64.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.auth.addresses import network_of
from gateway.brokers.base import PresenceStore
from gateway.client import Client
from gateway.errors import ERROR_ADDRESS_LIMIT, ClientError, UpstreamError
from gateway.protocol import ClientInfo

REFRESHED_AT_A_TIME: Final = 200

log = structlog.get_logger()


class AddressConnections:
    """Keeps addresses within their limit.

    Arguments:
        limit: 0 is none; then nothing is counted.
        registry: where all nodes list connections; None: this process has them all.
    """

    def __init__(
        self,
        limit: int,
        registry: PresenceStore | None,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._limit = limit
        self._registry = registry
        self._spawn = spawn
        self._here: dict[str, set[str]] = {}
        self._timer: asyncio.Task[None] | None = None

    def start(self, interval: float) -> None:
        """Renew the entries of this node every `interval` seconds."""
        if self._limit and self._registry is not None:
            self._timer = asyncio.create_task(self._refresh_forever(interval), name="addresses")

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)

    async def enter(self, client: Client) -> None:
        """Count one more. Raises ClientError 408 where that is too many."""
        if not self._limit or not client.ip:
            return
        network = network_of(client.ip)
        here = self._here.setdefault(network, set())
        here.add(client.id)
        count, registry = len(here), self._registry
        if count <= self._limit and registry is not None:
            await registry.add(_name(network), client.id, ClientInfo("", client.id))
            count = (await registry.stats(_name(network))).num_clients
            if client.id not in here:  # it left meanwhile, perhaps before it was listed
                self._spawn(self._remove(registry, network, client.id))
        if count > self._limit:
            raise ClientError(ERROR_ADDRESS_LIMIT, f"at most {self._limit}")

    def leave(self, client: Client) -> None:
        """One less, if it was counted."""
        if not self._here:
            return
        network = network_of(client.ip)
        here = self._here.get(network)
        if here is None or client.id not in here:
            return
        here.discard(client.id)
        if not here:
            del self._here[network]
        if self._registry is not None:
            self._spawn(self._remove(self._registry, network, client.id))

    async def _remove(self, registry: PresenceStore, network: str, client: str) -> None:
        try:
            await registry.remove(_name(network), client, "")
        except UpstreamError as error:  # the entry ages out by itself
            log.debug("an address is still listed", client=client, problem=error.detail)

    async def _refresh_forever(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self.refresh()
            except UpstreamError as error:
                log.warning("the connections of addresses could not be listed", problem=error.detail)

    async def refresh(self) -> None:
        """Keep the entries of this process's connections alive."""
        registry = self._registry
        if registry is None:
            return
        listed = [(network, client) for network, here in self._here.items() for client in here]
        for start in range(0, len(listed), REFRESHED_AT_A_TIME):
            await asyncio.gather(
                *(
                    registry.add(_name(network), client, ClientInfo("", client))
                    for network, client in listed[start : start + REFRESHED_AT_A_TIME]
                    if client in self._here.get(network, ())
                )
            )


def _name(network: str) -> str:
    """A channel that no client can name, because names have no control characters."""
    return f"\x1faddress:{network}"
