"""Handlers called without a socket: by the same validation, limits and error codes as a phone's commands.

    def test_pay():
        phone = gw.test_client("alice")
        assert phone.rpc("order.pay", {"number": 17}) == {"paid": 17}
        assert phone.published[0].channel == "orders:17"
        with pytest.raises(Refused) as refused:
            phone.rpc("order.pay", {"number": "x"})
        assert refused.value.code == 107

In an async test the same methods are coroutines of `phone.aio`: `await phone.aio.rpc("order.pay", …)`.
"""

from __future__ import annotations

import asyncio
import hashlib
import weakref
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from msgspec import Raw

from gateway.auth.options import SubscriptionOptions
from gateway.backend.answers import (
    ConnectAnswer,
    PublishAnswer,
    RefreshAnswer,
    SubscribeAnswer,
    Subscription,
)
from gateway.backend.base import (
    Backend,
    ConnectEvent,
    FileOperations,
    Published,
    Refreshed,
    UploadedFile,
)
from gateway.brokers.base import PublishResult
from gateway.client import Caller
from gateway.config import ChannelOptions
from gateway.errors import (
    DISCONNECT_EXPIRED,
    DISCONNECT_NOT_AVAILABLE,
    ERROR_FILE_NOT_FOUND,
    ERROR_NOT_AVAILABLE,
    ClientError,
    Disconnect,
    Error,
    GatewayError,
    UpstreamError,
)
from gateway.protocol import EMPTY_RAW, parse_raw, raw
from gateway.wechat.callback import WeChatEvent

T = TypeVar("T")
_OPTIONS: Final = ChannelOptions()


