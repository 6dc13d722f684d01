"""What the tests of several processes share: real gateways on a real Redis, people on them, and their API."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from chaos.team import API_KEY, HMAC_SECRET, Team, readiness
from gateway.auth.token_maker import make_token
from tests import timing
from tests.raw_ws import RawSocket, request
from tests.sdk.phone import Phone
from tests.sdk.python_phone import PythonPhone
from tests.timing import MS

START = 30_000 * MS
"""Seconds within which a gateway of several processes is ready, also on a busy machine."""
PATIENCE = 20_000 * MS

MORE = """
[channels.namespaces.chat]
presence = true
history_size = 100
history_ttl = "5m"
force_recovery = true
allow_subscribe_for_client = true
[channels.namespaces.plain]
allow_subscribe_for_client = true
"""


def token(user: str, secret: str = HMAC_SECRET, **claims: Any) -> str:
    """A connection token."""
    return make_token(secret, {"sub": user, "exp": int(time.time()) + 3600, **claims})


async def api(
    team: Team, method: str, /, *, port: int = 0, key: str = API_KEY, **params: Any
) -> dict[str, Any]:
    """The whole answer of one server API call, to the team's HTTP process or to another port."""
    url = f"http://127.0.0.1:{port or team.ports['internal'][0]}/api/{method}"
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        answer = await http.post(url, json=params, headers={"X-API-Key": key})
    return dict(answer.json()) if answer.content else {"status": answer.status_code}


async def result(team: Team, method: str, /, **params: Any) -> dict[str, Any]:
    """The result of a call that must succeed."""
    answer = await api(team, method, **params)
    assert "result" in answer, answer
    return dict(answer["result"])


def refusal(team: Team) -> str:
    """The one line with which `gateway serve` ends."""
    try:
        team.spawn()
        assert team.wait(START) == 1
    finally:
        team.close()
    lines = team.log().splitlines()
    assert len(lines) == 1, team.log()
    assert lines[0].startswith("gateway cannot start: ")
    return lines[0]


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str, within: float = PATIENCE
) -> None:
    """`timing.until` with the patience that several processes need."""
    await timing.until(condition, what, within=within)


async def ready(port: int) -> bool:
    return (await asyncio.to_thread(readiness, port))[0] == 200


class People:
    """Phones of one test, of the Python SDK; all are ended with it."""

    def __init__(self) -> None:
        self._phones: list[Phone] = []

    async def __call__(self, team: Team, user: str = "", **options: Any) -> Phone:
        """A started phone that has not connected yet."""
        phone = PythonPhone()
        self._phones.append(phone)
        await phone.start(team.url, **({"token": token(user)} if user else {}), **options)
        return phone

    async def at(self, team: Team, user: str, *channels: str) -> Phone:
        """A connected phone that is in `channels`."""
        phone = await self(team, user)
        await phone.connect()
        for channel in channels:
            await phone.subscribe(channel)
        return phone


@contextlib.asynccontextmanager
async def people() -> AsyncIterator[People]:
    crowd = People()
    try:
        yield crowd
    finally:
        for phone in crowd._phones:
            await phone.stop()


@contextlib.asynccontextmanager
async def sockets(team: Team, count: int) -> AsyncIterator[list[RawSocket]]:
    """So many signed-in connections without an SDK."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for number in range(count):
            socket = await stack.enter_async_context(await _open(team.ports["websocket"][0]))
            await socket.connect(token(f"socket-{number}"))
            opened.append(socket)
        yield opened


async def _open(port: int) -> RawSocket:
    """A connection is never refused; its handshake may have to wait until a worker has started."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(port))
    async with asyncio.timeout(PATIENCE):
        top = await reader.readuntil(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 101 "), top
    return RawSocket(reader, writer)
