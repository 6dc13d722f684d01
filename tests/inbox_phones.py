"""Devices that keep the letters they get, and a gateway for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.auth.token_maker import make_token
from tests.gateway_process import unique
from tests.raw_ws import RawSocket, text
from tests.timing import MS
from tests.wx_world import World, running

KEY = "an api key that only the tests know"
SECRET = "a secret that only the tests know, long enough"


class Device:
    """One device of a user; `letters` are the ids in the order in which they came."""

    def __init__(self, socket: RawSocket) -> None:
        self.socket = socket
        self.letters: list[str] = []
        self.data: list[Any] = []
        self.connected: dict[str, Any] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())
        self._next = 0

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, AssertionError, ConnectionError):
            while True:
                try:
                    reply = await self.socket.reply()
                except TimeoutError:  # nothing was said for a while
                    continue
                publication = reply.get("push", {}).get("pub")
                if publication is not None:
                    self.data.append(publication["data"])
                    if "ack" in publication.get("tags", {}):
                        assert "offset" not in publication
                        self.letters.append(publication["tags"]["ack"])
                elif reply.get("id") in self._answers:
                    self._answers.pop(reply["id"]).set_result(reply)

    async def ask(self, **command: Any) -> Any:
        self._next += 1
        answer = self._answers[self._next] = asyncio.get_running_loop().create_future()
        await self.socket.send(text({"id": self._next, **command}))
        async with asyncio.timeout(5_000 * MS):
            return await answer

    async def rpc(self, method: str, data: Any) -> Any:
        reply = await self.ask(rpc={"method": method, "data": data})
        return reply["error"] if "error" in reply else reply["rpc"]["data"]

    async def ack(self, *ids: str) -> list[str]:
        answer = await self.rpc("ack", {"ids": list(ids)})
        return list(answer["acknowledged"])

    async def leave(self) -> None:
        """As a phone whose network is gone."""
        await self.socket.__aexit__()
        await self._reader


class Backend:
    """What the team's backend does."""

    def __init__(self, worlds: list[World]) -> None:
        self.worlds = worlds
        self.devices: list[Device] = []
        self.prefix = ""
        """Of the keys in Redis."""

    async def call(self, method: str, node: int = 0, **params: Any) -> Any:
        """The whole answer."""
        url = f"http://127.0.0.1:{self.worlds[node].server.ports['internal']}/api/{method}"
        answer = await self.worlds[node].http.post(url, json=params, headers={"X-API-Key": KEY})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def result(self, method: str, node: int = 0, **params: Any) -> Any:
        answer = await self.call(method, node, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def letter(self, user: str, data: Any, node: int = 0, **params: Any) -> str:
        """Publish with `ack`; the id."""
        result = await self.result("publish", node, channel=f"#{user}", data=data, ack=True, **params)
        assert result.keys() == {"id"}
        return str(result["id"])

    async def status(self, letter: str) -> str:
        return str((await self.result("delivery", id=letter))["status"])

    async def device(self, user: str, node: int = 0, **connect: Any) -> Device:
        """A device that has connected."""
        socket = await RawSocket.open(self.worlds[node].server.ports["websocket"])
        device = Device(socket)
        self.devices.append(device)
        token = {"token": make_token(SECRET, {"sub": user})} if user else {}
        reply = await device.ask(connect={**token, **connect})
        device.connected = reply["connect"]
        return device

    async def settled(self) -> None:
        """Long enough for whatever should not come."""
        await asyncio.sleep(50 * MS)


@contextlib.asynccontextmanager
async def backend(nodes: int = 1, redis_url: str = "", **tables: Any) -> AsyncIterator[Backend]:
    """A gateway of one node, or of several around a Redis."""
    shared: dict[str, Any] = {
        "api": {"keys": [KEY]},
        "client": {"token_hmac_secret": SECRET},
        **tables,
    }
    if redis_url:
        shared["redis"] = {"url": redis_url, "prefix": unique("t")}
        shared["session"] = {"encryption_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    async with contextlib.AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(running(**shared)) for _ in range(nodes)]
        team = Backend(worlds)
        team.prefix = shared.get("redis", {}).get("prefix", "")
        try:
            yield team
        finally:
            for device in team.devices:
                await device.leave()
