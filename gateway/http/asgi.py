"""The few lines of ASGI that the bare apps of the internal listener share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")

BODY_TIMEOUT: Final = 30.0
"""Seconds that a client has for the body of a request."""


class TooLarge(Exception):
    """The body is over the limit."""


class Gone(Exception):
    """The client left before its request was complete."""


async def respond(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """One answer of JSON, or of what `headers` says; without a content type where the body is empty."""
    fields = [(b"content-length", b"%d" % len(body))]
    if headers is not None:
        fields += headers
    elif body:
        fields.append(JSON)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, value: object, headers: Headers | None = None) -> None:
    await respond(send, status, msgspec.json.encode(value), [JSON, *(headers or ())])


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of a header (`name` in lower case), empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: over `limit` bytes; a declared length is refused before anything is read.
        Gone: the client left, or took longer than `BODY_TIMEOUT`.
    """
    declared = header(scope, b"content-length")
    # More than 18 digits is too large whatever they are; int() of a long text is slow on purpose.
    if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise TooLarge
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(receive, body, limit)
    if len(body) > limit:
        raise TooLarge
    return body


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    body = bytearray(first)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while True:
                message = await _next(receive)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise TooLarge
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Gone from None
