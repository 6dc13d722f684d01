"""One HTTP backend: a pool of connections, a bound on requests in flight, a deadline, a breaker, a signature.

A backend that hangs, dies, answers with a page of HTML or with megabytes costs those who asked it error 100,
and nobody else anything: whoever waits for it waits in a task of their own, no longer than `timeout`; while
it fails, all but one request a second are answered without asking it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
import time
from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

import httpx
import msgspec
import structlog
from msgspec import Meta, Raw, Struct

from gateway.backend.answers import Reader
from gateway.config.backend import Proxy as ProxySettings
from gateway.config.types import parse_status
from gateway.errors import (
    CLOSE_REASON_LIMIT,
    DISCONNECTS,
    ERROR_INTERNAL,
    ERRORS,
    ClientError,
    Disconnect,
    Error,
    GatewayError,
    HandlerError,
    cut_reason,
)
from gateway.metrics import Metrics
from gateway.protocol import EMPTY_RAW
from gateway.upstream.breaker import Breaker
from gateway.upstream.fetch import FetchError, fetch

ANSWER_LIMIT: Final = 1024 * 1024
"""Bytes of an answer; more is not read."""
BREAKER_FAILURES: Final = 10
"""Failures in a row after which the backend is left alone."""
BREAKER_COOLDOWN: Final = 1.0
"""Seconds between two tries meanwhile."""
WAITING_PER_SLOT: Final = 10
"""Requests that may wait for one of `max_concurrent` to end, for each of these; the next one is refused."""
CONNECTIONS_PER_CLIENT: Final = 8
"""Connections of one httpx client. What it does for a request grows with the square of their number: 64 in
one client cost twice what they cost in eight."""
KEEPALIVE: Final = 3.0
"""Seconds that an idle connection is kept: less than servers keep theirs (uvicorn and Node: 5), so that no
request meets one that is being closed."""
LOG_INTERVAL: Final = 1.0
"""Seconds between two lines of the log about the same backend."""
MESSAGE_LIMIT: Final = 300
"""Characters of an error's message."""

TIMESTAMP_HEADER: Final = "X-Gateway-Timestamp"
SIGNATURE_HEADER: Final = "X-Gateway-Signature"

Answer = TypeVar("Answer")

log = structlog.get_logger()


class _Error(Struct, frozen=True):
    code: Annotated[int, Meta(ge=100, le=1999)]
    message: str = ""
    temporary: bool = False


class _Disconnect(Struct, frozen=True):
    code: Annotated[int, Meta(ge=3000, le=4999)]
    reason: str = ""


class _Body(Struct, frozen=True):
    result: Raw = EMPTY_RAW
    error: _Error | None = None
    disconnect: _Disconnect | None = None


