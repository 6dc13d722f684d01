"""Users who come and go, and a backend that is told of it: what the tests of `gateway/online` share."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from gateway.auth.token_maker import make_token
from gateway.backend.base import UserEvent
from tests.timing import MS

PATIENCE = 5_000 * MS


class Replay:
    """A backend that keeps of each user what the documentation says, and complains of what must not be."""

    def __init__(self) -> None:
        self.seen: dict[str, UserEvent] = {}
        self.delivered: set[tuple[str, int]] = set()

    def take(self, event: UserEvent) -> None:
        before = self.seen.get(event.user)
        if (event.user, event.id) in self.delivered:
            return  # at least once
        self.delivered.add((event.user, event.id))
        if event.event == "unsubscribe":
            return
        assert before is None or event.id > before.id, f"{event} after {before}: out of order"
        assert before is None or event.generation >= before.generation, f"{event} after {before}: stale"
        here = before is not None and before.event != "disconnect"
        if event.event == "disconnect":
            assert here, f"{event} after {before}: gone twice"
        if not here:
            assert event.event == "online", f"{event} after {before}: it begins with a coming online"
            assert event.generation == event.id, f"{event} after {before}: a new generation"
        self.seen[event.user] = event

    def reconcile(self, position: int, users: Iterable[dict[str, Any]]) -> None:
        """The rule of docs/presence.md for a snapshot."""
        listed = set[str]()
        for each in users:
            listed.add(each["user"])
            before = self.seen.get(each["user"])
            if before is None or each["id"] > before.id:
                kind = each["state"]
                self.seen[each["user"]] = UserEvent(
                    kind, each["user"], each["generation"], each["id"], each["at"]
                )
        for user, event in self.seen.items():
            if user not in listed and event.event != "disconnect" and event.id <= position:
                self.seen[user] = msgspec.structs.replace(event, event="disconnect")

    def states(self) -> dict[str, str]:
        """Who is here."""
        return {user: event.event for user, event in self.seen.items() if event.event != "disconnect"}


class Backend:
    """The team's server: one request for each event, which it takes, or answers with what a test orders.

    Attributes:
        trouble: "", "refuse" (500), "hang" (no answer), "lie" (it does the work and answers 500).
    """

    def __init__(self) -> None:
        self.events: list[UserEvent] = []
        self.replay = Replay()
        self.trouble = ""
        self.port = 0
        self._server: asyncio.Server | None = None
        self.failed: AssertionError | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line is an event; the answer a line."""
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                trouble = self.trouble
                if trouble == "hang":
                    continue
                if trouble != "refuse":
                    self._take(msgspec.json.decode(line, type=UserEvent))
                writer.write(b"no\n" if trouble else b"yes\n")
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _take(self, event: UserEvent) -> None:
        self.events.append(event)
        try:
            self.replay.take(event)
        except AssertionError as error:
            self.failed = self.failed or error

    def kinds(self, user: str) -> list[str]:
        """What came of a user, in order, without repetitions."""
        kinds = dict.fromkeys((each.id, each.event) for each in self.events if each.user == user)
        return [kind for _, kind in kinds]


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    server = Backend()
    await server.start()
    try:
        yield server
    finally:
        await server.close()


HANDLERS = """\
import asyncio

import msgspec

from gateway import ClientError, Error, Gateway

gw = Gateway(timeout=1.0)


async def tell(event):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        writer.write(msgspec.json.encode(event) + b"\\n")
        if await reader.readline() != b"yes\\n":
            raise ClientError(Error(1000, "the backend did not take it"))
    finally:
        writer.close()


for register in (gw.on_online, gw.on_background, gw.on_disconnect, gw.on_unsubscribe):
    register(tell)
"""
"""What runs in the gateway: every event goes to the test's backend, over a connection of its own."""


class Device:
    """One phone of a user, as far as it is of interest who is there."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = 1
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.hidden = False
        self.alive = True
        self.pushes: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def enter(cls, port: int, secret: str, user: str) -> Device | None:
        """A device that is signed in; None where the gateway did not let it in."""
        url = f"ws://127.0.0.1:{port}/connection/websocket"
        try:
            socket = await connect(url, ping_interval=None, proxy=None, close_timeout=0.5, open_timeout=2)
        except (OSError, WebSocketException, TimeoutError):
            return None
        device = cls(socket)
        token = make_token(secret, {"sub": user, "exp": int(time.time()) + 600})
        reply = await device.call("connect", token=token)
        if "connect" not in reply:
            await device.abort()
            return None
        return device

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                for line in str(message).split("\n"):
                    reply = json.loads(line)
                    if "push" in reply:
                        self.pushes.append(reply["push"])
                    future = self._replies.pop(reply.get("id", 0), None)
                    if future is not None and not future.done():
                        future.set_result(reply)
        except ConnectionClosed:
            pass
        finally:
            self.alive = False
            for future in self._replies.values():
                if not future.done():
                    future.set_result({})

    async def call(self, method: str, /, **fields: Any) -> dict[str, Any]:
        """The reply to a command; empty where the socket ended before."""
        self._ids += 1
        number, future = self._ids, asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            await self._socket.send(json.dumps({"id": number, method: fields}))
            async with asyncio.timeout(PATIENCE):
                return dict(await future)
        except (ConnectionClosed, TimeoutError):
            return {}

    async def hide(self, hidden: bool = True) -> None:
        """Only an answer says that the gateway knows it."""
        reply = await self.call("rpc", method="gateway.hide" if hidden else "gateway.show")
        if "rpc" in reply:
            self.hidden = hidden
        else:
            await self.abort()

    async def abort(self) -> None:
        """The network is gone."""
        self._socket.transport.abort()
        await self._end()

    async def close(self) -> None:
        """A close frame, and no more."""
        with suppress(ConnectionClosed, TimeoutError):
            await self._socket.close()
        await self._end()

    async def _end(self) -> None:
        await asyncio.gather(self._reading, return_exceptions=True)
        self.alive = False
