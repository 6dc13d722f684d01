"""One keep-alive HTTP connection that costs little: what publishes, signs in at the sandbox, and sends files.

A full client costs a millisecond a request; at a thousand publications a second that would be all one sees.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

TIMEOUT: Final = 15.0
"""Seconds that one answer may take."""
BODY_LIMIT: Final = 256 * 1024 * 1024


def tls_context(ca: str, verify: bool) -> ssl.SSLContext:
    """How wss and https are verified: `ca` is a file to trust besides the system's, "" is none."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class HttpFailed(Exception):
    """No answer: the connection was refused, cut, or the time was up."""


class HttpLine:
    """One request at a time, the others wait for their turn.

    Args:
        base: such as "http://127.0.0.1:9000/api"; paths are appended.
        headers: sent with each request.
        context: for https.
    """

    def __init__(self, base: str, headers: dict[str, str], context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(base)
        self._tls = context if parts.scheme == "https" else None
        if parts.scheme == "https" and context is None:
            self._tls = ssl.create_default_context()
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._head = "".join(
            f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **headers}.items()
        )
        self._answers: _Answers | None = None
        self._turn = asyncio.Lock()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: str = "Content-Type: application/json\r\n"
    ) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            HttpFailed: there was none.
        """
        first = f"{method} {self._prefix}{path} HTTP/1.1\r\n"
        head = f"{first}{self._head}{headers}Content-Length: {len(body)}\r\n\r\n"
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT):
                    return await (await self._open()).ask(head.encode() + body)
            except (OSError, TimeoutError, HttpFailed) as error:
                self.close()
                raise HttpFailed(type(error).__name__) from None

    async def _open(self) -> _Answers:
        if self._answers is None or self._answers.ended:
            loop = asyncio.get_running_loop()
            _, self._answers = await loop.create_connection(_Answers, self._host, self._port, ssl=self._tls)
        return self._answers

    def close(self) -> None:
        """Hang up; the next request opens a new connection."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None


class _Answers(asyncio.Protocol):
    """Reads one answer after the other; httptools parses."""

    def __init__(self) -> None:
        self.ended = False
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self._waiter = asyncio.get_running_loop().create_future()
        self._body, self._size = [], 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        self.ended = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            if self._waiter is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("an answer that is no HTTP")
            self.close()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > BODY_LIMIT:
            self._fail(f"an answer of more than {BODY_LIMIT} bytes")
            self.close()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result((self._parser.get_status_code(), b"".join(self._body)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._fail("the connection was closed")

    def _fail(self, why: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(HttpFailed(why))
