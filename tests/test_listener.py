"""The HTTP listener: limits of a head, stop with and without patience, one line where it cannot bind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.errors import GatewayError
from gateway.http import listener as module
from gateway.http.asgi import Receive, Scope, Send, respond
from gateway.http.listener import HTTPListener
from tests.timing import MS


class Slow:
    """Answers /slow when it is told to, anything else at once."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.finish = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            self.started.set()
            await self.finish.wait()
        await respond(send, 200, b"{}")


@pytest.fixture
def app() -> Slow:
    return Slow()


@pytest.fixture
async def listener(app: Slow) -> AsyncIterator[HTTPListener]:
    running = HTTPListener(app, "127.0.0.1", 0)
    await running.start()
    yield running
    await running.stop(grace=0)


async def exchange(port: int, *parts: bytes) -> bytes:
    """Write the parts, then read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(5000 * MS):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_answers_have_a_date_and_no_server(listener: HTTPListener) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{listener.port}/")
    assert response.status_code == 200
    assert "date" in response.headers
    assert "server" not in response.headers


async def test_a_websocket_upgrade_is_a_plain_request_here(listener: HTTPListener) -> None:
    answer = await exchange(
        listener.port,
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_head_without_end_is_refused(listener: HTTPListener) -> None:
    piece = b"x-filler: " + b"x" * 8000 + b"\r\n"
    answer = await exchange(listener.port, b"GET / HTTP/1.1\r\n", *[piece] * 10)
    assert answer.startswith(b"HTTP/1.1 431")
    # One header that never ends.
    answer = await exchange(listener.port, b"GET / HTTP/1.1\r\nx: ", *[b"x" * 8000] * 10)
    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_large_body_does_not_count_as_head(listener: HTTPListener) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            response = await client.post(f"http://127.0.0.1:{listener.port}/", content=b"x" * 200_000)
            assert response.status_code == 200


async def test_a_slow_head_is_refused(listener: HTTPListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT", 50 * MS)
    for start in (b"", b"GET / HTTP/1.1\r\nhost:"):
        assert (await exchange(listener.port, start)).startswith(b"HTTP/1.1 408")
    # Between requests the keep-alive limit holds, within a second head this one again.
    answer = await exchange(listener.port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HT")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


async def test_a_body_that_stops_coming_ends_the_connection(
    listener: HTTPListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT", 50 * MS)
    answer = await exchange(listener.port, b"POST /slow HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf")
    assert answer == b""


async def test_a_body_in_two_pieces(listener: HTTPListener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 10\r\n\r\nfirst")
    await asyncio.sleep(20 * MS)
    writer.write(b"again")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_an_app_may_take_its_time_with_a_body(
    listener: HTTPListener, app: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not come because nobody reads it is not the client's pause."""
    monkeypatch.setattr(module, "BODY_TIMEOUT", 20 * MS)
    async with httpx.AsyncClient() as client:
        content = b"x" * 20_000_000
        request = asyncio.create_task(
            client.post(f"http://127.0.0.1:{listener.port}/slow", content=content, timeout=10_000 * MS)
        )
        await app.started.wait()
        await asyncio.sleep(200 * MS)
        assert not request.done()
        app.finish.set()
        assert (await request).status_code == 200


async def test_garbage_is_400(listener: HTTPListener) -> None:
    assert (await exchange(listener.port, b"\x16\x03\x01\x00\xff\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_stop_lets_requests_finish(listener: HTTPListener, app: Slow) -> None:
    async with httpx.AsyncClient() as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{listener.port}/slow"))
        await app.started.wait()
        stop = asyncio.create_task(listener.stop(grace=5000 * MS))
        await asyncio.sleep(20 * MS)
        assert not stop.done()
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{listener.port}/")
        app.finish.set()
        assert (await request).status_code == 200
        await stop


async def test_stop_closes_idle_connections_at_once(listener: HTTPListener) -> None:
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{listener.port}/")
        before = loop.time()
        await listener.stop(grace=5000 * MS)
        assert loop.time() - before < 1000 * MS


async def test_stop_cuts_what_does_not_finish(listener: HTTPListener, app: Slow) -> None:
    async with httpx.AsyncClient() as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{listener.port}/slow"))
        await app.started.wait()
        await listener.stop(grace=20 * MS)
        with pytest.raises(httpx.HTTPError):
            await request
    await listener.stop(grace=0)


async def test_an_address_in_use_is_one_line_with_the_setting(listener: HTTPListener) -> None:
    second = HTTPListener(Slow(), "127.0.0.1", listener.port, setting="listen.internal")
    with pytest.raises(GatewayError) as caught:
        await second.start()
    text = str(caught.value)
    assert text.startswith(f'listen.internal = "127.0.0.1:{listener.port}": ')
    assert "in use" in text
    assert "\n" not in text
    await second.stop(grace=0)


async def test_an_address_that_is_not_here() -> None:
    with pytest.raises(GatewayError, match=r'^listen\.http = "192\.0\.2\.1:0": cannot listen there'):
        await HTTPListener(Slow(), "192.0.2.1", 0).start()
    with pytest.raises(GatewayError, match=r'^listen\.http = "no-such-host\.invalid:0": '):
        await HTTPListener(Slow(), "no-such-host.invalid", 0).start()


async def test_ipv6() -> None:
    running = HTTPListener(Slow(), "::1", 0)
    try:
        port = await running.start()
    except GatewayError as error:
        pytest.skip(f"no IPv6 here: {error}")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://[::1]:{port}/")).status_code == 200
    await running.stop(grace=0)


async def test_a_socket_that_is_bound_already() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    running = HTTPListener(Slow(), "", 0, sock=sock)
    assert await running.start() == sock.getsockname()[1]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{running.port}/")).status_code == 200
    await running.stop(grace=0)
