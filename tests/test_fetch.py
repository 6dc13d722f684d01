"""What is fetched is bounded, and URLs lose their query before anyone logs them.

The timeouts, sizes and broken connections of a fetch are in the tests of WeChat's API and of the JWKS.
"""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from gateway.upstream.fetch import PIECES_AT_A_TIME, FetchError, HideQuery, fetch
from tests.servers import http_answer, serve_raw
from tests.timing import MS

TIMEOUT = 2000 * MS


def test_the_filter_cuts_queries_and_lets_everything_else_be() -> None:
    args = ("GET", httpx.URL("https://host/path?secret=s#f"), 200, "a?b")
    record = logging.LogRecord("httpx", logging.INFO, "", 0, "%s %s %s %s", args, None)
    assert HideQuery().filter(record)
    assert record.getMessage() == "GET https://host/path#f 200 a?b"


@pytest.mark.parametrize("args", [None, ({"a": 1},), ()])
def test_the_filter_bears_any_arguments(args: tuple[object, ...] | None) -> None:
    record = logging.LogRecord("httpx", logging.INFO, "", 0, "x", args, None)
    assert HideQuery().filter(record)


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with serve_raw(http_answer(b"x" * 100)) as base_url, httpx.AsyncClient() as client:
        answer = await fetch(client, base_url, None, timeout=TIMEOUT, limit=100)
        assert (answer.status, len(answer.body)) == (200, 100)
        assert "xxx" not in repr(answer)
        with pytest.raises(FetchError) as caught:
            await fetch(client, base_url, None, timeout=TIMEOUT, limit=99)
        assert (caught.value.kind, caught.value.sent) == ("too_large", True)


async def test_a_body_in_countless_pieces_holds_nobody_up() -> None:
    pieces = 20_000
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"1\r\nx\r\n" * pieces + b"0\r\n\r\n")
        await writer.drain()

    async with serve_raw(handler) as base_url, httpx.AsyncClient() as client:
        async with asyncio.timeout(TIMEOUT * 5):
            counter = asyncio.create_task(count())
            answer = await fetch(client, base_url, None, timeout=TIMEOUT * 5, limit=pieces)
            counter.cancel()
    assert len(answer.body) == pieces
    assert turns > pieces / PIECES_AT_A_TIME


@pytest.mark.parametrize("body", [b"", b"oh no"])
async def test_a_connection_on_which_the_server_failed_is_not_used_again(body: bytes) -> None:
    """A server that failed often closes it a moment later, with the next request on it."""
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        status = b"500 Internal Server Error" if connections == 1 else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await reader.read()  # until the client lets go: a second request here has no answer

    async with serve_raw(handler) as base_url, httpx.AsyncClient() as client:
        first = await fetch(client, base_url, None, timeout=TIMEOUT, limit=100)
        second = await fetch(client, base_url, None, timeout=TIMEOUT, limit=100)
    assert (first.status, second.status, connections) == (500, 200, 2)


async def test_parameters_join_the_query_of_the_url() -> None:
    async with serve_raw(http_answer(b"ok")) as base_url, httpx.AsyncClient() as client:
        seen: list[str] = []

        async def note(request: httpx.Request) -> None:
            seen.append(str(request.url))

        client.event_hooks = {"request": [note]}
        await fetch(client, f"{base_url}/a?b=1", None, timeout=TIMEOUT, limit=10)
        await fetch(client, f"{base_url}/a", {"b": "密"}, timeout=TIMEOUT, limit=10)
    assert seen == [f"{base_url}/a?b=1", f"{base_url}/a?b=%E5%AF%86"]


async def test_a_failure_does_not_bring_the_request_along() -> None:
    """httpx's exceptions carry the request, and so the URL; a log may print the whole chain."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with serve_raw(hang_up) as base_url, httpx.AsyncClient() as client:
        with pytest.raises(FetchError) as caught:
            await fetch(client, f"{base_url}/?secret=s", None, timeout=TIMEOUT, limit=10)
    assert caught.value.kind == "transport"
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_waiting_for_a_connection_is_within_the_timeout() -> None:
    limits = httpx.Limits(max_connections=1)
    async with serve_raw(http_answer(b"ok")) as base_url, httpx.AsyncClient(limits=limits) as client:
        async with client.stream("GET", base_url):
            with pytest.raises(FetchError) as caught:
                await fetch(client, base_url, None, timeout=50 * MS, limit=10)
        assert caught.value.kind == "timeout"
