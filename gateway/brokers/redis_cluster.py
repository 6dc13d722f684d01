"""A Redis Cluster: which of its nodes has the slot of a channel, and what happens when that changes.

Messages go through sharded pub/sub (Redis 7): SPUBLISH and SSUBSCRIBE on the node that has the channel's
keys. A plain PUBLISH, which the cluster spreads to all of its nodes, is heard, too.

The map of slots is read again when a node redirects us, when one is away, and now and then. A channel whose
slot moved is subscribed to at its new node, and a gap is told: its messages may have been missed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.crc import key_slot

from gateway.brokers.redis_connection import CommandFailure, Connection, ReplyError
from gateway.brokers.redis_handshake import check_server, open_connection
from gateway.brokers.redis_keys import Keys, Request
from gateway.brokers.redis_server import RETRY_DELAY, Listener, MovedError, Server, Tuning
from gateway.brokers.redis_url import Endpoint
from gateway.errors import ERROR_BAD_REQUEST, UpstreamError

log = logging.getLogger("gateway.redis")

Slots = list[tuple[int, int, Endpoint]]

MOVE_BATCH = 1000
"""Names that are subscribed to at their new node at once."""

REDIRECTIONS = 5
"""Redirections that one subscription follows."""

WATCH_INTERVAL = 0.5
"""Seconds between two looks at the nodes; the map is read again only if something is wrong with one."""


class Cluster:
    """See the module; `seeds` are some of its nodes, enough to ask one of them for the rest."""

    def __init__(
        self,
        seeds: Sequence[Endpoint],
        keys: Keys,
        client_name: str,
        tuning: Tuning,
        listener: Listener | None,
    ) -> None:
        self.keys = keys
        self._seeds = list(seeds)
        self._make = partial(
            Server, mode="cluster", client_name=client_name, tuning=tuning, listener=listener
        )
        self._client_name = client_name
        self._tuning = tuning
        self._listener = listener
        self._servers: dict[str, Server] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._slots: list[str] = []
        self._subscribed: dict[bytes, tuple[bytes, int, str]] = {}
        """Names that are listened to: verb, slot, and the address of the node that was asked."""
        self._refreshing: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._problem = ""

    # ------------------------------------------------------------------ life
    async def start(self) -> None:
        await self._adopt(await self._read_map())
        self._watcher = asyncio.create_task(self._watch(), name="redis-cluster")

    async def close(self) -> None:
        for task in (self._watcher, self._refreshing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    @property
    def servers(self) -> Sequence[Server]:
        return list(self._servers.values())

    @property
    def problem(self) -> str:
        return "; ".join([server.problem for server in self.servers if server.problem] + self._problems())

    def _problems(self) -> list[str]:
        return [self._problem] if self._problem else []

    # ------------------------------------------------------------------ commands
    async def call(self, channel: str, request: Request) -> Any:
        return await self._follow(self._slot(channel), request)

    def post(self, channel: str, request: Request) -> asyncio.Future[Any]:
        return self._servers[self._slots[self._slot(channel)]].post(request)

    async def settle(self, channel: str, request: Request, failure: CommandFailure) -> Any:
        slot = self._slot(channel)
        try:
            return await self._servers[self._slots[slot]].settle(request, failure)
        except MovedError as moved:
            return await self._redirect(slot, request, moved)

    async def _follow(self, slot: int, request: Request) -> Any:
        try:
            return await self._servers[self._slots[slot]].call(request)
        except MovedError as moved:
            return await self._redirect(slot, request, moved)

    async def _redirect(self, slot: int, request: Request, moved: MovedError) -> Any:
        """Follow redirections until the timeout: while a slot moves, they may lead to and fro."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._tuning.timeout
        while loop.time() < deadline:
            code, _, address = moved.detail.split(" ", 2)
            if code == "ASK" and address in self._servers:
                reply = await self._ask_there(self._servers[address], request)
                if reply is not None:
                    return reply
            else:
                await self._refresh()
            try:
                return await self._servers[self._slots[slot]].call(request)
            except MovedError as again:
                moved = again
                await asyncio.sleep(RETRY_DELAY)
        raise UpstreamError(detail=f"Redis: redirected for too long: {moved.detail}")

    async def _ask_there(self, server: Server, request: Request) -> Any:
        """The slot is on its way: this one command goes to where it will be. None: try again.

        It is not settled as others are: each attempt needs an ASKING of its own.
        """
        server.post(Request(("ASKING",)))
        reply = await server.post(request)
        if not isinstance(reply, CommandFailure):
            return reply
        if isinstance(reply, ReplyError) and reply.code in ("TRYAGAIN", "MOVED", "NOSCRIPT"):
            return None
        raise UpstreamError(detail=f"Redis at {server.endpoint}: {reply}")

    def _slot(self, channel: str) -> int:
        if channel.startswith("}"):  # the hash tag would be empty and the keys in different slots
            raise UpstreamError(ERROR_BAD_REQUEST, "a channel of a Redis Cluster cannot begin with }")
        return int(key_slot(self.keys.meta(channel).encode()))

    # ------------------------------------------------------------------ messages
    async def subscribe(self, channel: str) -> None:
        slot = self._slot(channel)
        for verb, name in self.keys.names(channel):
            await self._subscribe(verb, name, slot)

    def unsubscribe(self, channel: str) -> None:
        for _, name in self.keys.names(channel):
            self._unsubscribe(name)

    async def listen(self, name: bytes) -> None:
        await self._subscribe(b"SSUBSCRIBE", name, int(key_slot(name)))

    async def publish(self, name: bytes, payload: bytes) -> None:
        await self._follow(int(key_slot(name)), Request(("SPUBLISH", name, payload)))

    async def _subscribe(self, verb: bytes, name: bytes, slot: int) -> None:
        try:
            for _ in range(REDIRECTIONS):
                address = self._slots[slot]
                self._subscribed[name] = (verb, slot, address)
                try:
                    return await self._servers[address].subscribe(name, verb)
                except MovedError:
                    await self._refresh()
            raise UpstreamError(detail="Redis: redirected too often while subscribing")
        except BaseException:
            self._unsubscribe(name)
            raise

    def _unsubscribe(self, name: bytes) -> None:
        _, _, address = self._subscribed.pop(name, (b"", 0, ""))
        if address in self._servers:
            self._servers[address].unsubscribe(name)

    # ------------------------------------------------------------------ the map of slots
    async def _refresh(self) -> None:
        """Read the map again; whoever asks for it meanwhile waits for the same reading."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._reread(), name="redis-cluster-map")
        await asyncio.shield(self._refreshing)

    async def _reread(self) -> None:
        await self._adopt(await self._read_map())
        self._problem = ""

    async def _read_map(self) -> Slots:
        """From the first node that answers, known ones first. Raises UpstreamError."""
        problems = []
        for endpoint in [*self._endpoints.values(), *self._seeds]:
            try:
                return await self._ask(endpoint)
            except UpstreamError as error:
                problems.append(str(error))
        raise UpstreamError(detail="; ".join(problems))

    async def _ask(self, endpoint: Endpoint) -> Slots:
        timeout = self._tuning.timeout
        connection, hello = await open_connection(
            endpoint, partial(Connection, timeout), self._client_name, timeout
        )
        try:
            check_server(hello, endpoint, "cluster")
            version = hello.get("version", "")
            if version.startswith("6."):
                raise UpstreamError(detail=f"Redis at {endpoint}: version {version}: a cluster needs Redis 7")
            reply = await connection.command("CLUSTER", "SLOTS")
        except CommandFailure as failure:
            raise UpstreamError(detail=f"Redis at {endpoint}: {failure}") from None
        finally:
            connection.abort("asked")
        slots = [(row[0], row[1], _master(endpoint, row[2])) for row in reply]
        if sum(last - first + 1 for first, last, _ in slots) < 16384:
            raise UpstreamError(detail=f"Redis at {endpoint}: the cluster does not cover all slots now")
        return slots

    async def _adopt(self, slots: Slots) -> None:
        """Enter new nodes, then switch to the new map, then leave old nodes."""
        endpoints = {str(endpoint): endpoint for _, _, endpoint in slots}
        fresh = {}
        try:
            for address, endpoint in endpoints.items():
                if address not in self._servers:
                    fresh[address] = self._make(_always(endpoint))
                    await fresh[address].start()
        except BaseException:
            await asyncio.gather(*(server.close() for server in fresh.values()))
            raise
        gone = [self._servers.pop(address) for address in list(self._servers) if address not in endpoints]
        self._servers.update(fresh)
        self._endpoints = endpoints
        self._slots = [""] * 16384
        for first, last, endpoint in slots:
            self._slots[first : last + 1] = [str(endpoint)] * (last - first + 1)
        await asyncio.gather(*(server.close() for server in gone))
        await self._move_subscriptions()

    async def _move_subscriptions(self) -> None:
        """Subscribe at its new node to what has moved. Raises UpstreamError; the next reading tries again."""
        moved = [
            name for name, (_, slot, address) in self._subscribed.items() if self._slots[slot] != address
        ]
        for start in range(0, len(moved), MOVE_BATCH):
            await asyncio.gather(*map(self._move, moved[start : start + MOVE_BATCH]))

    async def _move(self, name: bytes) -> None:
        if name not in self._subscribed:
            return
        verb, slot, address = self._subscribed[name]
        if address in self._servers:
            self._servers[address].unsubscribe(name)
        target = self._slots[slot]
        # Nowhere, until Redis has confirmed it: so that a failure leaves it to the next reading.
        self._subscribed[name] = (verb, slot, "")
        try:
            await self._servers[target].subscribe(name, verb)
        except UpstreamError:
            self._servers[target].displaced = True
            raise
        if name not in self._subscribed:  # given up meanwhile
            self._servers[target].unsubscribe(name)
            return
        self._subscribed[name] = (verb, slot, target)
        if self._listener is not None:
            self._listener.on_gap([name])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if not any(server.problem or server.displaced for server in self._servers.values()):
                continue
            for server in self._servers.values():
                server.displaced = False
            try:
                await self._refresh()
            except UpstreamError as error:
                self._problem = str(error)
                log.debug("the map of the cluster: %s", error)


def _master(asked: Endpoint, node: Sequence[Any]) -> Endpoint:
    """Where the node is; it leaves its host out where it does not know how it is called."""
    host = node[0].decode() if node[0] else asked.host
    return asked.at(host, int(node[1]))


def _always(endpoint: Endpoint) -> Any:
    async def locate() -> Endpoint:
        return endpoint

    return locate
