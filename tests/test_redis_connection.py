"""One connection, against a server that says exactly what the test wants it to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.brokers import redis_connection
from gateway.brokers.redis_connection import (
    BATCH,
    CommandTimeout,
    Connection,
    ConnectionLost,
    ReplyError,
    Subscription,
    pack,
)
from tests.timing import MS, until

PING = pack(("PING",))


class Peer:
    """The server's end: what it has read, and a way to answer."""

    def __init__(self) -> None:
        self.read = bytearray()
        self.writer: asyncio.StreamWriter | None = None
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        with suppress(ConnectionError):
            while await self.reading.wait() and (data := await reader.read(65536)):
                self.read += data
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.gone.set()

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


@asynccontextmanager
async def connected(connection: Connection) -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    await until(lambda: peer.writer is not None, "the connection")
    yield peer
    peer.reading.set()
    connection.abort("the test is over")
    await connection.lost
    await peer.gone.wait()
    server.close()
    await server.wait_closed()


async def test_replies_come_in_order_however_they_are_cut() -> None:
    connection = Connection(1000 * MS)
    async with connected(connection) as peer:
        futures = [connection.send(PING) for _ in range(4)]
        answers = b"+one\r\n:2\r\n-ERR three\r\n*2\r\n$1\r\na\r\n$-1\r\n"
        for index in range(len(answers)):
            peer.say(answers[index : index + 1])
            await asyncio.sleep(0)
        got: list[Any] = [await future for future in futures]
        assert got[0:2] == [b"one", 2]
        assert isinstance(got[2], ReplyError)
        assert got[2].code == "ERR"
        assert got[3] == [b"a", None]
        assert peer.read == PING * 4


async def test_what_gave_up_keeps_its_place() -> None:
    connection = Connection(40 * MS)
    async with connected(connection) as peer:
        first = connection.send(PING)
        assert isinstance(await first, CommandTimeout)
        second = connection.send(PING)
        peer.say(b":1\r\n:2\r\n")
        assert await second == 2


async def test_a_server_that_stays_silent_is_left() -> None:
    connection = Connection(20 * MS)
    async with connected(connection):
        assert isinstance(await connection.send(PING), CommandTimeout)
        assert "no answer for" in await connection.lost
        late = await connection.send(PING)
        assert isinstance(late, ConnectionLost)
        assert late.unsent


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    connection = Connection(1000 * MS)
    async with connected(connection) as peer:
        peer.say(b"+surprise\r\n")
        assert "nobody asked for" in await connection.lost


async def test_garbage_ends_the_connection() -> None:
    connection = Connection(1000 * MS)
    async with connected(connection) as peer:
        waiting = connection.send(PING)
        peer.say(b"HTTP/1.1 400\r\n")
        assert "does not speak Redis" in await connection.lost
        assert isinstance(await waiting, ConnectionLost)


async def test_commands_for_a_server_that_does_not_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "WRITE_LIMIT", 100_000)
    connection = Connection(5_000 * MS)
    async with connected(connection) as peer:
        peer.reading.clear()
        big = pack(("SET", "k", b"x" * 1_000_000))
        posted = []
        for _ in range(50):
            posted.append(connection.send(big))
            await asyncio.sleep(0)
            if connection.blocked:
                break
        assert connection.blocked
        refused = await connection.send(PING)
        assert isinstance(refused, ReplyError)
        peer.reading.set()
        await until(lambda: not connection.blocked, "the server reads again")
        peer.say(b"+OK\r\n" * len(posted))
        assert {await future for future in posted} == {b"OK"}


def confirmation(kind: bytes, name: bytes) -> bytes:
    return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:1\r\n" % (len(kind), kind, len(name), name)


async def test_subscribing_is_batched_and_confirmed_name_by_name() -> None:
    connection = Subscription(1000 * MS, lambda name, payload: None)
    async with connected(connection) as peer:
        names = [b"c%d" % n for n in range(BATCH + 1)]
        futures = [connection.request(b"SUBSCRIBE", name) for name in names]
        gone = connection.request(b"UNSUBSCRIBE", b"c0")
        await until(lambda: peer.read.count(b"SUBSCRIBE") == 3, "three commands")
        peer.say(b"".join(confirmation(b"subscribe", name) for name in names[:BATCH]))
        assert {await future for future in futures[:BATCH]} == {None}
        assert not futures[-1].done()
        peer.say(confirmation(b"subscribe", names[-1]) + confirmation(b"unsubscribe", b"c0"))
        assert await futures[-1] is None
        assert await gone is None


async def test_a_refused_subscription_refuses_its_batch_only() -> None:
    connection = Subscription(1000 * MS, lambda name, payload: None)
    async with connected(connection) as peer:
        first = [connection.request(b"SUBSCRIBE", name) for name in (b"a", b"b")]
        second = connection.request(b"UNSUBSCRIBE", b"c")
        peer.say(b"-NOPERM no\r\n" + confirmation(b"unsubscribe", b"c"))
        assert [isinstance(await future, ReplyError) for future in first] == [True, True]
        assert await second is None


async def test_a_subscription_that_is_not_confirmed_gives_up_and_the_connection_ends() -> None:
    connection = Subscription(20 * MS, lambda name, payload: None)
    async with connected(connection):
        assert isinstance(await connection.request(b"SUBSCRIBE", b"a"), CommandTimeout)
        assert "no answer for" in await connection.lost
        assert isinstance(await connection.request(b"SUBSCRIBE", b"a"), ConnectionLost)


async def test_messages_are_held_back_until_they_are_released() -> None:
    heard: list[tuple[bytes, bytes]] = []
    connection = Subscription(1000 * MS, lambda name, payload: heard.append((name, payload)))
    async with connected(connection) as peer:
        subscribed = connection.request(b"SUBSCRIBE", b"a")
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n%d\r\n"
        peer.say(confirmation(b"subscribe", b"a") + message % 1 + message % 2)
        await subscribed
        await asyncio.sleep(5 * MS)
        assert heard == []
        connection.release()
        peer.say(message % 3)
        await until(lambda: len(heard) == 3, "the third")
        assert heard == [(b"a", b"1"), (b"a", b"2"), (b"a", b"3")]


async def test_a_sharded_subscription_that_the_server_ends_ends_the_connection() -> None:
    connection = Subscription(1000 * MS, lambda name, payload: None)
    async with connected(connection) as peer:
        peer.say(confirmation(b"sunsubscribe", b"a"))
        assert "slot" in await connection.lost
