"""What acknowledged delivery costs: a letter beside the same publication without `ack`, and its rpc.

20 users with one connection each get their letters live, 50 each in a turn, by POST /api/batch; each is then
acknowledged by an rpc of its own. Once with everything in memory, once through a real redis-server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket

from bench.driver import BenchError
from bench.measures import MICRO, Plan, cost, running, settle
from bench.redis_path import MORE, redis_server
from bench.report import Row
from bench.servers import API_KEY, GATEWAY_TOML, HMAC_SECRET, Server, bench_token, free_port

USERS = 20
EACH = 50
"""Letters of one user in a turn."""


@asynccontextmanager
async def gateway(redis: bool) -> AsyncIterator[Server]:
    """A gateway with personal channels, on a Redis of its own where asked."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ports = {"websocket": free_port(), "http": free_port(), "internal": free_port()}
        text = GATEWAY_TOML.format(**ports, secret=HMAC_SECRET, key=API_KEY)
        text = text.replace("personal_channel = false", "personal_channel = true")
        if redis:
            server = redis_server()
            await stack.enter_async_context(running(server))
            text += MORE.format(redis=server.ports["redis"])
        (folder / "gateway.toml").write_text(text)
        words = [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "gateway.toml")]
        ours = Server("gateway", words, ports)
        await stack.enter_async_context(running(ours))
        yield ours


class Team:
    """The backend and the phones."""

    def __init__(self, server: Server, http: httpx.AsyncClient, phones: list[ClientConnection]) -> None:
        self._url = f"http://127.0.0.1:{server.ports['internal']}/api/batch"
        self._http = http
        self._phones = phones

    async def publish(self, ack: bool, size: int) -> list[list[str]]:
        """EACH to every user; the ids by user."""
        ids: list[list[str]] = [[] for _ in range(USERS)]
        for _ in range(EACH // 10):
            some = [
                {
                    "publish": {
                        "channel": f"#user-{user}",
                        "data": "x" * size,
                        **({"ack": True} if ack else {}),
                    }
                }
                for user in range(USERS)
                for _ in range(10)
            ]
            answer = await self._http.post(
                self._url, json={"commands": some, "parallel": True}, headers={"X-API-Key": API_KEY}
            )
            replies = answer.json()["replies"]
            for number, reply in enumerate(replies):
                if ack:
                    ids[number // 10].append(reply["publish"]["id"])
        await asyncio.gather(*(self._heard(phone, EACH) for phone in self._phones))
        return ids

    async def acknowledge(self, ids: list[list[str]]) -> None:
        """One rpc for each letter, all of a user on their way at once."""
        await asyncio.gather(*map(self._acknowledge, self._phones, ids))

    @staticmethod
    async def _acknowledge(phone: ClientConnection, ids: list[str]) -> None:
        for number, each in enumerate(ids):
            await phone.send(
                json.dumps({"id": 10 + number, "rpc": {"method": "ack", "data": {"ids": [each]}}})
            )
        await Team._heard(phone, len(ids))

    @staticmethod
    async def _heard(phone: ClientConnection, count: int) -> None:
        async with asyncio.timeout(20):
            while count > 0:
                lines: list[Any] = [json.loads(line) for line in str(await phone.recv()).splitlines()]
                if any("error" in line for line in lines):
                    raise BenchError(f"a phone was refused: {lines}")
                count -= len(lines)


async def inbox(plan: Plan) -> list[Row]:
    """Letters and acknowledgements, in memory and through Redis."""
    rows: list[Row] = []
    for place in ("memory", "Redis"):
        letter = Row(f"a letter to a phone that is here, {place}", "µs/letter", note="reference: without ack")
        ack = Row(f"its acknowledgement by rpc, {place}", "µs/ack")
        rows += [letter, ack]
        async with gateway(place == "Redis") as server, AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=20))
            url = f"ws://127.0.0.1:{server.ports['websocket']}/connection/websocket"
            phones = []
            for user in range(USERS):
                phone = await stack.enter_async_context(connect_socket(url, compression=None))
                await phone.send(json.dumps({"id": 1, "connect": {"token": bench_token(f"user-{user}")}}))
                await phone.recv()
                phones.append(phone)
            await measure(plan, server, Team(server, http, phones), letter, ack)
    return rows


async def measure(plan: Plan, server: Server, team: Team, letter: Row, ack: Row) -> None:
    """The first round warms up."""
    count, turns = USERS * EACH, plan.of(6)
    for number in range(plan.rounds + 1):
        plain = sent = acknowledged = 0.0
        for _ in range(turns):
            plain += await cost(server, team.publish(ack=False, size=plan.size))
            before = server.cpu()
            ids = await team.publish(ack=True, size=plan.size)
            await settle(server)
            sent += (server.cpu() - before) * MICRO
            acknowledged += await cost(server, team.acknowledge(ids))
        if number:
            letter.reference.append(plain / (turns * count))
            letter.ours.append(sent / (turns * count))
            ack.ours.append(acknowledged / (turns * count))
