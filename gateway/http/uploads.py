"""Requests with large bodies: which they are, and how one is answered before its last byte has come.

Who closes a connection with bytes unread sends a reset, and the reset can overtake the answer: the client
would see a broken connection instead of "too large". So the answer goes out at once, then a little more is
read and thrown away, then the connection is closed (what nginx calls a lingering close).
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.http.asgi import App, Message, Receive, Scope, Send

LINGER: Final = 5.0
"""Seconds that a client has to hear the answer and stop."""
LINGER_BYTES: Final = 64 * 1024 * 1024
TUS: Final = "/files/resumable"


def is_upload(scope: Scope) -> bool:
    """Whether the body of a request is a file, and counted by who reads it."""
    if scope["method"] not in ("POST", "PATCH"):
        return False
    path: str = scope["path"]
    return path == "/files" or path.startswith(TUS)


async def serve_upload(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app` for a request with a large body."""
    exchange = _Exchange(receive, send)
    await app(scope, exchange.receive, exchange.send)


class _Exchange:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body"):
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if self._body_ended:
            await self._send(message)
        elif message["type"] == "http.response.start":
            closing = [*message.get("headers", ()), (b"connection", b"close")]
            await self._send({**message, "headers": closing})
        elif message.get("more_body"):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(LINGER):
                while not self._body_ended and size < LINGER_BYTES:
                    size += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
