"""Every way in which the gateway ends a connection by itself: the reason is pushed before the close frame."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.websocket.connection import CLOSE_TIMEOUT
from tests.gateway_process import GatewayProcess, token, unique
from tests.raw_ws import CLOSE, TEXT, RawSocket, frame, text
from tests.timing import MS

IMPATIENT = """
ping_interval = "1s"
pong_timeout = "300ms"
first_message_timeout = "500ms"
user_connection_limit = 2
commands_per_second = 5
"""


@pytest.fixture(scope="module")
def impatient_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(Path(tmp_path_factory.mktemp("impatient")), client=IMPATIENT)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def impatient(impatient_process: GatewayProcess) -> Iterator[GatewayProcess]:
    """A gateway with short times and low limits."""
    yield impatient_process
    impatient_process.check_health()


async def test_who_says_nothing_is_stale(impatient: GatewayProcess) -> None:
    async with await RawSocket.open(impatient.websocket_port) as socket:
        began = time.monotonic()
        await socket.closed_with(3502)
        assert 0.3 < time.monotonic() - began < 5


async def test_who_shakes_no_hands_is_cut(impatient: GatewayProcess) -> None:
    """Half a request, and silence: there is no socket yet on which to say why."""
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.websocket_port)
    writer.write(b"GET /connection/websocket HTTP/1.1\r\nHost:")
    async with asyncio.timeout(5_000 * MS):
        try:
            await reader.read()
        except ConnectionError:
            pass
    writer.close()


async def test_pings_come_and_their_answers_keep_the_connection(impatient: GatewayProcess) -> None:
    async with await RawSocket.open(impatient.websocket_port) as socket:
        result = await socket.connect(token(unique("user")))
        assert (result["ping"], result["pong"]) == (1, True)
        for _ in range(2):
            ping = await socket.frame()
            assert (ping.opcode, ping.payload) == (TEXT, b"{}")
            await socket.send(text("{}"))
        assert "subscribe" in await socket.call("subscribe", channel="plain:x")


async def test_no_answer_to_a_ping(impatient: GatewayProcess) -> None:
    async with await RawSocket.open(impatient.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        end = await socket.closed_with(3012)
        assert {} in end.replies, "the ping came first"


async def test_other_commands_are_no_answer_to_a_ping(impatient: GatewayProcess) -> None:
    async with await RawSocket.open(impatient.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        assert (await socket.frame()).payload == b"{}"
        await socket.send(text({"id": 9, "presence_stats": {"channel": "lobby:x"}}))
        await socket.closed_with(3012)


async def test_the_oldest_connection_makes_room(impatient: GatewayProcess) -> None:
    user = unique("user")
    async with (
        await RawSocket.open(impatient.websocket_port) as first,
        await RawSocket.open(impatient.websocket_port) as second,
        await RawSocket.open(impatient.websocket_port) as third,
    ):
        for socket in (first, second, third):
            await socket.connect(token(user))
        await first.closed_with(4500)
        for socket in (second, third):
            assert "subscribe" in await socket.call("subscribe", channel="plain:x")


async def test_commands_past_the_rate(impatient: GatewayProcess) -> None:
    """Error 111 past the burst; who does not heed it is ended."""
    async with await RawSocket.open(impatient.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        lines = [json.dumps({"id": n, "presence_stats": {"channel": "lobby:x"}}) for n in range(10, 5_000)]
        for start in range(0, len(lines), 1_000):
            await socket.send(text(*lines[start : start + 1_000]))
        end = await socket.closed_with(3013)
        errors = [reply["error"]["code"] for reply in end.replies if "error" in reply]
        assert set(errors) == {111}
        assert len(errors) >= 1_000


async def test_who_never_reads_is_slow(gateway: GatewayProcess) -> None:
    """20 MB for a client that has stopped reading: it is ended, and once it reads again it learns why."""
    channel, other = unique("plain:big"), unique("plain:other")
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        await socket.call("subscribe", channel=channel)
        big = {"publish": {"channel": channel, "data": "x" * 50_000}}
        async with await RawSocket.open(gateway.websocket_port) as witness:
            await witness.connect(token(unique("user")))
            await witness.call("subscribe", channel=other)
            for _ in range(4):
                await gateway.api("batch", commands=[big] * 100)
            await gateway.publish(other, "nobody else waits")
            assert (await witness.reply())["push"]["pub"]["data"] == "nobody else waits"
        end = await socket.closed_with(3008)
        assert len(end.replies) < 400


async def test_a_shutdown_tells_everybody(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path)
    await asyncio.to_thread(process.start)
    async with AsyncExitStack() as stack:
        opened = [await RawSocket.open(process.websocket_port) for _ in range(20)]
        sockets = [await stack.enter_async_context(socket) for socket in opened]
        for socket in sockets[1:]:
            await socket.connect(token(unique("user")))
        process.signal()
        for socket in sockets:
            await socket.closed_with(3001)
    await asyncio.to_thread(process.check_end)


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path)
    await asyncio.to_thread(process.start)
    async with await RawSocket.open(process.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        process.signal()
        while (await socket.frame()).opcode != CLOSE:  # which this client leaves unanswered
            pass
        process.signal()
        began = time.monotonic()
        assert await asyncio.to_thread(process.wait) != 0
        assert time.monotonic() - began < 1_000 * MS
    assert "Traceback" not in process.log()


async def test_who_left_while_being_sent_away_keeps_no_socket(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        call = text({"id": 9, "rpc": {"method": "send_me_away"}})
        await socket.send(call + frame(CLOSE, b"\x03\xe8"))
        began = time.monotonic()
        while (await socket.frame()).opcode != CLOSE:
            pass
        with pytest.raises(asyncio.IncompleteReadError):  # the end, and no second close frame is waited for
            await socket.frame()
        assert time.monotonic() - began < CLOSE_TIMEOUT / 2


async def test_a_client_that_answers_no_close_frame_does_not_stop_a_shutdown(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path)
    await asyncio.to_thread(process.start)
    async with await RawSocket.open(process.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        process.signal()
        while (await socket.frame()).opcode != CLOSE:
            pass
        await asyncio.to_thread(process.check_end)


async def test_an_upgrade_in_the_middle_of_a_drain_is_refused_politely(tmp_path: Path) -> None:
    """While leaving, a new connection gets 503, or nobody listens any more."""
    process = GatewayProcess(tmp_path)
    await asyncio.to_thread(process.start)
    async with await RawSocket.open(process.websocket_port) as socket:
        await socket.connect(token(unique("user")))
        process.signal()
        while (await socket.frame()).opcode != CLOSE:
            pass
        try:
            other = await RawSocket.open(process.websocket_port)
        except (AssertionError, OSError, asyncio.IncompleteReadError) as refusal:
            assert not isinstance(refusal, AssertionError) or b" 503 " in refusal.args[0]
        else:
            async with other:
                raise AssertionError("a new client was let in while the gateway leaves")
        await socket.send(frame(CLOSE, (1000).to_bytes(2)))
        await asyncio.to_thread(process.check_end)
