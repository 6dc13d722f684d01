"""`GET /api/trace`: what a user's connections send and get, as lines of JSON while it happens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final
from urllib.parse import parse_qs

import msgspec

from gateway.errors import ERROR_BAD_REQUEST, ClientError, Error, UpstreamError
from gateway.http.api_methods import ID_SIZE
from gateway.http.asgi import Receive, Scope, Send, respond, respond_json
from gateway.http.server_api import ServerAPI
from gateway.protection.audit import Audit
from gateway.protection.trace import SECONDS_LIMIT, Tracer

DEFAULT_SECONDS: Final = 60
_HEADERS: Final = [
    (b"content-type", b"application/x-ndjson"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_encode: Final = msgspec.json.Encoder().encode


class Wanted(msgspec.Struct, frozen=True):
    """The query."""

    user: str = ""
    client: str = ""
    payloads: bool = False
    seconds: float = DEFAULT_SECONDS


class TraceApp:
    """The ASGI app of this one path. `api` knows who may ask."""

    def __init__(self, tracer: Tracer, api: ServerAPI, audit: Audit) -> None:
        self._tracer = tracer
        self._api = api
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of somebody with a key."""
        if self._api.lets_in(scope):
            await self.serve(scope, receive, send)
        else:
            await respond(send, 401, b"")

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of somebody who was let in; until it is over, or nobody listens any more."""
        try:
            wanted = _wanted(scope["query_string"])
            await self._stream(wanted, receive, send)
        except (ClientError, UpstreamError) as error:
            told = error.outcome if isinstance(error, ClientError) else error.error
            detail = error.detail if isinstance(error, ClientError) else ""
            status = 400 if told is ERROR_BAD_REQUEST else 429 if isinstance(error, ClientError) else 503
            message = detail or (told.message if isinstance(told, Error) else told.reason)
            await respond_json(send, status, {"code": told.code, "message": message})

    async def _stream(self, wanted: Wanted, receive: Receive, send: Send) -> None:
        started = False
        left = asyncio.create_task(_left(receive))
        portions = self._tracer.run(
            wanted.user, wanted.client, payloads=wanted.payloads, seconds=wanted.seconds
        )
        try:
            async with aclosing(portions):
                async for portion in portions:
                    if not started:
                        await self._audit.note("trace", wanted, "ok")
                        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                        started = True
                    if left.done():
                        return
                    body = b"".join(_encode(line) + b"\n" for line in portion)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _wanted(query: bytes) -> Wanted:
    try:
        given = {
            name: values[0]
            for name, values in parse_qs(query.decode(), max_num_fields=16, errors="strict").items()
        }
        given.pop("api_key", None)
        wanted = msgspec.convert(given, Wanted, strict=False)
    except (ValueError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ClientError(ERROR_BAD_REQUEST, f"the query: {error}") from None
    if bool(wanted.user) == bool(wanted.client):
        raise ClientError(ERROR_BAD_REQUEST, "give one of user and client")
    if max(len(wanted.user), len(wanted.client)) > ID_SIZE:
        raise ClientError(ERROR_BAD_REQUEST, f"user and client have at most {ID_SIZE} characters")
    if not 1 <= wanted.seconds <= SECONDS_LIMIT:
        raise ClientError(ERROR_BAD_REQUEST, f"seconds: 1 to {SECONDS_LIMIT}")
    return wanted