_decode_body: Final = msgspec.json.Decoder(_Body).decode
_HEADER_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """What proves that a request comes from this gateway: HMAC-SHA256 of `timestamp.body`, in hex."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Proxy:
    """One row of `backend.proxies`."""

    def __init__(self, row: ProxySettings, metrics: Metrics) -> None:
        """Raises GatewayError where HTTP/2 is wanted and its library is not there."""
        self.name = row.name
        self._endpoint = row.endpoint
        self._timeout = row.timeout
        self._secret = row.secret.get_secret_value()
        self._forwarded = row.headers
        self._static = [
            (name.encode(), value.get_secret_value().encode()) for name, value in row.static_headers
        ]
        self._statuses = _outcomes(row.statuses)
        self._metrics = metrics
        self._breaker = Breaker(BREAKER_FAILURES, BREAKER_COOLDOWN)
        self._slots = asyncio.Semaphore(row.max_concurrent)
        self._room = row.max_concurrent * WAITING_PER_SLOT
        self._waiting = 0
        self._next_log = 0.0
        self._unlogged = 0
        self._clients = _clients(row)
        per_client = row.max_concurrent if row.http2 else CONNECTIONS_PER_CLIENT
        self._free = [each for each in self._clients for _ in range(per_client)]

    def __repr__(self) -> str:
        return f"<Proxy {self.name} {self._breaker!r} waiting={self._waiting}>"

    async def close(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self._clients))

    async def ask(
        self,
        event: str,
        request: Mapping[str, object],
        headers: Mapping[str, str] | None,
        read: Reader[Answer],
    ) -> Answer:
        """The answer to one event.

        Raises:
            ClientError: it is an error or a disconnect, or its status is mapped to one.
            HandlerError: there is none that can be understood.
        """
        began, outcome = time.perf_counter(), "cancelled"
        try:
            status, body = await self._exchange(event, request, headers)
            outcome = "http_status"
            if status != 200:
                if status in self._statuses:
                    raise ClientError(self._statuses[status])
                raise self._failed(event, f"status {status}")
            outcome = "garbage"
            result = self._result(event, body)
            outcome = "refused" if isinstance(result, ClientError) else outcome
            if isinstance(result, ClientError):
                raise result
            answer = self._read(event, result, read)
            outcome = "ok"
            return answer
        except FetchError as error:
            outcome = error.kind
            raise self._failed(event, error.kind) from None
        finally:
            self._metrics.upstream_call("backend", outcome, time.perf_counter() - began)

    # ------------------------------------------------------------------ out
    async def _exchange(
        self, event: str, request: Mapping[str, object], headers: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        """Status and body. Raises FetchError."""
        deadline = time.monotonic() + self._timeout
        await self._wait_for_slot()
        http = self._free.pop()  # the one that was used last: its connections are open
        try:
            # Asked for here, not before the waiting: many may have failed meanwhile.
            if not self._breaker.allow(time.monotonic()):
                raise FetchError("breaker_open", sent=False)
            body = msgspec.json.encode(request)
            answer = await fetch(
                http,
                self._endpoint.replace("{event}", event),
                None,
                timeout=max(0.001, deadline - time.monotonic()),
                limit=ANSWER_LIMIT,
                json=body,
                headers=self._headers(body, headers),
            )
        except FetchError as error:
            if error.kind != "breaker_open":
                self._breaker.failure(time.monotonic())
            raise
        finally:
            self._free.append(http)
            self._slots.release()
        self._breaker.success()
        return answer.status, answer.body

    async def _wait_for_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        if self._waiting >= self._room or self._breaker.is_open:
            raise FetchError("busy", sent=False)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise FetchError("timeout", sent=False) from None
        finally:
            self._waiting -= 1

    def _headers(self, body: bytes, given: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
        headers = list(self._static)
        for name in self._forwarded if given else ():
            value = (given or {}).get(name, "").encode("utf-8", "surrogateescape")
            if value and _HEADER_VALUE.fullmatch(value):
                headers.append((name.encode(), value))
        if self._secret:
            timestamp = str(int(time.time()))
            headers.append((TIMESTAMP_HEADER.encode(), timestamp.encode()))
            headers.append((SIGNATURE_HEADER.encode(), sign(self._secret, timestamp, body).encode()))
        return headers

    # ------------------------------------------------------------------ in
    def _result(self, event: str, body: bytes) -> Raw | ClientError:
        try:
            if not body.isascii():
                body.decode()  # the decoder does not look into embedded JSON
            answer = _decode_body(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._failed(event, "no answer to an event: not JSON, or not of this form") from None
        if answer.error is not None:
            text = answer.error.message.encode("utf-8", "replace").decode()[:MESSAGE_LIMIT]
            return ClientError(Error(answer.error.code, text or "error", answer.error.temporary))
        if answer.disconnect is not None:
            reason = cut_reason(answer.disconnect.reason, CLOSE_REASON_LIMIT)
            return ClientError(Disconnect(answer.disconnect.code, reason or "disconnected by the backend"))
        return answer.result

    def _read(self, event: str, result: Raw, read: Reader[Answer]) -> Answer:
        try:
            return read(bytes(result))
        except ValueError as error:
            raise self._failed(event, str(error)) from None

    def _failed(self, event: str, why: str) -> HandlerError:
        """For the one who asked; in the log once a second, because with a backend all fail together."""
        now = time.monotonic()
        self._unlogged += 1
        if now >= self._next_log:
            log.warning(
                "an HTTP backend failed", backend=self.name, event_name=event, why=why, times=self._unlogged
            )
            self._next_log, self._unlogged = now + LOG_INTERVAL, 0
        return HandlerError(ERROR_INTERNAL, f"backend {self.name}: {why}")


def _clients(row: ProxySettings) -> list[httpx.AsyncClient]:
    """Enough of them for `max_concurrent` requests; with HTTP/2 one connection carries many."""
    limits = httpx.Limits(max_connections=CONNECTIONS_PER_CLIENT, keepalive_expiry=KEEPALIVE)
    if row.http2:
        limits = httpx.Limits(max_connections=row.max_concurrent, keepalive_expiry=KEEPALIVE)
    tls = ssl.create_default_context()  # one for all: each would read the certificates of the world again
    try:
        return [
            httpx.AsyncClient(http2=row.http2, limits=limits, verify=tls, trust_env=False)
            for _ in range(1 if row.http2 else -(-row.max_concurrent // CONNECTIONS_PER_CLIENT))
        ]
    except ImportError:
        raise GatewayError(
            f"backend.proxies {row.name!r}: http2 needs its library: pip install wx-gateway[http2]"
        ) from None


def _outcomes(statuses: tuple[str, ...]) -> dict[int, Error | Disconnect]:
    """What HTTP statuses mean. A code of ours keeps its own meaning for SDKs."""
    found: dict[int, Error | Disconnect] = {}
    for status, code, text in map(parse_status, statuses):
        if code < 2000:
            known = ERRORS.get(code, Error(code, "error"))
            found[status] = Error(code, text or known.message, known.temporary)
        else:
            reason = DISCONNECTS[code].reason if code in DISCONNECTS else "disconnected by the backend"
            found[status] = Disconnect(code, cut_reason(text or reason))
    return found
