"""Which server has which channel: one server, several, a master that Sentinels name, or a cluster.

`Topology` is what the broker, the presence store and the publisher know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from gateway.brokers.redis_cluster import Cluster
from gateway.brokers.redis_connection import CommandFailure, Connection
from gateway.brokers.redis_handshake import open_connection
from gateway.brokers.redis_keys import Keys, Request, shard_of
from gateway.brokers.redis_server import Listener, Server, Tuning
from gateway.brokers.redis_url import Endpoint, RedisURL, parse_url
from gateway.errors import UpstreamError


class Topology(Protocol):
    keys: Keys

    async def start(self) -> None:
        """Raises UpstreamError with one line where a server cannot be used."""

    async def close(self) -> None: ...

    @property
    def servers(self) -> Sequence[Server]: ...

    @property
    def problem(self) -> str: ...

    async def call(self, channel: str, request: Request) -> Any:
        """A command about one channel. Raises UpstreamError."""

    def post(self, channel: str, request: Request) -> asyncio.Future[Any]:
        """Queue a command; give what the future yields to `settle` where it is a CommandFailure."""

    async def settle(self, channel: str, request: Request, failure: CommandFailure) -> Any:
        """Send a command again where that is safe; the reply, or UpstreamError."""

    async def subscribe(self, channel: str) -> None:
        """Hear what is published into `channel`. Raises UpstreamError."""

    def unsubscribe(self, channel: str) -> None: ...

    async def listen(self, name: bytes) -> None:
        """Hear what is published under a name that belongs to no channel. Raises UpstreamError."""

    async def publish(self, name: bytes, payload: bytes) -> None:
        """Publish under such a name. Raises UpstreamError."""


class Fixed:
    """One server, or several that share the channels by a hash of their names."""

    def __init__(self, servers: list[Server], keys: Keys) -> None:
        self.servers: Sequence[Server] = servers
        self.keys = keys
        self._count = len(servers)

    async def start(self) -> None:
        starts = (server.start() for server in self.servers)
        # All are awaited, also when one failed: what is still starting could not be closed.
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        await asyncio.gather(*(server.close() for server in self.servers))

    @property
    def problem(self) -> str:
        return "; ".join(server.problem for server in self.servers if server.problem)

    def _server(self, channel: str) -> Server:
        return self.servers[shard_of(channel, self._count) if self._count > 1 else 0]

    async def call(self, channel: str, request: Request) -> Any:
        return await self._server(channel).call(request)

    def post(self, channel: str, request: Request) -> asyncio.Future[Any]:
        return self._server(channel).post(request)

    async def settle(self, channel: str, request: Request, failure: CommandFailure) -> Any:
        return await self._server(channel).settle(request, failure)

    async def subscribe(self, channel: str) -> None:
        for verb, name in self.keys.names(channel):
            await self._server(channel).subscribe(name, verb)

    def unsubscribe(self, channel: str) -> None:
        for _, name in self.keys.names(channel):
            self._server(channel).unsubscribe(name)

    async def listen(self, name: bytes) -> None:
        """On every server: `publish` takes whichever is there."""
        for server in self.servers:
            await server.subscribe(name)

    async def publish(self, name: bytes, payload: bytes) -> None:
        servers = sorted(self.servers, key=lambda server: bool(server.problem))
        await servers[0].call(Request(("PUBLISH", name, payload)))


def make_topology(
    urls: Sequence[str],
    prefix: str,
    client_name: str,
    tuning: Tuning,
    listener: Listener | None = None,
) -> Topology:
    """Raises UpstreamError with one line where a URL is wrong."""
    if not urls:
        raise UpstreamError(detail="no Redis URL is given")
    parsed = [parse_url(url) for url in urls]
    if any(url.kind == "cluster" for url in parsed):
        if len(parsed) > 1:
            raise UpstreamError(detail="a redis+cluster:// URL stands alone: the cluster shares the channels")
        keys = Keys(prefix, sharded=True)
        return Cluster(parsed[0].endpoints, keys, client_name, tuning, listener)
    servers = [
        Server(_locator(url, client_name, tuning), "single", client_name, tuning, listener) for url in parsed
    ]
    return Fixed(servers, Keys(prefix))


def _locator(url: RedisURL, client_name: str, tuning: Tuning) -> Callable[[], Any]:
    if url.kind == "sentinel":
        return Sentinels(url, client_name, tuning).locate

    async def always() -> Endpoint:
        return url.endpoints[0]

    return always


class Sentinels:
    """Asks which server is the master now, whenever a connection is opened."""

    def __init__(self, url: RedisURL, client_name: str, tuning: Tuning) -> None:
        self._url = url
        self._sentinels = list(url.endpoints)
        self._client_name = client_name
        self._tuning = tuning

    async def locate(self) -> Endpoint:
        """The master's address. Raises UpstreamError with what the Sentinels said."""
        problems = []
        for sentinel in list(self._sentinels):
            try:
                address = await self._ask(sentinel)
            except UpstreamError as error:
                problems.append(str(error))
                continue
            # The one that answers is asked first next time.
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return self._url.master.at(*address)
        raise UpstreamError(detail="; ".join(problems))

    async def _ask(self, sentinel: Endpoint) -> tuple[str, int]:
        timeout = self._tuning.timeout
        connection, hello = await open_connection(
            sentinel, partial(Connection, timeout), self._client_name, timeout
        )
        try:
            if hello.get("mode") != "sentinel":
                raise UpstreamError(detail=f"Redis at {sentinel}: this is no Sentinel")
            reply = await connection.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.master_name)
        except CommandFailure as failure:
            raise UpstreamError(detail=f"Sentinel at {sentinel}: {failure}") from None
        finally:
            connection.abort("asked")
        if not reply:
            raise UpstreamError(
                detail=f"Sentinel at {sentinel}: it knows no master {self._url.master_name!r}"
            )
        return reply[0].decode(), int(reply[1])
