"""One bounded request: a deadline over the whole exchange, a limit on the body, and no secret that leaks.

WeChat wants the app's secret and the user's code in the query string, so the URL must never be printed.
httpx logs each URL at INFO and its exceptions carry the request; this module filters the one and lets
none of the other out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

Headers = Sequence[tuple[bytes, bytes]]

PIECES_AT_A_TIME: Final = 64
"""Chunks of a body that are taken in one turn of the loop: one read can bring ten thousand of a byte each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, within the limit; the body of a server's failure (5xx) is left out."""

    status: int
    body: bytes = field(repr=False)


class FetchError(Exception):
    """No complete answer. `kind` is one of timeout, connect, transport, too_large.

    `sent` is False only if the request surely did not reach the other side.
    """

    def __init__(self, kind: str, *, sent: bool = True) -> None:
        super().__init__(kind)
        self.kind = kind
        self.sent = sent


class HideQuery(logging.Filter):
    """Cuts the query off every URL in a log record: httpx logs whole URLs at INFO."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record's arguments; lets every record pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(_without_query(arg) for arg in record.args)
        return True


def _without_query(value: object) -> object:
    return value.copy_with(query=None) if isinstance(value, httpx.URL) else value


# The filter belongs to the logger itself, so it holds for every handler, whoever configures logging.
logging.getLogger("httpx").addFilter(HideQuery())


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    params: Mapping[str, str] | None,
    *,
    timeout: float,
    limit: int,
    json: bytes | None = None,
    headers: Headers = (),
) -> Answer:
    """GET `url`, or POST `json` to it; at most `limit` bytes of answer within `timeout` seconds, or
    `FetchError`. Never retried. `headers`: more of them.

    The body is asked for, and taken, without content coding: a small gzip body may be a large answer.
    """
    try:
        async with asyncio.timeout(timeout):
            target = httpx.URL(url).copy_merge_params(params or {})
            return await _exchange(client, target, timeout, limit, json, headers)
    except FetchError as exc:
        failure = exc
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        failure = FetchError("timeout", sent=False)
    except (TimeoutError, httpx.TimeoutException):
        failure = FetchError("timeout")
    except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL):
        failure = FetchError("connect", sent=False)
    except httpx.HTTPError:
        failure = FetchError("transport")
    # Raised here, not above: httpx's exception, with its URL, must not follow along as __context__.
    raise failure


async def _exchange(
    client: httpx.AsyncClient,
    url: httpx.URL,
    timeout: float,
    limit: int,
    json: bytes | None,
    more_headers: Headers,
) -> Answer:
    headers = [(b"Accept-Encoding", b"identity"), *more_headers]
    if json is not None:
        headers.append((b"Content-Type", b"application/json"))
    body = bytearray()
    async with client.stream(
        "GET" if json is None else "POST",
        url,
        content=json,
        headers=headers,
        timeout=timeout,
        follow_redirects=False,
    ) as response:
        if response.status_code >= 500:
            # Unread, so that the connection is closed: servers that failed often close it themselves, and the
            # next request would be lost on it.
            return Answer(response.status_code, b"")
        pieces = 0
        async for chunk in response.aiter_raw():
            body += chunk
            pieces += 1
            if len(body) > limit:
                raise FetchError("too_large")
            if pieces % PIECES_AT_A_TIME == 0:
                await asyncio.sleep(0)
    return Answer(response.status_code, bytes(body))