class Refused(Exception):
    """What the phone would be told instead of a result.

    Attributes:
        temporary: SDKs try again. disconnect: the code is that of the end of the connection.
    """

    def __init__(self, code: int, message: str, *, temporary: bool = False, disconnect: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.temporary = temporary
        self.disconnect = disconnect


@dataclass(frozen=True, slots=True)
class Message:
    """What a handler published: `options` are those that it gave."""

    channel: str
    data: Any
    options: dict[str, Any] = field(default_factory=dict)


class RecordedFiles(FileOperations):
    """Files that handlers may ask for: put what is known of them into `known`, by id."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def link(self, file_id: str, ttl: float = 0.0) -> str:
        """See `FileOperations`."""
        return f"https://files.example/files/{file_id}?ttl={ttl:g}"

    async def describe(self, file_id: str) -> dict[str, Any]:
        """See `FileOperations`."""
        if file_id not in self.known:
            raise ClientError(ERROR_FILE_NOT_FOUND)
        return self.known[file_id]

    async def delete(self, file_id: str) -> bool:
        """See `FileOperations`."""
        return self.known.pop(file_id, None) is not None


class Recorder:
    """The `Operations` of a test: what handlers do is written down."""

    def __init__(self) -> None:
        self.files = RecordedFiles()
        self.published: list[Message] = []
        self.disconnected: list[tuple[str, str, Disconnect]] = []

    async def publish(self, channel: str, data: Raw, how: Published) -> PublishResult:
        """See `Operations`."""
        options = {name: value for name in how.__struct_fields__ if (value := getattr(how, name))}
        self.published.append(Message(channel, parse_raw(data), options))
        return PublishResult(len(self.published), "test")

    async def disconnect(self, user: str, client: str, disconnect: Disconnect) -> None:
        """See `Operations`."""
        self.disconnected.append((user, client, disconnect))


class AsyncTestClient:
    """The calls as coroutines."""

    __test__ = False  # pytest looks for classes of this name

    def __init__(self, backend: Backend, caller: Caller) -> None:
        self._backend = backend
        self._caller = caller

    async def connect(self, data: Any = None, *, token: str = "") -> ConnectAnswer | None:
        """What the connect hook says; None: there is none, or it has no opinion."""
        event = ConnectEvent(bool(self._caller.user), _json(data), token)
        answer = await _seen(self._backend.handle_connect(self._caller, event))
        if answer is None:
            return None
        return ConnectAnswer(
            user=answer.user,
            expire_at=answer.expire_at,
            info=parse_raw(answer.info),
            data=parse_raw(answer.data),
            meta=parse_raw(answer.meta),
            subs={channel: _subscription(options) for channel, options in answer.subs.items()},
        )

    async def refresh(self) -> RefreshAnswer:
        """What becomes of a connection whose time is up."""
        return _refreshed(await _seen(self._backend.handle_refresh(self._caller)))

    async def subscribe(self, channel: str, data: Any = None) -> SubscribeAnswer | None:
        """What the channel's handler says; None: there is none, the namespace decides."""
        answer = await _seen(self._backend.handle_subscribe(self._caller, channel, _json(data), _OPTIONS))
        if answer is None:
            return None
        options = _subscription(answer.options)
        return SubscribeAnswer(answer.expire_at, options.info, options.data, options.override)

    async def sub_refresh(self, channel: str) -> RefreshAnswer:
        """What becomes of a subscription whose time is up."""
        return _refreshed(await _seen(self._backend.handle_sub_refresh(self._caller, channel, _OPTIONS)))

    async def publish(self, channel: str, data: Any) -> PublishAnswer | None:
        """What the channel's handler says; None: there is none, the namespace decides."""
        answer = await _seen(self._backend.handle_publish(self._caller, channel, _json(data), _OPTIONS))
        if answer is None:
            return None
        return PublishAnswer(
            parse_raw(answer.data),
            answer.skip_history,
            answer.tags or {},
            answer.idempotency_key,
            answer.version,
            answer.version_epoch,
        )

    async def rpc(self, method: str, data: Any = None) -> Any:
        """The result of an rpc."""
        asked = self._backend.handle_rpc(self._caller, method, _json(data))
        if asked is None:
            raise _refusal(ERROR_NOT_AVAILABLE, "no backend answers rpc")
        return parse_raw(await _told(asked))

    async def send(self, data: Any = None) -> None:
        """A message without an answer. What it raises a phone would not see, or be closed for."""
        asked = self._backend.handle_send(self._caller, _json(data))
        if asked is None:
            raise _refusal(DISCONNECT_NOT_AVAILABLE)
        await _told(asked)

    async def upload(
        self, content: bytes, *, name: str = "", type: str = "application/octet-stream", channel: str = ""
    ) -> None:
        """A file that has come in."""

        async def read() -> AsyncGenerator[bytes, None]:
            yield content

        digest = hashlib.sha256(content).hexdigest()
        file = UploadedFile("0" * 32, name, type, len(content), digest, channel, "owner", read)
        await _seen(self._backend.handle_upload(self._caller, file))

    async def wechat_event(self, event: WeChatEvent) -> None:
        """A message of WeChat's servers."""
        await _seen(self._backend.handle_wechat_event(event))


class TestClient:
    """A phone of one user, as far as handlers see it.

    Attributes:
        aio: the same calls as coroutines.
        published: what handlers published, in order. disconnected: user, client and reason of each.
        files: what handlers can ask of files.
    """

    __test__ = False

    def __init__(
        self,
        backend: Backend,
        *,
        user: str = "",
        client: str = "test-client",
        appid: str = "wxsandbox00000000",
        session: str = "test-session",
        ip: str = "127.0.0.1",
        meta: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        recorder = Recorder()
        backend.attach(recorder)
        names = {name.lower(): value for name, value in (headers or {}).items()}
        self.aio = AsyncTestClient(backend, Caller(client, user, appid, session, ip, _json(meta), names))
        self.published = recorder.published
        self.disconnected = recorder.disconnected
        self.files = recorder.files
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self, data: Any = None, *, token: str = "") -> ConnectAnswer | None:
        return self._run(self.aio.connect(data, token=token))

    def refresh(self) -> RefreshAnswer:
        return self._run(self.aio.refresh())

    def subscribe(self, channel: str, data: Any = None) -> SubscribeAnswer | None:
        return self._run(self.aio.subscribe(channel, data))

    def sub_refresh(self, channel: str) -> RefreshAnswer:
        return self._run(self.aio.sub_refresh(channel))

    def publish(self, channel: str, data: Any) -> PublishAnswer | None:
        return self._run(self.aio.publish(channel, data))

    def rpc(self, method: str, data: Any = None) -> Any:
        return self._run(self.aio.rpc(method, data))

    def send(self, data: Any = None) -> None:
        self._run(self.aio.send(data))

    def upload(self, content: bytes, **facts: str) -> None:
        self._run(self.aio.upload(content, **facts))

    def wechat_event(self, event: WeChatEvent) -> None:
        self._run(self.aio.wechat_event(event))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None:  # one loop for all calls: handlers may keep connections of theirs
                self._loop = asyncio.new_event_loop()
                weakref.finalize(self, self._loop.close)
            return self._loop.run_until_complete(call)
        call.close()
        raise GatewayError("in an async test, await the same method of .aio")


def _json(value: Any) -> Raw:
    return EMPTY_RAW if value is None else raw(value)


async def _seen(asked: Coroutine[Any, Any, T | None] | None) -> T | None:
    return None if asked is None else await _told(asked)


async def _told(asked: Coroutine[Any, Any, T]) -> T:
    try:
        return await asked
    except ClientError as error:
        raise _refusal(error.outcome, error.detail) from None
    except UpstreamError as error:
        raise _refusal(error.error) from error


def _refusal(outcome: Error | Disconnect, detail: str = "") -> Refused:
    if isinstance(outcome, Disconnect):
        return Refused(outcome.code, outcome.reason, disconnect=True)
    message = f"{outcome.message}: {detail}" if detail else outcome.message
    return Refused(outcome.code, message, temporary=outcome.temporary)


def _refreshed(answer: Refreshed | None) -> RefreshAnswer:
    if answer is None:
        raise _refusal(DISCONNECT_EXPIRED)
    return RefreshAnswer(answer.expired, answer.expire_at, parse_raw(answer.info), parse_raw(answer.meta))


def _subscription(options: SubscriptionOptions) -> Subscription:
    flags = {name: getattr(options.override, name) for name in options.override.__struct_fields__}
    return Subscription(
        parse_raw(options.info or EMPTY_RAW),
        parse_raw(options.data or EMPTY_RAW),
        {name: flag for name, flag in flags.items() if flag is not None},
    )
