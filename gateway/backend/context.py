"""What a handler is given: who asks, and what it may do with the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw
from pydantic import BaseModel

from gateway.backend.base import FileOperations, Operations, Published
from gateway.brokers.base import PublishResult
from gateway.client import Caller
from gateway.errors import DISCONNECT_FORCED, Disconnect, GatewayError
from gateway.protocol import parse_raw

T = TypeVar("T")


def _plain(value: Any) -> Any:
    """What msgspec does not know of: pydantic's models."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


encode_json: Final = msgspec.json.Encoder(enc_hook=_plain).encode
"""JSON of what a handler returns or publishes. Raises TypeError where there is none."""


class _Asked:
    """What both contexts know of the client."""

    __slots__ = ("_operations", "caller")

    def __init__(self, caller: Caller, operations: Operations | None) -> None:
        self.caller = caller
        self._operations = operations

    def __repr__(self) -> str:
        return f"<{type(self).__name__} client={self.client!r} user={self.user!r}>"

    @property
    def client(self) -> str:
        """The id of the connection; empty in an upload."""
        return self.caller.client

    @property
    def user(self) -> str:
        """The openid, or the `sub` of a JWT: believe it, and not what the data says. Empty: anonymous."""
        return self.caller.user

    @property
    def appid(self) -> str:
        """The mini-program; empty for a client that signed in otherwise."""
        return self.caller.appid

    @property
    def session(self) -> str:
        """The id of the session that the client signed in with; empty for a JWT."""
        return self.caller.session

    @property
    def ip(self) -> str:
        return self.caller.ip

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the handshake that `backend.keep_headers` keeps; names in lower case."""
        return self.caller.headers or {}

    @property
    def meta(self) -> Any:
        """What the connect hook or the JWT attached to the connection; None where nothing was."""
        return parse_raw(self.caller.meta)

    @property
    def files(self) -> FileOperations:
        """Links to files, what is known of them, deleting them."""
        return self._may.files

    @property
    def _may(self) -> Operations:
        if self._operations is None:
            raise GatewayError("no gateway runs here: use gw.test_client() in tests")
        return self._operations

    def _publish(
        self, channel: str, data: Any, options: dict[str, Any]
    ) -> Coroutine[Any, Any, PublishResult]:
        return self._may.publish(channel, Raw(encode_json(data)), Published(**options))

    async def _broadcast(
        self, channels: Iterable[str], data: Any, options: dict[str, Any]
    ) -> list[PublishResult]:
        encoded, how = Raw(encode_json(data)), Published(**options)
        publish = self._may.publish
        return list(await asyncio.gather(*(publish(channel, encoded, how) for channel in channels)))

    def _disconnect(self, disconnect: Disconnect, user: str) -> Coroutine[Any, Any, None]:
        if not user and not self.client:
            raise GatewayError("there is no connection to end: name the user")
        return self._may.disconnect(user, "" if user else self.client, disconnect)


class Context(_Asked):
    """The first parameter of an `async` handler. All of `Caller`, and what the gateway can do.

    `options` of publish and broadcast: `tags`, `skip_history`, `idempotency_key`, `version`, `version_epoch`.
    Both raise ClientError where the channel or the data cannot be, UpstreamError where Redis could not.
    """

    __slots__ = ()

    async def publish(self, channel: str, data: Any, **options: Any) -> PublishResult:
        """Publish to a channel, whoever may publish there."""
        return await self._publish(channel, data, options)

    async def broadcast(self, channels: Iterable[str], data: Any, **options: Any) -> list[PublishResult]:
        """The same data to many channels; their positions in order. Raises the first failure."""
        return await self._broadcast(channels, data, options)

    async def disconnect(self, disconnect: Disconnect = DISCONNECT_FORCED, *, user: str = "") -> None:
        """End this connection, or with `user` all of that user's, on all nodes."""
        await self._disconnect(disconnect, user)


class SyncContext(_Asked):
    """The first parameter of a handler without `async`, which runs in a thread: the same, but it blocks."""

    __slots__ = ("_loop",)

    def __init__(
        self, caller: Caller, operations: Operations | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(caller, operations)
        self._loop = loop

    def publish(self, channel: str, data: Any, **options: Any) -> PublishResult:
        """See `Context.publish`."""
        return self._wait(self._publish(channel, data, options))

    def broadcast(self, channels: Iterable[str], data: Any, **options: Any) -> list[PublishResult]:
        """See `Context.broadcast`."""
        return self._wait(self._broadcast(channels, data, options))

    def disconnect(self, disconnect: Disconnect = DISCONNECT_FORCED, *, user: str = "") -> None:
        """See `Context.disconnect`."""
        self._wait(self._disconnect(disconnect, user))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
