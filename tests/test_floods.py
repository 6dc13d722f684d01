"""What one hostile client can cost everybody else: nothing that anybody would notice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from gateway.websocket.connection import DISCARD_LIMIT
from gateway.websocket.uncommon import FRAME_BURST, MAX_FRAGMENTS
from tests.gateway_process import GatewayProcess, token, unique
from tests.raw_ws import CLOSE, PING, PONG, TEXT, RawSocket, frame, text
from tests.timing import MS

MB = 1024 * 1024
NOTICED = 500 * MS
"""Seconds that an honest client may once have to wait; these floods used to cost it many."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway of its own, so that what it remembers of a flood is nobody else's."""
    history = "[channels.namespaces.fat]\nallow_subscribe_for_client = true\nhistory_size = 100\n"
    history += 'history_ttl = "5m"\nforce_recovery = true\nallow_history_for_client = true\n'
    process = GatewayProcess(tmp_path_factory.mktemp("flooded"), more=history)
    process.start()
    yield process
    process.stop()


async def someone(target: GatewayProcess, user: str = "") -> RawSocket:
    socket = await RawSocket.open(target.websocket_port)
    await socket.connect(token(user or unique("user")))
    return socket


@contextlib.asynccontextmanager
async def an_honest_client(target: GatewayProcess) -> AsyncIterator[list[float]]:
    """Asks small questions all the time; how long each answer took, in seconds."""
    waits: list[float] = []

    async def ask() -> None:
        async with await someone(target) as socket:
            while True:
                began = time.perf_counter()
                await socket.call("rpc", method="echo", data=1)
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(5 * MS)

    asking = asyncio.create_task(ask())
    try:
        yield waits
        await asyncio.sleep(50 * MS)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def flood(socket: RawSocket, data: bytes) -> None:
    """As much of it as the other end takes."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5_000 * MS):
            await socket.send(data)


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["pings", "pongs"])
@pytest.mark.parametrize("signed_in", [False, True])
async def test_control_frames_without_end_end_the_connection(
    target: GatewayProcess, opcode: int, signed_in: bool
) -> None:
    async with an_honest_client(target) as waits:
        socket = await (someone(target) if signed_in else RawSocket.open(target.websocket_port))
        async with socket:
            sending = asyncio.create_task(flood(socket, frame(opcode, b"") * 200_000))
            await socket.closing(to_eof=False)
            await sending
    assert max(waits) < NOTICED


async def test_pings_as_a_client_sends_them_are_answered(target: GatewayProcess) -> None:
    async with await someone(target) as socket:
        await socket.send(frame(PING, b"x") * (FRAME_BURST // 2))
        for _ in range(FRAME_BURST // 2):
            assert (await socket.frame()).opcode == PONG


async def test_fragments_without_end_end_the_connection(target: GatewayProcess) -> None:
    async with an_honest_client(target) as waits, await RawSocket.open(target.websocket_port) as socket:
        begun = frame(TEXT, b"{", fin=False)
        await socket.send(begun + frame(0, b"", fin=False) * MAX_FRAGMENTS)
        await socket.closed_with(1009)
        async with await RawSocket.open(target.websocket_port) as other:
            sending = asyncio.create_task(flood(other, begun + frame(0, b"", fin=False) * 100_000))
            await other.closing(to_eof=False)
            await sending
    assert max(waits) < NOTICED


async def test_who_goes_on_after_the_goodbye_is_cut_off(target: GatewayProcess) -> None:
    async with an_honest_client(target) as waits, await RawSocket.open(target.websocket_port) as socket:
        await socket.send(frame(TEXT, b"no json"))
        await socket.closing(to_eof=False)
        began = time.perf_counter()
        await flood(socket, frame(TEXT, b"{}") * (DISCARD_LIMIT * 10))
        assert time.perf_counter() - began < 2_000 * MS
    assert max(waits) < NOTICED


async def test_a_few_lines_do_not_ask_for_hundreds_of_megabytes(target: GatewayProcess) -> None:
    """64 questions for six megabytes each, and nobody who reads the answers."""
    channel = f"fat:{unique('state')}"
    await asyncio.gather(*(target.publish(channel, "x" * 60_000) for _ in range(100)))
    before = target.memory
    async with an_honest_client(target) as waits, await someone(target) as socket:
        asks = [{"id": 10 + n, "history": {"channel": channel, "limit": -1}} for n in range(64)]
        await socket.send(text(*asks))
        await asyncio.sleep(1_000 * MS)
        assert target.memory - before < 40 * MB
    assert max(waits) < NOTICED


async def test_who_reads_gets_all_the_answers(target: GatewayProcess) -> None:
    """The brake is on for as long as a client does not read, and no longer."""
    channel = f"fat:{unique('state')}"
    await asyncio.gather(*(target.publish(channel, "x" * 60_000) for _ in range(40)))
    async with await someone(target) as socket:
        asks = [{"id": 10 + n, "history": {"channel": channel, "limit": -1}} for n in range(20)]
        await socket.send(text(*asks))
        for n in range(20):
            reply = await socket.reply()
            assert reply["id"] == 10 + n
            assert len(reply["history"]["publications"]) == 40
        await socket.send(frame(CLOSE, b""))


async def test_one_answer_has_a_size_that_a_phone_can_take(target: GatewayProcess) -> None:
    """Of a history of six megabytes, the first four; and recovery of it is none: load the state anew."""
    channel = f"fat:{unique('state')}"
    await asyncio.gather(*(target.publish(channel, "x" * 60_000) for _ in range(100)))
    async with await someone(target) as socket:
        history = (await socket.call("history", channel=channel, limit=-1))["history"]
        assert 60 < len(history["publications"]) < 75
        assert (history["publications"][0]["offset"], history["offset"]) == (1, 100)
        position = {"recover": True, "offset": 0, "epoch": history["epoch"]}
        result = (await socket.call("subscribe", channel=channel, **position))["subscribe"]
        assert (result.get("recovered", False), result["was_recovering"], result["offset"]) == (
            False,
            True,
            100,
        )


async def test_a_stranger_does_not_get_into_a_personal_channel(target: GatewayProcess) -> None:
    """The namespace of the test lets everybody in for `news`: not for `#victim`."""
    async with await someone(target, "victim") as victim, await someone(target, "mallory") as mallory:
        for method, fields in (("subscribe", {}), ("publish", {"data": 1}), ("history", {"limit": 1})):
            assert (await mallory.call(method, channel="#victim", **fields))["error"]["code"] == 103, method
        await target.publish("#victim", "for nobody else")
        assert (await victim.reply())["push"]["pub"]["data"] == "for nobody else"


async def test_more_sockets_than_there_is_room_for_leave_the_others_alone(tmp_path: Path) -> None:
    """Sockets that never say a word take no file from who is here, and health stays readable."""
    process = GatewayProcess(tmp_path, client="max_connections = 20")
    process.start()
    idle: list[asyncio.StreamWriter] = []
    try:
        async with await someone(process) as socket:
            for _ in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", process.websocket_port)
                idle.append(writer)
            assert "rpc" in await socket.call("rpc", method="echo", data=1)
            async with httpx.AsyncClient() as http:
                url = f"http://127.0.0.1:{process.internal_port}/healthz"
                assert (await http.get(url)).status_code == 200
            reader, writer = await asyncio.open_connection("127.0.0.1", process.websocket_port)
            idle.append(writer)
            assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
    finally:
        for writer in idle:
            writer.close()
        process.stop()
